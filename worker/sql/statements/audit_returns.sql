SELECT reservation_id, order_id, product_id, sale_id, generation, quantity, user_id
FROM returns WHERE state = 'pending' AND ($1 = '' OR product_id = $1) ORDER BY noted_at
