"""`expedite parked`: see and repair what waits behind events that could not be decided, in all services at once."""

from expedite_local.parked.cli import app

__all__ = ["app"]
