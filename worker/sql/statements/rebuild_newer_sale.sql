-- A sale that Redis opened and of which neither event nor order has come: it is later than any the ledger knows.
INSERT INTO sales (product_id, sale_id, generation, total, rate, burst, seed)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (product_id, sale_id) DO NOTHING
