"""Alembic environment of the notifier."""

from expedite_messaging.migrate import run_env
from notifier.store import metadata

run_env(metadata)
