-- What becomes of these returns, whose sale is over. A rebuild has counted in those of a generation before the one in force. Of the
-- others, so many are withdrawn as the sale has units that are nowhere else; beyond, no units were taken.
WITH asked AS MATERIALIZED (
    SELECT reservation_id, product_id, sale_id, generation, quantity
    FROM returns WHERE reservation_id = ANY ($1) AND state = 'pending'
), room AS MATERIALIZED (
    SELECT s.product_id, s.sale_id, s.generation AS in_force, s.total - s.sold - s.withdrawn
        - (SELECT coalesce(sum(quantity), 0) FROM dead_letters d
            WHERE d.product_id = s.product_id AND d.sale_id = s.sale_id)
        - (SELECT coalesce(sum(quantity), 0) FROM returns b
            WHERE b.product_id = s.product_id AND b.sale_id = s.sale_id AND b.state = 'withdrawn') AS units
    FROM sales s WHERE (s.product_id, s.sale_id) IN (SELECT product_id, sale_id FROM asked)
)
SELECT reservation_id, CASE WHEN generation < in_force THEN 'absorbed'
    WHEN sum(quantity) FILTER (WHERE generation >= in_force)
        OVER (PARTITION BY product_id, sale_id ORDER BY reservation_id) <= units THEN 'withdrawn'
    ELSE 'unfounded' END
FROM asked JOIN room USING (product_id, sale_id)
