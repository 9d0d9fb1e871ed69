-- Follow-ups are results of their own, of the series whose result is the newest that they compare. inputs: ids of the
-- compared results, oldest first, as JSON; '[]' of the result of a series.
ALTER TABLE result ADD COLUMN inputs TEXT NOT NULL DEFAULT '[]';
CREATE INDEX result_comparing ON result (series_id) WHERE inputs <> '[]';
