"""Tables for the repair of parked events: what was dropped, and who did what."""

from alembic import op

from expedite_messaging.migrate import add_messaging_tables

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    add_messaging_tables(op)
