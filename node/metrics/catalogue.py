"""Every metric: its name, kind, meaning and labels. The table of docs/operations.md is made of it.

Gauges are read from the journal and the machine at every scrape; they survive a restart. Counters and
histograms count from the start of the process, as Prometheus expects.
"""

from __future__ import annotations

from typing import Final

from node.metrics.exposition import Kind, Metric

PREFIX: Final = "lumbar_node_"


def _metric(kind: Kind, name: str, meaning: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, kind, meaning, labels)


# ---- what came -----------------------------------------------------------------------------------

OBJECTS_RECEIVED: Final = _metric(
    "counter", "objects_received_total",
    "Objects received, by calling AE title and outcome: stored, quarantined, same (known already) or refused.",
    "sender", "outcome",
)  # fmt: skip
BYTES_RECEIVED: Final = _metric(
    "counter", "received_bytes_total", "Bytes of the objects that were kept.", "sender"
)
ASSOCIATIONS: Final = _metric(
    "counter", "associations_total",
    "Associations, by how they ended: released, aborted, closed or rejected.", "outcome",
)  # fmt: skip
SENDER_LAST: Final = _metric(
    "gauge", "sender_last_received_timestamp_seconds",
    "When the last object of a calling AE title was kept, in seconds since 1970.", "sender",
)  # fmt: skip
OBJECTS: Final = _metric("gauge", "objects", "Objects in the journal, by state.", "state")
OBJECT_BYTES: Final = _metric(
    "gauge", "object_bytes", "Bytes of the objects in spool and quarantine, by state.", "state"
)

PULLS: Final = _metric(
    "gauge", "pulls", "Studies that were asked for, by source and state; failed is what is given up.", "source", "state"
)  # fmt: skip
PULLED: Final = _metric(
    "counter", "pulled_objects_total", "Objects that ended pulls brought, by source.", "source"
)

CORRECTIONS: Final = _metric(
    "gauge", "corrections", "Segmentations of viewers that were judged, by state and code of the reason.", "state", "code"
)  # fmt: skip

# ---- what becomes of it --------------------------------------------------------------------------

SERIES: Final = _metric(
    "gauge", "series",
    "Series in the journal, by state and class of the reason; empty where the state has none.",
    "state", "reason",
)  # fmt: skip
QUEUE_OLDEST: Final = _metric(
    "gauge", "queue_oldest_seconds",
    "For how long the oldest series has been in the state that a step reads; 0 if there is none.", "step",
)  # fmt: skip
QUEUE_LENGTH: Final = _metric("gauge", "queue_length", "Series in the state that a step reads.", "step")  # fmt: skip
STAGE: Final = _metric(
    "histogram", "stage_seconds",
    "Seconds of one series in a stage: complete (since its last object), select, queue, process, deliver.",
    "stage",
)  # fmt: skip
SERIES_EVENTS: Final = _metric(
    "counter", "series_events_total", "Changes of state of series, by event of the state table.", "event"
)  # fmt: skip
FAULTS_OPEN: Final = _metric(
    "gauge", "deferred_series", "Series that a step could not act on and tries again.", "step"
)

# ---- deliveries ----------------------------------------------------------------------------------

DELIVERIES: Final = _metric(
    "gauge", "deliveries",
    "Deliveries and withdrawals of results, by destination and state; failed is what is not tried again.",
    "destination", "kind", "state",
)  # fmt: skip
DELIVERY_OLDEST: Final = _metric(
    "gauge", "delivery_oldest_seconds",
    "Age of the oldest result that a destination still has to get; 0 if there is none.", "destination",
)  # fmt: skip
DELIVERY_EVENTS: Final = _metric(
    "counter", "delivery_events_total", "Changes of deliveries, by destination and event of the state table.",
    "destination", "event",
)  # fmt: skip
LAST_PROOF: Final = _metric(
    "gauge", "destination_last_proof_timestamp_seconds",
    "When storage at a destination was last verified, in seconds since 1970.", "destination",
)  # fmt: skip

# ---- the node ------------------------------------------------------------------------------------

