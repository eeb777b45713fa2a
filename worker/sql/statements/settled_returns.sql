-- Which of these are settled and of an earlier sale: nobody will ask for them again.
SELECT reservation_id FROM returns WHERE reservation_id = ANY ($1) AND sale_id < $2 AND state <> 'pending'
