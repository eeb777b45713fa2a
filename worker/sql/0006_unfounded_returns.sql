-- A return of units that nobody took, or that are counted elsewhere: a stray record of the topic. It ends here, and `why` says by what it
-- was told; `why` of one that was given back says that Redis gave back another number of units than the return names.
ALTER TABLE returns
    ADD COLUMN why text,
    DROP CONSTRAINT returns_state,
    ADD CONSTRAINT returns_state CHECK (state IN ('pending', 'returned', 'absorbed', 'withdrawn', 'unfounded'));
