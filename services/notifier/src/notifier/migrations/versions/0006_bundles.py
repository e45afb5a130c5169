"""What a transaction emits is one row of the outbox for each shard."""

from alembic import op

from expedite_messaging.migrate import bundle_outboxes

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    bundle_outboxes(op, "notifier")
