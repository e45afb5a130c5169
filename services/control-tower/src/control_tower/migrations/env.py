"""Alembic environment of the control tower."""

from control_tower.store import metadata
from expedite_messaging.migrate import run_env

run_env(metadata)
