-- Every sale of one product ($1), or of all ('').
SELECT s.product_id, s.sale_id, s.generation, s.state, s.total, s.sold, s.withdrawn,
    (SELECT coalesce(sum(quantity), 0) FROM orders o
        WHERE o.product_id = s.product_id AND o.sale_id = s.sale_id),
    (SELECT coalesce(sum(quantity), 0) FROM rejected r
        WHERE r.product_id = s.product_id AND r.sale_id = s.sale_id AND r.reason = 'no_room'),
    (SELECT coalesce(sum(quantity), 0) FROM dead_letters d
        WHERE d.product_id = s.product_id AND d.sale_id = s.sale_id),
    (SELECT coalesce(sum(quantity), 0) FROM returns b
        WHERE b.product_id = s.product_id AND b.sale_id = s.sale_id AND b.state = 'withdrawn')
FROM sales s WHERE $1 = '' OR s.product_id = $1
ORDER BY s.product_id, s.sale_id
