-- Locked, so that what is sold stands until this transaction ends.
SELECT total, sold, withdrawn, state,
    (SELECT coalesce(sum(quantity), 0) FROM dead_letters d WHERE d.product_id = $1 AND d.sale_id = $2)
FROM sales WHERE product_id = $1 AND sale_id = $2 FOR UPDATE
