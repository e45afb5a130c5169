"""Alembic environment of the prioritizer."""

from expedite_messaging.migrate import run_env
from prioritizer.store import metadata

run_env(metadata)
