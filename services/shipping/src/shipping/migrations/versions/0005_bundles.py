"""What a transaction emits is one row of the outbox for each shard."""

from alembic import op

from expedite_messaging.migrate import bundle_outboxes

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    bundle_outboxes(op, "shipping")