INFO: Final = _metric("gauge", "info", "1; version of the program.", "version")
MODEL_INFO: Final = _metric(
    "gauge", "model_info", "1; bundle in service.", "name", "version", "digest"
)
LIVE: Final = _metric("gauge", "live", "1 while every loop goes round and the journal is readable.")
READY: Final = _metric(
    "gauge",
    "ready",
    "1 while the node receives and processes: workers are ready, the disk has space.",
)
CERTIFICATE_ENDS: Final = _metric(
    "gauge", "certificate_expiry_timestamp_seconds",
    "When the certificate of a key of [tls] ends that ends first, in seconds since 1970.", "key",
)  # fmt: skip
WORKERS: Final = _metric("gauge", "workers", "Worker processes that are configured.")
WORKERS_READY: Final = _metric("gauge", "workers_ready", "Worker processes that have their model.")
CLUSTER_SLOTS: Final = _metric(
    "gauge",
    "cluster_slots",
    'Series that the cluster can compute at once; absent without [work] engine = "dask".',
)
WORKER_ENDS: Final = _metric(
    "counter", "worker_ends_total", "Ends of worker processes that were not asked for.", "worker"
)
WORKER_MEMORY: Final = _metric(
    "gauge", "worker_resident_memory_bytes", "Memory of a worker with the process that draws.", "worker"
)  # fmt: skip
LOOP_AGE: Final = _metric(
    "gauge", "loop_round_seconds", "Time since a loop of steps last went round.", "loop"
)
STEP_FAULTS: Final = _metric(
    "counter",
    "step_faults_total",
    "Faults of a step: of one series, or of the step itself.",
    "step",
)
EVENTS: Final = _metric("counter", "events_total", "Events in the log, by name.", "event")
DISK_FREE: Final = _metric("gauge", "disk_free_bytes", "Free space on the disk of [node] state.")
DISK_LOW: Final = _metric(
    "gauge", "disk_low_bytes", "[receive] disk_low_mb: below it associations are rejected."
)
DISK_HIGH: Final = _metric(
    "gauge", "disk_high_bytes", "[receive] disk_high_mb: above it they are accepted again."
)
JOURNAL_BYTES: Final = _metric(
    "gauge", "journal_bytes", "Size of the journal with its write-ahead log."
)
PURGED_OBJECTS: Final = _metric(
    "counter", "purged_objects_total", "Objects whose files `[retention]` removed, by what they were: series or quarantine.", "what"
)  # fmt: skip
PURGED_BYTES: Final = _metric(
    "counter", "purged_bytes_total", "Bytes that `[retention]` removed, objects and results.", "what"
)  # fmt: skip
RESULT_BYTES: Final = _metric(
    "gauge", "result_bytes", "Bytes of the result folders; absent until all were looked at."
)
ATTENTION: Final = _metric(
    "gauge", "attention", "What `lumbar-node status` lists as needing attention, by kind.", "kind"
)
PROTOCOL_ALARM: Final = _metric(
    "gauge", "protocol_alarm",
    "Skipped series since the last eligible one, of a sender that stopped sending eligible series.",
    "sender", "station",
)  # fmt: skip
SELFTEST_LAST: Final = _metric(
    "gauge", "selftest_timestamp_seconds", "When the self-test ran last, in seconds since 1970."
)
SELFTEST_PASSED: Final = _metric(
    "gauge", "selftest_passed", "1 if the last self-test passed, 0 if it failed or drifted."
)
SELFTEST_DEVIATION: Final = _metric(
    "gauge", "selftest_deviation_meters",
    "Largest deviation of a value of the last self-test, by what it is measured against: first_run or truth.",
    "against",
)  # fmt: skip
SCRAPE_SECONDS: Final = _metric(
    "gauge", "scrape_cpu_seconds", "Processor time that the scrape before this one took."
)

# ---- the process, by the names that every exporter uses ------------------------------------------

PROCESS_MEMORY: Final = Metric(
    "process_resident_memory_bytes", "gauge", "Resident memory of the serving process."
)
PROCESS_CPU: Final = Metric(
    "process_cpu_seconds_total", "counter", "Processor time of the serving process."
)
PROCESS_START: Final = Metric(
    "process_start_time_seconds", "gauge", "When the serving process started, in seconds since 1970."
)  # fmt: skip
PROCESS_FILES: Final = Metric("process_open_fds", "gauge", "Open files of the serving process.")

METRICS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order above."""
