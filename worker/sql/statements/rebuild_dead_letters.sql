-- Orders that were set aside: accepted, and stored once what is in their way is mended. A buyer who repeats one is told so, and
-- gets no second one. (What contradicts an announced sale is no order of it and names none.)
DECLARE rebuilding NO SCROLL CURSOR FOR
SELECT encode(value, 'hex')
FROM dead_letters
WHERE product_id = $1 AND sale_id = $2 AND quantity IS NOT NULL AND value IS NOT NULL
ORDER BY at, partition, kafka_offset
