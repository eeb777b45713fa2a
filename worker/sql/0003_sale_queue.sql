-- How a sale's crowd waits: `fair` or `retry`; NULL until the sale's event has come, or where it did not say.
ALTER TABLE sales
    ADD COLUMN queue text;
