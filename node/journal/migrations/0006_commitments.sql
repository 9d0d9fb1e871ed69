-- Patience of deliveries, counted in seconds that were waited; what was asked of archives, and what others asked of us.
-- waited_s: seconds between tries since the delivery was made, was first taken, or was retried. losses: how often what
-- was taken was missing later. unreachable: it waits because the destination did not respond.
ALTER TABLE delivery ADD COLUMN waited_s REAL NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN unreachable INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_unreachable ON delivery (destination) WHERE unreachable = 1;
-- Storage commitment that we asked for. objects: file by SOP Instance UID. committed, failed: as reported.
CREATE TABLE commitment (
    transaction_uid TEXT PRIMARY KEY,
    delivery_id INTEGER NOT NULL REFERENCES delivery (id),
    state TEXT NOT NULL,
    asked_at REAL NOT NULL,
    objects TEXT NOT NULL,
    committed TEXT NOT NULL DEFAULT '[]',
    failed TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX commitment_by_delivery ON commitment (delivery_id);
-- Storage commitment that others asked of us. objects: SOP Class and Instance UIDs. failed: Failure Reason by SOP
-- Instance UID. try_at, set_at: when the report is tried next, and when that was decided.
CREATE TABLE commitment_request (
    id INTEGER PRIMARY KEY,
    transaction_uid TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL,
    asked_at REAL NOT NULL,
    objects TEXT NOT NULL,
    failed TEXT NOT NULL DEFAULT '{}',
    tries INTEGER NOT NULL DEFAULT 0,
    waited_s REAL NOT NULL DEFAULT 0,
    try_at REAL NOT NULL,
    set_at REAL NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    UNIQUE (transaction_uid, calling_ae)
);
CREATE INDEX commitment_request_by_state ON commitment_request (state, try_at);
