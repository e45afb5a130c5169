"""Alembic environment of order-intake."""

from expedite_messaging.migrate import run_env
from order_intake.store import metadata

run_env(metadata)
