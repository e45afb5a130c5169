"""What an order is stands in the order's own document instead of a row of its own."""

from alembic import op
from sqlalchemy import inspect

from expedite_messaging.migrate import stopped

revision = "0006"
down_revision = "0005"

_INTO_THE_ORDER = """
UPDATE stock_order AS o SET doc = left(o.doc, -1) || ',"content":' || c.doc || '}'
FROM stock_content AS c WHERE c.order_id = o.order_id
"""


def upgrade() -> None:
    stopped(op, "inventory")
    if inspect(op.get_bind()).has_table("stock_content"):  # not in a database that was made without it
        op.execute(_INTO_THE_ORDER)
        op.drop_table("stock_content")
    # An order is written once more, when it is packed: room for that on its page, so that no index grows and the log has only
    # what differs.
    op.execute("ALTER TABLE stock_order SET (fillfactor = 50)")
