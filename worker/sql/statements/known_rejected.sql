SELECT order_id, reservation_id FROM rejected WHERE order_id = ANY ($1)
