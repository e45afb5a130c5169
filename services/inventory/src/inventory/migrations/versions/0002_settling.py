"""Functions that move goods on shelves together with the commit."""

from alembic import op

from inventory.settling import FUNCTIONS

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for function in FUNCTIONS:
        op.execute(function)


def downgrade() -> None:
    op.execute("DROP FUNCTION settle_shelves")
    op.execute("DROP FUNCTION note_published")
