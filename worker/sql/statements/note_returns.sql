INSERT INTO returns (reservation_id, order_id, product_id, sale_id, generation, quantity, user_id)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::integer[], $6::integer[], $7::text[])
ON CONFLICT (reservation_id) DO NOTHING
