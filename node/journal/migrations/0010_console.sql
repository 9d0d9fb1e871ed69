-- For pages that show any fifty of many series at once: the newest, and what is still to be sent, by destination.
CREATE INDEX series_by_time ON series (last_at);
CREATE INDEX delivery_open ON delivery (destination, state) WHERE state IN ('pending', 'waiting', 'sent', 'dead');
CREATE INDEX delivery_proven ON delivery (destination, state_at) WHERE state = 'confirmed' AND proof <> 'unproven';
