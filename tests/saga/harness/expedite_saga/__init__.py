"""All seven services in one process: real handlers, real routes, real carriers' app, no sockets and no servers."""

from expedite_saga.process import Crash
from expedite_saga.world import World

__all__ = ["Crash", "World"]
