SELECT user_id, sum(quantity)::bigint FROM orders
WHERE product_id = $1 AND sale_id = $2 AND user_id > $3
GROUP BY user_id ORDER BY user_id LIMIT 5000
