"""Figures of the messaging loops, in Prometheus' default registry, labelled by service and lane."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_LABELS = ("service", "lane")

CONSUMED = Counter(
    "expedite_events_consumed_total", "Events taken from topics and decided or parked", (*_LABELS, "topic")
)
BATCH_SECONDS = Histogram(
    "expedite_batch_seconds",
    "Real seconds one batch took, from poll to commit",
    _LABELS,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
BATCH_EVENTS = Histogram(
    "expedite_batch_events", "Events per transaction", _LABELS, buckets=(1, 2, 5, 10, 25, 50, 100, 200, 500)
)
LAG = Gauge("expedite_consumer_lag_events", "Events on the topics not yet taken in", _LABELS)
CONSUMER_REBUILDS = Counter("expedite_consumer_rebuilds_total", "Consumers given up and made anew", _LABELS)
REBALANCES = Counter("expedite_rebalances_total", "Times a consumer was given partitions", _LABELS)
DUPLICATES = Counter("expedite_duplicates_dropped_total", "Events taken in before, and dropped", ("service",))
CONSUMER_POISONED = Gauge(
    "expedite_consumer_poisoned", "1 when too many events could not be decided and it stopped", _LABELS
)
UNDECODABLE = Counter("expedite_undecodable_records_total", "Records nobody understood, parked", _LABELS)

PUBLISHED = Counter("expedite_events_published_total", "Events acknowledged by the broker", _LABELS)
OUTBOX_WAITING = Gauge(
    "expedite_outbox_waiting",
    "Events committed and not yet published (of the first 10,000 rows of the outbox)",
    _LABELS,
)
OUTBOX_OLDEST = Gauge("expedite_outbox_oldest_seconds", "Age of the oldest event not yet published", _LABELS)
PRODUCER_REBUILDS = Counter("expedite_producer_rebuilds_total", "Producers given up and made anew", _LABELS)
SHARDS_OWNED = Gauge("expedite_relay_shards", "Outbox shards this process publishes", _LABELS)
KEYS_BLOCKED = Gauge("expedite_relay_blocked_keys", "Keys the broker refuses to take events of", _LABELS)

EFFECTS_PERFORMED = Counter("expedite_effects_performed_total", "Effects performed", (*_LABELS, "kind"))
EFFECTS_FAILED = Counter("expedite_effects_failed_total", "Attempts at effects that failed", (*_LABELS, "kind"))
EFFECTS_UNDECIDED = Gauge(
    "expedite_effects_undecided", "Performed effects whose result nobody could decide on", ("service",)
)
KEYS_PARKED = Gauge("expedite_parked_keys", "Keys with events that wait for repair or a later try", ("service",))
TIMERS_FIRED = Counter("expedite_timers_fired_total", "Due timers found", ("service",))
TIMERS_FAILED = Gauge("expedite_timers_failed", "Timers kept because their handler failed", ("service",))
TIMERS_OVERDUE = Gauge(
    "expedite_timers_overdue_seconds", "Real seconds by which the oldest timer that could fire is late", ("service",)
)
JOBS_RUN = Counter("expedite_jobs_total", "Runs of periodic jobs", ("service", "job", "outcome"))

DATABASE_FAILURES = Counter(
    "expedite_database_failures_total",
    "Calls to the database that failed and may succeed later, by what was wrong",
    ("kind",),
)
DATABASE_BYTES = Gauge("expedite_database_bytes", "Size of the service's database", ("service",))
WAL_BYTES = Gauge("expedite_database_wal_bytes", "Log the database server has written since it was made", ("service",))

for _kind in ("away", "disk", "resources", "conflict", "slow"):
    DATABASE_FAILURES.labels(_kind)
