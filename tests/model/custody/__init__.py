"""The custody protocol as an executable model: random interleavings of a few orders, standard library only.

    cd tests/model && python -m custody [SEEDS] [--seed N] [--break RULE] [--rules]

A step is one committed decision of one service, or one thing a person or carrier does. Each (topic, lane, key, reader)
keeps its order, nothing else does; messages come again, a process dies before its commit. `checks` says what must hold
between two steps and at rest, `rules` names what the services must keep for that, so that each can be broken on purpose.
"""

from custody.checks import Broken
from custody.rules import RULES
from custody.world import World

__all__ = ["RULES", "Broken", "World"]
