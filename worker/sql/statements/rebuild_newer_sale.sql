-- A sale that Redis opened and of which neither event nor order has come: it is later than any the ledger knows.
INSERT INTO sales (product_id, sale_id, generation, total, rate, burst, seed, per_user, opens_at, queue)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, timestamptz 'epoch' + nullif($9::bigint, 0) * interval '1 millisecond', nullif($10::text, ''))
ON CONFLICT (product_id, sale_id) DO NOTHING
