-- The same for rejected orders that are not stored: a buyer who repeats one gets the order they were promised, not a
-- second one. Not those that came too late: nobody was promised them.
DECLARE rebuilding NO SCROLL CURSOR FOR
SELECT DISTINCT ON (order_id) order_id, reservation_id, quantity
FROM rejected
WHERE product_id = $1 AND sale_id = $2 AND rejected_at > now() - $3::bigint * interval '1 second'
    AND reason <> 'late' AND NOT EXISTS (SELECT FROM orders WHERE id = order_id)
ORDER BY order_id, rejected_at DESC
