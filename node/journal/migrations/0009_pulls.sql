-- Studies that are fetched from a source because they did not come. rule: which rule asked, '' for a person. found: objects
-- that the source has and the node wants, here: of these, what the node had before, pulled: what came since it was asked.
-- try_at, set_at: when it is tried next, and when that was decided. waited_s: seconds between tries.
CREATE TABLE pull (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    study TEXT NOT NULL,
    rule TEXT NOT NULL DEFAULT '',
    asked_by TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    asked_at REAL NOT NULL,
    state_at REAL NOT NULL,
    found INTEGER NOT NULL DEFAULT 0,
    here INTEGER NOT NULL DEFAULT 0,
    pulled INTEGER NOT NULL DEFAULT 0,
    series_left INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    waited_s REAL NOT NULL DEFAULT 0,
    try_at REAL NOT NULL DEFAULT 0,
    set_at REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    UNIQUE (source, study)
);
CREATE INDEX pull_by_state ON pull (state, try_at);
CREATE INDEX pull_by_study ON pull (study);
-- Rules that ask every day. day: the local day of the last run that ended, YYYY-MM-DD.
CREATE TABLE pull_rule (
    name TEXT PRIMARY KEY,
    day TEXT NOT NULL,
    studies INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    try_at REAL NOT NULL DEFAULT 0,
    set_at REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT ''
);
