"""All mutants, in the order of an order's way through the house."""

from expedite_mutants.mutant import Mutant
from expedite_mutants.seeded import (
    engine,
    fulfillment,
    intake,
    inventory,
    postgres,
    prioritizer,
    shipping,
    tower,
    transport,
)

MUTANTS: tuple[Mutant, ...] = (
    *engine.MUTANTS,
    *postgres.MUTANTS,
    *transport.MUTANTS,
    *intake.MUTANTS,
    *prioritizer.MUTANTS,
    *inventory.MUTANTS,
    *fulfillment.MUTANTS,
    *shipping.MUTANTS,
    *tower.MUTANTS,
)
