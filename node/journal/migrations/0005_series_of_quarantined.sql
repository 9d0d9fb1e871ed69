-- Objects that were quarantined before they had a series: what they said of it is not known.
INSERT OR IGNORE INTO series (study, series, state, first_at, last_at, state_at)
    SELECT '', '', 'quarantined', min(received_at), max(received_at), max(received_at) FROM instance
    WHERE series_id IS NULL HAVING count(*) > 0;
UPDATE instance SET series_id = (SELECT id FROM series WHERE study = '' AND series = '') WHERE series_id IS NULL;
