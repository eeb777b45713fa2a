-- An order that these tables have taken, with its sale's total: what they must still take.
SELECT taken.product_id, taken.user_id, taken.quantity, taken.sale_id, taken.generation, sales.total
FROM (SELECT product_id, user_id, quantity, sale_id, generation FROM orders LIMIT 1) AS taken
JOIN sales ON sales.product_id = taken.product_id AND sales.sale_id = taken.sale_id
