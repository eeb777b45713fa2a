-- The highest generation whose number a rebuild has taken. `generation` is the one in force: the one that Redis was told of
-- last. A rebuild that did not come so far leaves its number taken and the sale in force as it was.
ALTER TABLE sales
    ADD COLUMN raised integer NOT NULL DEFAULT 1;
