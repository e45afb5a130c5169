"""The tables every service database has besides its collections: `messaging_metadata`.

Partitions of the inbox and the ledger are not declared here: they are made ahead of time by `partitions.py`, by the
48-bit time their event ids begin with.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, UUID

from expedite_messaging.collection import metadata_naming

NUMBERS = 4_096
"""So many events one taking of the sequence `emission` numbers."""

# Queue tables turn over completely all the time: vacuum by count alone, without pauses (P29).
_QUEUE = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0",
    "autovacuum_analyze_threshold": "20000",
}

# What is JSON is kept as text: our own encoder wrote it, and PostgreSQL would read each through.
messaging_metadata = sa.MetaData(naming_convention=metadata_naming)


def _moment(name: str, *, nullable: bool = False, now: bool = True) -> sa.Column[object]:
    default = sa.text("clock_timestamp()") if now else None
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=nullable, server_default=default)


INBOX = sa.Table(
    "inbox",
    messaging_metadata,
    sa.Column("event_id", UUID(as_uuid=True), primary_key=True),
    comment="Ids of the events this service has taken in, both lanes; partitioned by the time in the id",
    postgresql_partition_by="RANGE (event_id)",
)

LEDGER = sa.Table(
    "ledger",
    messaging_metadata,
    sa.Column("event_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("key", sa.Text(collation="C"), nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    _moment("at"),
    comment="Every event this service ever emitted, for the audit; partitioned by the time in the id",
    postgresql_partition_by="RANGE (event_id)",
)


def _outbox(name: str) -> sa.Table:
    return sa.Table(
        name,
        messaging_metadata,
        # The number of its first event.
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("shard", sa.SmallInteger, nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("body", BYTEA, nullable=False),
        _moment("at"),
        comment="Bundles of events to publish (bundles.py); a row that exists is unsent",
        # A compressed bundle stays on its page: out of line it would be rows and index entries again.
        postgresql_with={**_QUEUE, "fillfactor": "100", "toast_tuple_target": "8160"},
    )


# CACHE 1: per key, order of numbers = order of commits, because the key is locked before the number is taken (P26).
# A transaction takes one number, and those up to the next for the further events it emits.
EMISSION = sa.Sequence("emission", metadata=messaging_metadata, cache=1, increment=NUMBERS)
OUTBOX = _outbox("outbox")
OUTBOX_EXPRESS = _outbox("outbox_express")

TIMER = sa.Table(
    "timer",
    messaging_metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("id", UUID(as_uuid=True), nullable=False),
    sa.Column("key", sa.Text(collation="C"), nullable=False),
    _moment("due_at", now=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("correlation_id", UUID(as_uuid=True), nullable=False),
    sa.Column("traceparent", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    _moment("retry_at", nullable=True, now=False),
    sa.Column("error", sa.Text),
    sa.Index("ix_timer_due_at", "due_at"),
    comment="Durable timers; due_at is business time, retry_at (after a failure) is real time",
    postgresql_with=_QUEUE,
)

EFFECT = sa.Table(
    "effect",
    messaging_metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text(collation="C"), primary_key=True),
    sa.Column("id", UUID(as_uuid=True), nullable=False),
    sa.Column("key", sa.Text(collation="C"), nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("correlation_id", UUID(as_uuid=True), nullable=False),
    sa.Column("traceparent", sa.Text),
    sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'wanted'")),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    _moment("next_at"),
    sa.Column("ok", sa.Boolean),
    sa.Column("result", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("reason", sa.Text),  # why a performed effect's result could not be decided on
    _moment("finished_at", nullable=True, now=False),
    sa.CheckConstraint("state IN ('wanted', 'performed', 'done')", name="state"),
    sa.Index("ix_effect_wanted", "kind", "lane", "next_at", postgresql_where=sa.text("state = 'wanted'")),
    sa.Index("ix_effect_performed", "next_at", postgresql_where=sa.text("state = 'performed'")),
    comment="What to do outside the database; the row stays for ever, so that asking twice performs once",
)

PARKED = sa.Table(
    "parked",
    messaging_metadata,
    sa.Column("key", sa.Text(collation="C"), primary_key=True),
    sa.Column("seq", sa.BigInteger, sa.Identity(always=True, cache=1), primary_key=True),
    sa.Column("event_id", UUID(as_uuid=True), nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("record_key", BYTEA),
    sa.Column("headers", BYTEA, nullable=False),
    sa.Column("value", BYTEA),
    sa.Column("reason", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    _moment("next_at", nullable=True, now=False),
    _moment("at"),
    sa.UniqueConstraint("event_id", name="uq_parked_event_id"),
    sa.Index("ix_parked_next_at", "next_at", postgresql_where=sa.text("next_at IS NOT NULL")),
    comment="Events waiting behind their key; reason NULL: behind an earlier one; next_at: tried again by itself",
)

DROPPED = sa.Table(
    "dropped",
    messaging_metadata,
    sa.Column("event_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("key", sa.Text(collation="C"), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),  # its place among the parked events of its key
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("record_key", BYTEA),
    sa.Column("headers", BYTEA, nullable=False),
    sa.Column("value", BYTEA),
    sa.Column("reason", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    _moment("at", now=False),
    _moment("dropped_at"),
    sa.Column("dropped_by", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Index("ix_dropped_key", "key"),
    comment="Parked events that a person took out of their queue; they can be restored to their place",
)

REPAIR = sa.Table(
    "repair",
    messaging_metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    _moment("at"),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("key", sa.Text(collation="C"), nullable=False),
    sa.Column("event_id", UUID(as_uuid=True)),
    sa.Column("topic", sa.Text),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("before", sa.Text),  # SHA-256 of the value before and after
    sa.Column("after", sa.Text),
    sa.Column("original_headers", BYTEA),  # what an edit replaced
    sa.Column("original_value", BYTEA),
    sa.CheckConstraint("action IN ('reveal', 'edit', 'retry', 'drop', 'restore')", name="action"),
    sa.Index("ix_repair_key", "key"),
    comment="Audit trail of what people did to parked events; append-only, written with the change itself",
)

CLOCK_ANCHOR = sa.Table(
    "clock_anchor",
    messaging_metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    _moment("real"),
    _moment("business", now=False),
    sa.Column("speed", sa.Double, nullable=False),
    sa.CheckConstraint("speed >= 0", name="speed"),
    comment="Append-only: at this real time it was this business time, from here it runs at this speed",
)

JOB = sa.Table(
    "job",
    messaging_metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _moment("next_at"),
    _moment("finished_at", nullable=True, now=False),
    sa.Column("error", sa.Text),
    comment="When each periodic job runs next (real time), and how it ended last",
)

# VOLATILE parts inside a STABLE function: within one statement one answer is enough, and an index can be used.
BUSINESS_NOW = """
CREATE OR REPLACE FUNCTION business_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(
    (SELECT a.business + (clock_timestamp() - a.real) * a.speed FROM clock_anchor a ORDER BY a.id DESC LIMIT 1),
    clock_timestamp())
