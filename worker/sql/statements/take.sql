-- Sells by sale, opening what is missing. A row fewer than sales asked for: one of them has no room. Sorted, so that
-- transactions which touch the same sales take their locks in one order.
INSERT INTO sales AS held (product_id, sale_id, generation, total, sold)
SELECT product_id, sale_id, generation, total, units
FROM unnest($1::text[], $2::bigint[], $3::integer[], $4::bigint[], $5::bigint[])
    AS asked (product_id, sale_id, generation, total, units)
ORDER BY product_id, sale_id
ON CONFLICT (product_id, sale_id) DO UPDATE
SET sold = held.sold + excluded.sold, generation = greatest(held.generation, excluded.generation)
WHERE held.sold + excluded.sold <= held.total
