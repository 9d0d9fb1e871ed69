-- Times are seconds since 1970 UTC. Text columns that name states hold the values of node/journal/states.py.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    token TEXT,
    token_at REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    forced INTEGER NOT NULL DEFAULT 0,
    instances INTEGER NOT NULL DEFAULT 0,
    first_at REAL NOT NULL,
    last_at REAL NOT NULL,
    state_at REAL NOT NULL,
    UNIQUE (study, series)
);
CREATE INDEX series_by_state ON series (state, last_at);
CREATE TABLE instance (
    sop_instance TEXT NOT NULL,
    digest TEXT NOT NULL,
    series_id INTEGER REFERENCES series (id),
    sop_class TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL,
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    calling_ae TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    received_at REAL NOT NULL,
    PRIMARY KEY (sop_instance, digest)
);
CREATE INDEX instance_by_series ON instance (series_id);
CREATE UNIQUE INDEX instance_stored_once ON instance (sop_instance) WHERE state = 'stored';
CREATE TABLE result (
    result_id TEXT PRIMARY KEY,
    series_id INTEGER NOT NULL REFERENCES series (id),
    folder TEXT NOT NULL,
    model_digest TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    created_at REAL NOT NULL
);
CREATE INDEX result_by_series ON result (series_id);
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    result_id TEXT NOT NULL REFERENCES result (result_id),
    destination TEXT NOT NULL,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    next_try_at REAL,
    detail TEXT NOT NULL DEFAULT '',
    state_at REAL NOT NULL,
    UNIQUE (result_id, destination)
);
CREATE INDEX delivery_by_state ON delivery (state, next_try_at);
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    series_id INTEGER REFERENCES series (id),
    delivery_id INTEGER REFERENCES delivery (id),
    event TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX event_by_series ON event (series_id, id);
