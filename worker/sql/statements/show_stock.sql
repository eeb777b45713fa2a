-- The sales' rows are locked by this transaction, so what is read here is what will stand. A late order of an earlier
-- sale leaves the latest one's stock alone, and so does a sale of which only orders have spoken (it has no rate), where
-- another is known.
INSERT INTO products AS held (id, stock, sale_id)
SELECT DISTINCT ON (product_id) product_id, total - sold, sale_id
FROM sales JOIN unnest($1::text[], $2::bigint[]) AS asked (product_id, sale_id) USING (product_id, sale_id)
ORDER BY product_id, rate IS NOT NULL DESC, sale_id DESC
ON CONFLICT (id) DO UPDATE SET stock = excluded.stock, sale_id = excluded.sale_id
WHERE held.sale_id = excluded.sale_id OR
    (SELECT (rate IS NOT NULL, sale_id) FROM sales WHERE product_id = excluded.id AND sale_id = excluded.sale_id) >
    (SELECT (rate IS NOT NULL, sale_id) FROM sales WHERE product_id = held.id AND sale_id = held.sale_id)
