-- Orders whose records may still be asked for, in one pass: id, reservation, quantity. Their age is that of the ledger's clock;
-- an edge's may be wrong.
DECLARE rebuilding NO SCROLL CURSOR FOR
SELECT id, reservation_id, quantity
FROM orders
WHERE product_id = $1 AND sale_id = $2 AND stored_at > now() - $3::bigint * interval '1 second'
