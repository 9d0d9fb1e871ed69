-- Segmentations of viewers, as they were judged: corrections of our results, and what is none. source_id: the series that
-- is segmented, NULL where it is none of ours. entry: folder below corrections/, '' without one. seen_at: state_at of the
-- segmentation's own series when it was judged; a retry of that series makes it another one. figures: what changed.
CREATE TABLE correction (
    id INTEGER PRIMARY KEY,
    sop_instance TEXT NOT NULL,
    digest TEXT NOT NULL,
    series_id INTEGER NOT NULL REFERENCES series (id),
    source_id INTEGER REFERENCES series (id),
    result_id TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    code TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    entry TEXT NOT NULL DEFAULT '',
    figures TEXT NOT NULL DEFAULT '{}',
    calling_ae TEXT NOT NULL DEFAULT '',
    judged_at REAL NOT NULL,
    seen_at REAL NOT NULL,
    UNIQUE (sop_instance, digest)
);
CREATE INDEX correction_by_source ON correction (source_id, state);
-- For the search of segmentations among all objects at every look.
CREATE INDEX instance_segmentation ON instance (series_id)
    WHERE sop_class IN ('1.2.840.10008.5.1.4.1.1.66.4', '1.2.840.10008.5.1.4.1.1.66.7');
