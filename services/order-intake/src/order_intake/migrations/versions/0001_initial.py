"""The tables of messaging and the collections of order-intake."""

from alembic import op

from expedite_messaging.migrate import create_collections, create_messaging_tables
from order_intake.store import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_messaging_tables(op)
    create_collections(op, metadata)


def downgrade() -> None:
    raise NotImplementedError("the first revision has nothing before it; drop the database instead")
