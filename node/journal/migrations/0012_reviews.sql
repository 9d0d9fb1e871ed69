-- What speaks against a result, and what a physician decided of it. doubt: sum of the weights, NULL until it is computed;
-- doubts: list of code, weight and text, heaviest first. review: '', 'confirmed' or 'rejected'; reason: code of a rejection.
ALTER TABLE result ADD COLUMN doubt REAL;
ALTER TABLE result ADD COLUMN doubts TEXT NOT NULL DEFAULT '[]';
ALTER TABLE result ADD COLUMN review TEXT NOT NULL DEFAULT '';
ALTER TABLE result ADD COLUMN reviewed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE result ADD COLUMN reviewed_at REAL;
ALTER TABLE result ADD COLUMN review_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE result ADD COLUMN organization TEXT NOT NULL DEFAULT '';
-- The list of review, worst first, and what is still to be weighed: both hold nothing but results that count.
CREATE INDEX result_to_review ON result (doubt, created_at, result_id) WHERE review = '' AND superseded_by = ''
    AND superseded_because = '' AND purged_at IS NULL AND doubt IS NOT NULL;
CREATE INDEX result_not_weighed ON result (created_at) WHERE doubt IS NULL AND superseded_by = ''
    AND superseded_because = '' AND purged_at IS NULL;
CREATE INDEX correction_by_time ON correction (judged_at, id) WHERE state <> 'unrelated';
