-- Returns that end otherwise than they ask for, and why.
UPDATE returns SET state = $2, why = $3, settled_at = now() WHERE reservation_id = ANY ($1) AND state = 'pending'
