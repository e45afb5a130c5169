"""Read models of the control tower and the tables of messaging."""

from alembic import op

from control_tower.store import metadata
from expedite_messaging.migrate import create_collections, create_messaging_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_messaging_tables(op)
    create_collections(op, metadata)
