INSERT INTO rejected (order_id, reservation_id, reason, product_id, user_id, quantity, sale_id, generation, partition,
    kafka_offset, created_at)
SELECT order_id, reservation_id, reason, product_id, user_id, quantity, sale_id, generation, $10, kafka_offset,
    timestamptz 'epoch' + created_ms * interval '1 millisecond'
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::bigint[], $8::integer[],
    $9::bigint[], $11::bigint[])
    AS noted (order_id, reservation_id, reason, product_id, user_id, quantity, sale_id, generation, kafka_offset,
        created_ms)
ON CONFLICT (order_id, reservation_id) DO NOTHING
