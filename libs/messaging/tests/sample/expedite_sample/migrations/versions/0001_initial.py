"""The first tables."""

from alembic import op

from expedite_messaging.migrate import create_collections, create_messaging_tables
from expedite_sample.store import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_messaging_tables(op)
    create_collections(op, metadata)
