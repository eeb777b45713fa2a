-- A page of them, behind the reservation $2: whoever asks goes round, so that returns that cannot be given back keep nobody
-- else's waiting.
SELECT reservation_id, order_id, product_id, sale_id, generation, quantity, user_id
FROM returns WHERE state = 'pending' AND reservation_id > $2 ORDER BY reservation_id LIMIT $1
