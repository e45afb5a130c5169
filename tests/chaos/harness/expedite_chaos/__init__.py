"""The real system under real traffic while things are killed, frozen and cut off; afterwards only invariants count.

A trial is one row of the fault matrix (`trial.py`, `trials/`), a field is a running system with everything around it
(`field.py`), a ground says what kind of system a trial needs (`ground.py`), and the runner puts them together."""

from expedite_chaos.runner import run
from expedite_chaos.trial import Bite, Result, Trial

__all__ = ["Bite", "Result", "Trial", "run"]
