-- The sale that a rebuild is about: the product's latest, or the one that is asked for ($2; 0: the latest, -1: the latest that not
-- only orders tell of, which have no rate). NULL is what the
-- ledger has not been told; `per_user` comes with the event that says when the sale opens, and then 0 is "from the start".
SELECT sale_id, generation, raised, total, rate, burst, seed, per_user,
    CASE WHEN per_user IS NOT NULL THEN coalesce(extract(epoch FROM opens_at) * 1000, 0)::bigint END, queue
FROM sales WHERE product_id = $1 AND ($2 = 0 OR sale_id = $2 OR $2 = -1 AND rate IS NOT NULL) ORDER BY sale_id DESC LIMIT 1
