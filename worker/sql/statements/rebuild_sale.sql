-- The sale that a rebuild is about: the product's latest.
SELECT sale_id, generation, total, state, coalesce(rate, 0), coalesce(burst, 0), coalesce(seed, ''), rate IS NOT NULL
FROM sales WHERE product_id = $1 ORDER BY sale_id DESC LIMIT 1
