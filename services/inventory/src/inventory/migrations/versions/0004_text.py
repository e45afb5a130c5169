"""Documents are text: nobody reads them through to see that our own encoder wrote JSON."""

from alembic import op

from expedite_messaging.migrate import keep_documents_as_text
from inventory.settling import FUNCTIONS
from inventory.store import metadata

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    keep_documents_as_text(op, metadata)
    for function in FUNCTIONS:
        op.execute(function)
