"""Alembic environment of inventory's database."""

from expedite_messaging.migrate import run_env
from inventory.store import metadata

run_env(metadata)
