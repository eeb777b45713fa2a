-- The first returns of every sale of one product ($1), or of all (''), that ended otherwise than they asked for.
SELECT product_id, sale_id, order_id, reservation_id, quantity, state, why
FROM (
    SELECT product_id, sale_id, order_id, reservation_id, quantity, state, why,
        row_number() OVER (PARTITION BY product_id, sale_id ORDER BY reservation_id) AS place
    FROM returns WHERE why IS NOT NULL AND ($1 = '' OR product_id = $1)
) AS numbered
WHERE place <= 20
ORDER BY product_id, sale_id, reservation_id