$$
"""

# A key (an order) is locked by an advisory lock until its transaction ends: no row to insert, write and vacuum per key. Keys
# that hash alike only wait for each other. plpgsql, because every statement inside takes a snapshot of its own: what is
# read after the locks is what those who held them committed.
LOCK_KEYS = """
CREATE OR REPLACE FUNCTION lock_keys(wanted text[], OUT parked_keys text[], OUT at timestamptz, OUT xact text)
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(h) FROM (SELECT DISTINCT hashtextextended(k, 0) AS h FROM unnest(wanted) AS k ORDER BY 1) AS s;
  SELECT array_agg(DISTINCT p.key) INTO parked_keys FROM parked p WHERE p.key = ANY (wanted);
  at := business_now();
  xact := pg_current_xact_id()::text;
END $$
"""
# Nearly always all ids are new: they are inserted as such, which spares each of them a look beforehand and a confirmation
# afterwards. When one is known, or comes from another at this moment, that attempt is undone and each is asked for. `fresh` is NULL
# when all are.
ARRIVE = """
CREATE OR REPLACE FUNCTION arrive(ids uuid[], keys text[], OUT fresh uuid[], OUT parked_keys text[], OUT at timestamptz, OUT xact text)
LANGUAGE plpgsql AS $$
DECLARE wanted text[];
BEGIN
  BEGIN
    INSERT INTO inbox SELECT u FROM unnest(ids) AS u ORDER BY u;
    wanted := keys;
  EXCEPTION WHEN unique_violation THEN
    WITH entered AS (
      INSERT INTO inbox SELECT u FROM unnest(ids) AS u ORDER BY u ON CONFLICT DO NOTHING RETURNING event_id)
    SELECT coalesce(array_agg(event_id), '{}') INTO fresh FROM entered;
    SELECT array_agg(DISTINCT a.key) INTO wanted FROM unnest(ids, keys) AS a(id, key) WHERE a.id = ANY (fresh);
  END;
  SELECT l.parked_keys, l.at, l.xact INTO parked_keys, at, xact FROM lock_keys(wanted) AS l;
END $$
"""
REFUSE_CHANGE = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME;
END $$
"""
REPAIR_STAYS = """
CREATE OR REPLACE TRIGGER repair_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON repair
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""
FUNCTIONS = (BUSINESS_NOW, LOCK_KEYS, ARRIVE, REFUSE_CHANGE, REPAIR_STAYS)
