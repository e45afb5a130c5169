"""Seeded faults: each is put into a throw-away copy of the tree, and the suite must notice it."""

from expedite_mutants.mutant import DoesNotApply, Mutant
from expedite_mutants.seeded import MUTANTS

__all__ = ["MUTANTS", "DoesNotApply", "Mutant"]
