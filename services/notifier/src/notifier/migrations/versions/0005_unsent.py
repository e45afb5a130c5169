"""Those that wait and those that were refused have an index each, by the moment alone: cheaper to write than one with the
status before it."""

from alembic import op

from expedite_messaging.migrate import stopped

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    stopped(op, "notifier")  # the next step refuses too: before indexes are made in vain
    for status in ("queued", "failed"):
        op.execute(f"CREATE INDEX IF NOT EXISTS ix_message_{status} ON message (decided_at) WHERE status = '{status}'")
    op.execute("DROP INDEX IF EXISTS ix_message_unsent")
