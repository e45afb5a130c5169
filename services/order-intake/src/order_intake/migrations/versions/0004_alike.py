"""What orders of equal content have in common stands in the order itself, not in a claim of its own."""

from alembic import op

from expedite_messaging.migrate import stopped

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    stopped(op, "order-intake")
    op.execute("ALTER TABLE intake_order ADD COLUMN IF NOT EXISTS alike text")
    op.execute("""
        UPDATE intake_order o SET alike = c.key, doc = left(o.doc, -1) || ',"alike":' || to_json(c.key) || '}'
        FROM claim c WHERE c.scope = 'content' AND o.order_id = c.doc::json ->> 'order_id' AND o.alike IS NULL
    """)
    op.execute("DELETE FROM claim WHERE scope = 'content'")
    op.execute("CREATE INDEX IF NOT EXISTS ix_intake_order_alike ON intake_order (alike)")
