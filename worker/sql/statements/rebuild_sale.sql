-- The sale that a rebuild is about: the product's latest. Units per user and opening time as Redis has them: 0 is none. Its
-- queue is empty where nobody has said.
SELECT sale_id, generation, total, state, coalesce(rate, 0), coalesce(burst, 0), coalesce(seed, ''), rate IS NOT NULL,
    per_user, coalesce(extract(epoch FROM opens_at) * 1000, 0)::bigint, coalesce(queue, '')
FROM sales WHERE product_id = $1 ORDER BY sale_id DESC LIMIT 1
