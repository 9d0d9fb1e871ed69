-- Retraining jobs, what the schedule did, and which bundle is in service. Rows of promotion are never changed.
CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    asked_by TEXT NOT NULL,
    plan TEXT NOT NULL,
    outcome TEXT NOT NULL DEFAULT '{}',
    pid INTEGER,
    started TEXT NOT NULL DEFAULT '',
    starts INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    state_at REAL NOT NULL
);
CREATE INDEX job_by_state ON job (state, state_at);
CREATE TABLE job_event (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    job_id INTEGER REFERENCES job (id),
    event TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX job_event_by_job ON job_event (job_id, id);
-- folder '' is the configured bundle; before_id is what a rollback returns to, NULL the configured bundle.
CREATE TABLE promotion (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    event TEXT NOT NULL,
    folder TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    digest TEXT NOT NULL,
    replaced TEXT NOT NULL,
    before_id INTEGER REFERENCES promotion (id),
    job_id INTEGER REFERENCES job (id),
    asked_by TEXT NOT NULL,
    reason TEXT NOT NULL
);
