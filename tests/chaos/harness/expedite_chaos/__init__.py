"""The real system under real traffic while things are killed, frozen and cut off; afterwards only invariants count."""

from expedite_chaos.faults import Fault, kill, pause, point
from expedite_chaos.ordeal import Outcome, ordeal

__all__ = ["Fault", "Outcome", "kill", "ordeal", "pause", "point"]
