"""Which tests look at a mutant, in stages, the cheapest and widest first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from expedite_mutants.mutant import MESSAGING, Mutant

SAGAS, SCENARIOS, UNIT, POSTGRES, KAFKA = "sagas", "scenarios", "unit", "postgres", "kafka"
SIMULATION = (SAGAS, SCENARIOS)
RANDOM = "tests/saga/test_saga_random.py"
MESSAGING_TESTS = "libs/messaging/tests"
# Where everything runs: memory twin and PostgreSQL.
_BOTH = {f"{MESSAGING}/{name}.py" for name in ("engine", "tx", "collection", "masters", "cause", "handlers", "group")}
_MEMORY = {f"{MESSAGING}/{name}.py" for name in ("memory", "bus")}
_TRANSPORT = {f"{MESSAGING}/{name}.py" for name in ("relay", "kafka", "gathering")}
_SETTLING = "services/inventory/src/inventory/settling.py"


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of pytest: what it is called in the report, and what it is given."""

    name: str
    arguments: tuple[str, ...]


def stages_of(mutant: Mutant) -> tuple[Stage, ...]:
    """The stages that can notice a mutant, in their order. They stop at the first that does."""
    simulation = (Stage(SAGAS, (RANDOM,)), Stage(SCENARIOS, ("tests/saga", f"--ignore={RANDOM}")))
    return (*(() if mutant.unseen else simulation), *_own(mutant.file))


def _own(file: str) -> tuple[Stage, ...]:
    behaviour, store = f"{MESSAGING_TESTS}/test_behaviour.py", f"{MESSAGING_TESTS}/test_messaging_store.py"
    if file in _MEMORY:
        return (Stage(UNIT, (behaviour, "-k", "not postgres")),)
    if file in _BOTH:
        return Stage(UNIT, (behaviour, "-k", "not postgres")), Stage(POSTGRES, (behaviour, "-k", "postgres", store))
    if file in _TRANSPORT:
        unit = ("test_gathering", "test_messaging_later", "test_messaging_offsets")
        real = ("test_messaging_rebalance", "test_messaging_kafka")
        return (
            Stage(UNIT, tuple(f"{MESSAGING_TESTS}/{name}.py" for name in unit)),
            Stage(KAFKA, tuple(f"{MESSAGING_TESTS}/{name}.py" for name in real)),
        )
    if file.startswith(MESSAGING):
        return Stage(POSTGRES, (behaviour, store)), Stage(KAFKA, (f"{MESSAGING_TESTS}/test_messaging_kafka.py",))
    if file == _SETTLING:
        return (Stage(POSTGRES, ("services/inventory/tests/store",)),)
    parts = PurePosixPath(file).parts
    tests = f"{parts[0]}/{parts[1]}/tests"
    return Stage(UNIT, (f"{tests}/unit",)), Stage(POSTGRES, (f"{tests}/store",))
