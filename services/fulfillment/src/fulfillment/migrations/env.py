"""Alembic environment of this service's database."""

from expedite_messaging.migrate import run_env
from fulfillment.store import metadata

run_env(metadata)
