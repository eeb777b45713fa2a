-- The total of a sale of which only orders have spoken (it has no rate) is the event's to say. Before the event's own
-- statement, in its transaction.
UPDATE sales SET total = $3 WHERE product_id = $1 AND sale_id = $2 AND rate IS NULL AND total <> $3
