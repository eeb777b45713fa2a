INSERT INTO sales (product_id, sale_id, total)
SELECT product_id, sale_id, total
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS asked (product_id, sale_id, total)
ORDER BY product_id, sale_id
ON CONFLICT (product_id, sale_id) DO NOTHING
