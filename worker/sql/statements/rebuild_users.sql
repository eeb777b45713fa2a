-- How many units each user has of a sale, in one pass.
DECLARE rebuilding NO SCROLL CURSOR FOR
SELECT user_id, sum(quantity)::bigint FROM orders
WHERE product_id = $1 AND sale_id = $2
GROUP BY user_id
