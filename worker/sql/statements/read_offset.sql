-- FOR UPDATE: the transaction whose outcome is unknown may still be committing.
SELECT next_offset FROM offsets WHERE topic_id = $1 AND partition = $2 FOR UPDATE
