SELECT product_id, sale_id, total, sold
FROM sales JOIN unnest($1::text[], $2::bigint[]) AS asked (product_id, sale_id) USING (product_id, sale_id)
ORDER BY product_id, sale_id
FOR UPDATE OF sales
