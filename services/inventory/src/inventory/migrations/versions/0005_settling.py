"""Movements travel to `settle_shelves` as one text, with the buckets that plain decisions move goods between; what numbers a
shelf's movements and levels has columns, so that nobody reads its document for them."""

from alembic import op

from expedite_messaging.migrate import stopped
from inventory.settling import FUNCTIONS

revision = "0005"
down_revision = "0004"

_EARLIER = f"settle_shelves(text[], text[], {', '.join(['bigint[]'] * 11)}, text[], text[], text[])"


def upgrade() -> None:
    stopped(op, "inventory")
    for name in ("seq", "level_revision"):
        op.execute(f"ALTER TABLE shelf ADD COLUMN IF NOT EXISTS {name} bigint")
        op.execute(f"UPDATE shelf SET {name} = coalesce((doc::json ->> '{name}')::bigint, 0) WHERE {name} IS NULL")
    op.execute(f"DROP FUNCTION IF EXISTS {_EARLIER}")
    for function in FUNCTIONS:
        op.execute(function)
