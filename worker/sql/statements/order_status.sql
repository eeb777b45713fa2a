-- Stored, whatever else was noted of it; else why it was rejected, by its last reservation.
SELECT product_id, reason FROM (
    SELECT product_id, NULL::text AS reason, 0 AS rank, stored_at AS at FROM orders WHERE id = $1
    UNION ALL
    SELECT product_id, reason, 1, rejected_at FROM rejected WHERE order_id = $1
) AS known
ORDER BY rank, at DESC LIMIT 1
