-- Which of these reservations the ledger has settled, one way or another.
SELECT reservation_id FROM orders JOIN unnest($2::uuid[]) AS asked (id) USING (id) WHERE reservation_id = ANY ($1)
UNION ALL SELECT reservation_id FROM rejected WHERE order_id = ANY ($2) AND reservation_id = ANY ($1)
UNION ALL SELECT reservation_id FROM returns WHERE reservation_id = ANY ($1)
