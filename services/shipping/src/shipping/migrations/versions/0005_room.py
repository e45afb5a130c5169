"""Room on the page for all versions of a parcel's row too, of every order and of a label that is bought: a version on another
page costs the log an entry of its own, and an order one more in its index. The versions take as much room wherever they are."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE order_leg SET (fillfactor = 30)")
    op.execute("ALTER TABLE parcel SET (fillfactor = 30)")
    op.execute("ALTER TABLE effect SET (fillfactor = 85)")
