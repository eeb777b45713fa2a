SELECT id, reservation_id, quantity FROM orders WHERE id = ANY ($1)
