-- For numbers at every scrape: objects of each sender and state without their rows, and the verdicts of the rules.
CREATE INDEX instance_by_sender ON instance (calling_ae, state, received_at, bytes);
CREATE INDEX event_judged ON event (at) WHERE event IN ('rules_accept', 'rules_reject');
