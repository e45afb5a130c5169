"""Alembic environment of shipping."""

from expedite_messaging.migrate import run_env
from shipping.store import metadata

run_env(metadata)
