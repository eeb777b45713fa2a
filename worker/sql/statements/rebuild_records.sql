-- Orders whose records may still be asked for, page by page: id, reservation, quantity. Their age
-- is that of the ledger's clock; an edge's may be wrong.
SELECT id, reservation_id, quantity
FROM orders
WHERE product_id = $1 AND sale_id = $2 AND id > $3 AND stored_at > now() - $4::bigint * interval '1 second'
ORDER BY id LIMIT 5000
