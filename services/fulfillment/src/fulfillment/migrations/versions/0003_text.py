"""Documents are text: nobody reads them through to see that our own encoder wrote JSON."""

from alembic import op

from expedite_messaging.migrate import keep_documents_as_text
from fulfillment.store import metadata

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    keep_documents_as_text(op, metadata)
