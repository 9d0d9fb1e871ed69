-- When the folder of a result was removed, or was to be: the objects of its series are `purging` until it is. NULL while
-- it is kept. Objects and series have states of their own for it.
ALTER TABLE result ADD COLUMN purged_at REAL;
