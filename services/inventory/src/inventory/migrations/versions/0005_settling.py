"""Movements travel to `settle_shelves` as one text, and only the buckets that plain decisions move goods between."""

from alembic import op

from inventory.settling import FUNCTIONS

revision = "0005"
down_revision = "0004"

_EARLIER = f"settle_shelves(text[], text[], {', '.join(['bigint[]'] * 11)}, text[], text[], text[])"


def upgrade() -> None:
    op.execute(f"DROP FUNCTION IF EXISTS {_EARLIER}")
    for function in FUNCTIONS:
        op.execute(function)
