INSERT INTO sales (product_id, sale_id, generation, total)
SELECT product_id, sale_id, generation, total
FROM unnest($1::text[], $2::bigint[], $3::integer[], $4::bigint[]) AS asked (product_id, sale_id, generation, total)
ORDER BY product_id, sale_id
ON CONFLICT (product_id, sale_id) DO NOTHING
