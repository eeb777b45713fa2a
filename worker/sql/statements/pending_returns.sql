SELECT reservation_id, order_id, product_id, sale_id, generation, quantity, user_id
FROM returns WHERE state = 'pending' ORDER BY noted_at LIMIT $1
