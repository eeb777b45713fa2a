-- Sells by sale, opening what is missing. A row fewer than sales asked for: one of them has no room, or another total.
-- Sorted, so that transactions which touch the same sales take their locks in one order. Under them is read which generation is in
-- force, and whether orders have units by now that were withdrawn as nobody's.
INSERT INTO sales AS held (product_id, sale_id, total, sold)
SELECT product_id, sale_id, total, units
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS asked (product_id, sale_id, total, units)
ORDER BY product_id, sale_id
ON CONFLICT (product_id, sale_id) DO UPDATE SET sold = held.sold + excluded.sold
WHERE held.total = excluded.total AND held.sold + excluded.sold <= held.total
RETURNING product_id, sale_id, generation, withdrawn > total - sold
