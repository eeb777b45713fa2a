-- Every sale of one product ($1), or of all (''). Each table is read once, whatever the number of sales. A sale that has a rate
-- was told of by an event, or by Redis to a rebuild; without, only orders have spoken of it.
SELECT s.product_id, s.sale_id, s.generation, s.state, s.total, s.sold, s.withdrawn,
    coalesce(o.units, 0), coalesce(r.units, 0), coalesce(d.units, 0), coalesce(b.units, 0),
    s.rate IS NOT NULL
FROM sales s
LEFT JOIN (SELECT product_id, sale_id, sum(quantity) AS units FROM orders
    WHERE $1 = '' OR product_id = $1 GROUP BY product_id, sale_id) o USING (product_id, sale_id)
LEFT JOIN (SELECT product_id, sale_id, sum(quantity) AS units FROM rejected
    WHERE reason = 'no_room' AND ($1 = '' OR product_id = $1) GROUP BY product_id, sale_id) r USING (product_id, sale_id)
LEFT JOIN (SELECT product_id, sale_id, sum(quantity) AS units FROM dead_letters
    WHERE product_id IS NOT NULL AND ($1 = '' OR product_id = $1) GROUP BY product_id, sale_id) d USING (product_id, sale_id)
LEFT JOIN (SELECT product_id, sale_id, sum(quantity) AS units FROM returns
    WHERE state = 'withdrawn' AND ($1 = '' OR product_id = $1) GROUP BY product_id, sale_id) b USING (product_id, sale_id)
WHERE $1 = '' OR s.product_id = $1
ORDER BY s.product_id, s.sale_id
