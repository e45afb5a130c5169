"""Read models of the control tower and the tables of messaging."""

from alembic import op

from control_tower.store import metadata
from expedite_messaging.migrate import create_collections, create_messaging_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_messaging_tables(op)
    create_collections(op, metadata)
    # Cards and pages of some kilobytes stay in their rows as they are: compressing them costs more than their bytes.
    # Cards leave room on their page for the next version.
    op.execute("ALTER TABLE card SET (fillfactor = 80, toast_tuple_target = 8160)")
    op.execute("ALTER TABLE page SET (toast_tuple_target = 8160)")
