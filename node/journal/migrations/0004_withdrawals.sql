-- What a destination took and refused of each delivery and how it was proved; which result took another's place, and
-- the deliveries that take such a result back. Tables are made again: a UNIQUE constraint cannot be altered.
ALTER TABLE result ADD COLUMN superseded_by TEXT NOT NULL DEFAULT '';
ALTER TABLE result ADD COLUMN superseded_because TEXT NOT NULL DEFAULT '';
CREATE INDEX result_superseded ON result (superseded_because) WHERE superseded_because <> '';
-- For the look at every delivery's events below; it goes with the table.
CREATE INDEX event_by_delivery ON event (delivery_id);
CREATE TABLE delivery_4 (
    id INTEGER PRIMARY KEY,
    result_id TEXT NOT NULL REFERENCES result (result_id),
    destination TEXT NOT NULL,
    kind TEXT NOT NULL DEFAULT 'result',
    state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    next_try_at REAL,
    detail TEXT NOT NULL DEFAULT '',
    state_at REAL NOT NULL,
    fault TEXT NOT NULL DEFAULT '',
    fault_tries INTEGER NOT NULL DEFAULT 0,
    fault_at REAL NOT NULL DEFAULT 0,
    try_at REAL NOT NULL DEFAULT 0,
    accepted TEXT NOT NULL DEFAULT '[]',
    refused TEXT NOT NULL DEFAULT '{}',
    proof TEXT NOT NULL DEFAULT '',
    UNIQUE (result_id, destination, kind)
);
INSERT INTO delivery_4 (id, result_id, destination, state, tries, next_try_at, detail, state_at, fault, fault_tries, fault_at, try_at, proof)
    SELECT d.id, d.result_id, d.destination, d.state, d.tries, d.next_try_at, d.detail, d.state_at, d.fault, d.fault_tries, d.fault_at, d.try_at,
        CASE WHEN d.state <> 'confirmed' THEN ''
            WHEN EXISTS (SELECT 1 FROM event e WHERE e.delivery_id = d.id AND e.event = 'no_proof_offered') THEN 'unproven'
            ELSE 'found' END
    FROM delivery d;
CREATE TABLE event_4 (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    series_id INTEGER REFERENCES series (id),
    delivery_id INTEGER REFERENCES delivery_4 (id),
    event TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL
);
INSERT INTO event_4 (id, at, series_id, delivery_id, event, state, detail)
    SELECT id, at, series_id, delivery_id, event, state, detail FROM event;
DROP TABLE event;
DROP TABLE delivery;
ALTER TABLE delivery_4 RENAME TO delivery;
ALTER TABLE event_4 RENAME TO event;
CREATE INDEX delivery_by_state ON delivery (state, next_try_at);
CREATE INDEX event_by_series ON event (series_id, id);
