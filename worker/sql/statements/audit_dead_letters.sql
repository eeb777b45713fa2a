-- The first dead letters of every sale of one product ($1), or of all ('').
SELECT product_id, sale_id, partition, kafka_offset, reason
FROM (
    SELECT product_id, sale_id, partition, kafka_offset, reason,
        row_number() OVER (PARTITION BY product_id, sale_id ORDER BY partition, kafka_offset) AS place
    FROM dead_letters WHERE product_id IS NOT NULL AND sale_id IS NOT NULL AND ($1 = '' OR product_id = $1)
) AS numbered
WHERE place <= 20
ORDER BY product_id, sale_id, partition, kafka_offset
