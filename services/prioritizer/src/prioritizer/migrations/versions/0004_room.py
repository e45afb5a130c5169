"""An order's file doubles from its first version to its second. A page takes so few orders that both fit on it: rewriting
one then touches no index, and what PostgreSQL logs of it is the difference."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("ALTER TABLE orders SET (fillfactor = 30)")
