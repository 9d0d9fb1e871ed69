-- For the search by patient id, accession number and study date: what the header of a series says, as digests under a key
-- that is not in here (node/observe/identity_index.py). NULL: the header has none, or its files are gone. unread: counts what
-- made the header worth reading since it was read; 0: nothing.
CREATE TABLE identity (
    series_id INTEGER PRIMARY KEY REFERENCES series (id),
    unread INTEGER NOT NULL DEFAULT 1,
    patient BLOB,
    accession BLOB,
    study_day TEXT
);
CREATE INDEX identity_unread ON identity (series_id) WHERE unread > 0;
CREATE INDEX identity_patient ON identity (patient) WHERE patient IS NOT NULL;
CREATE INDEX identity_accession ON identity (accession) WHERE accession IS NOT NULL;
CREATE INDEX identity_day ON identity (study_day) WHERE study_day IS NOT NULL;
CREATE TABLE identity_key (id INTEGER PRIMARY KEY CHECK (id = 1), fingerprint BLOB NOT NULL);
INSERT INTO identity (series_id) SELECT id FROM series;
-- Triggers, since every way by which a series or the state of an object is written counts, also those to come.
CREATE TRIGGER identity_of_new AFTER INSERT ON series BEGIN
    INSERT OR IGNORE INTO identity (series_id) VALUES (new.id);
END;
-- Corrected, set aside, purged: another file stands for the series, or none.
CREATE TRIGGER identity_of_changed AFTER UPDATE OF state ON instance BEGIN
    UPDATE identity SET unread = unread + 1 WHERE series_id = new.series_id;
END;
CREATE TRIGGER identity_of_first AFTER INSERT ON instance
WHEN (SELECT unread = 0 AND patient IS NULL AND accession IS NULL FROM identity WHERE series_id = new.series_id) BEGIN
    UPDATE identity SET unread = unread + 1 WHERE series_id = new.series_id;
END;
-- Who was refused, and whose objects were: by what a peer calls itself, with the last reason. Rows are few: the oldest go.
CREATE TABLE refusal (
    calling_ae TEXT NOT NULL,
    address TEXT NOT NULL,
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    first_at REAL NOT NULL,
    last_at REAL NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (calling_ae, address, kind)
) WITHOUT ROWID;
