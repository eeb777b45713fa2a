-- Of the latest sale of each product. One statement, one snapshot. Withdrawn are what was left when the sale was closed
-- and what came back to it later. Last: whether an event has told of it, or orders alone.
SELECT s.product_id, s.sale_id, s.generation, s.state, s.total, s.sold,
    s.withdrawn + (SELECT coalesce(sum(quantity), 0) FROM returns b
        WHERE b.product_id = s.product_id AND b.sale_id = s.sale_id AND b.state = 'withdrawn'),
    (SELECT coalesce(sum(quantity), 0) FROM rejected r
        WHERE r.product_id = s.product_id AND r.sale_id = s.sale_id AND r.reason = 'no_room'),
    (SELECT coalesce(sum(quantity), 0) FROM dead_letters d
        WHERE d.product_id = s.product_id AND d.sale_id = s.sale_id),
    (SELECT coalesce(sum(quantity), 0) FROM returns b
        WHERE b.product_id = s.product_id AND b.sale_id = s.sale_id AND b.state = 'pending'),
    s.rate IS NOT NULL
FROM products p JOIN sales s ON s.product_id = p.id AND s.sale_id = p.sale_id
ORDER BY s.product_id
