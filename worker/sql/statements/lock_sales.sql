-- A sale that has a rate was told of by an event, or by Redis to a rebuild; without, only orders have spoken of it.
SELECT product_id, sale_id, total, sold, withdrawn, rate IS NOT NULL
FROM sales JOIN unnest($1::text[], $2::bigint[]) AS asked (product_id, sale_id) USING (product_id, sale_id)
ORDER BY product_id, sale_id
FOR UPDATE OF sales
