-- Sales of a product that were over before this one ($2), announced, whose account is wrong: units are nowhere, since their
-- reservations were lost with Redis; or more are accounted for than there are, since orders had what was withdrawn as nobody's. A return
-- that waits is not counted there: its units may be nobody's. Each table is read once, whatever the number of sales.
SELECT s.sale_id
FROM sales s
LEFT JOIN (SELECT sale_id, sum(quantity) AS units FROM dead_letters
    WHERE product_id = $1 GROUP BY sale_id) d USING (sale_id)
LEFT JOIN (SELECT sale_id, sum(quantity) AS units, sum(quantity) FILTER (WHERE state = 'withdrawn') AS withdrawn FROM returns
    WHERE product_id = $1 AND state IN ('pending', 'withdrawn') GROUP BY sale_id) b USING (sale_id)
WHERE s.product_id = $1 AND s.sale_id < $2 AND s.rate IS NOT NULL
    AND (s.total > s.sold + s.withdrawn + coalesce(d.units, 0) + coalesce(b.units, 0)
        OR s.total < s.sold + s.withdrawn + coalesce(d.units, 0) + coalesce(b.withdrawn, 0))
ORDER BY sale_id
