"""Tables of messaging and the collections of inventory."""

from alembic import op

from expedite_messaging.migrate import create_collections, create_messaging_tables
from inventory.store import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_messaging_tables(op)
    create_collections(op, metadata)


def downgrade() -> None:
    raise NotImplementedError("the first revision is the beginning: drop the database instead")
