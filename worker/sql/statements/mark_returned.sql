UPDATE returns SET state = $2, settled_at = now() WHERE reservation_id = ANY ($1) AND state = 'pending'
