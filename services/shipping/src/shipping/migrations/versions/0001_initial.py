"""Collections of shipping and the tables of messaging."""

from alembic import op

from expedite_messaging.migrate import create_collections, create_messaging_tables
from shipping.store import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_messaging_tables(op)
    create_collections(op, metadata)
