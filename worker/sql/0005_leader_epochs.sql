-- Of which log an offset is: the epoch of the partition's leader under which the record before it was written. It is of the
-- offset in `epoch_offset`: where that is another than `next_offset`, because an older worker or an operator has moved that, or
-- where the epoch is NULL, it is not known.
ALTER TABLE offsets
    ADD COLUMN leader_epoch integer,
    ADD COLUMN epoch_offset bigint;
