-- What a step could not do with a row and when it tries again; which object took another's place.
-- fault_at: when the fault was met, so that a clock set back does not delay the next try.
ALTER TABLE series ADD COLUMN fault TEXT NOT NULL DEFAULT '';
ALTER TABLE series ADD COLUMN fault_step TEXT NOT NULL DEFAULT '';
ALTER TABLE series ADD COLUMN fault_tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN fault_at REAL NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN try_at REAL NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN fault TEXT NOT NULL DEFAULT '';
ALTER TABLE delivery ADD COLUMN fault_tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN fault_at REAL NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN try_at REAL NOT NULL DEFAULT 0;
ALTER TABLE instance ADD COLUMN superseded_by TEXT NOT NULL DEFAULT '';
CREATE INDEX instance_by_state ON instance (state);
