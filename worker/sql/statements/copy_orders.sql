COPY orders (id, product_id, user_id, quantity, sale_id, generation, reservation_id, partition, kafka_offset, created_at)
FROM STDIN (FORMAT binary)
