"""Which tests look at a mutant, the cheapest and widest first, and what kind of test noticed it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from expedite_mutants.mutant import MESSAGING, ROOT, Mutant

SAGAS, SCENARIOS, UNIT, POSTGRES, KAFKA = "sagas", "scenarios", "unit", "postgres", "kafka"
SIMULATION = (SAGAS, SCENARIOS)
SAGA_TESTS = "tests/saga"
RANDOM = tuple(f"{SAGA_TESTS}/test_saga_{name}.py" for name in ("random", "machine"))
MESSAGING_TESTS = "libs/messaging/tests"
_BEHAVIOUR = tuple(
    f"{MESSAGING_TESTS}/{name}.py" for name in ("test_behaviour", "test_behaviour_once", "test_behaviour_group")
)
_DATABASE = tuple(f"{MESSAGING_TESTS}/test_messaging_{name}.py" for name in ("store", "sessions"))
_STORE = (*_BEHAVIOUR, *_DATABASE)
_LANES = tuple(
    f"{MESSAGING_TESTS}/test_{name}.py"
    for name in ("gathering", "messaging_later", "messaging_offsets", "messaging_undecodable")
)
_BROKER = tuple(f"{MESSAGING_TESTS}/test_messaging_{name}.py" for name in ("rebalance", "kafka"))
_NO_SERVERS = ("-k", "not postgres")
# Where everything runs: memory twin and PostgreSQL.
_BOTH = {f"{MESSAGING}/{name}.py" for name in ("engine", "tx", "collection", "masters", "cause", "handlers", "group")}
_MEMORY = {f"{MESSAGING}/{name}.py" for name in ("memory", "bus")}
_TRANSPORT = {f"{MESSAGING}/{name}.py" for name in ("relay", "kafka", "gathering")}
_SETTLING = "services/inventory/src/inventory/settling.py"


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of pytest and what it is given. `servers`: tests of it start PostgreSQL or Kafka."""

    arguments: tuple[str, ...]
    servers: bool = False


def stages_of(mutant: Mutant) -> tuple[Stage, ...]:
    """The stages that can notice a mutant, in their order: without servers first, there the simulation first."""
    quick, real = _own(mutant.file)
    stages = Stage((*(() if mutant.unseen else simulation()), *quick)), Stage(real, servers=True)
    return tuple(stage for stage in stages if stage.arguments)


def simulation() -> tuple[str, ...]:
    """The files of the simulation, those that go by chance first. Files, not their folder: pytest keeps their order."""
    files = {f"{SAGA_TESTS}/{path.name}" for path in (ROOT / SAGA_TESTS).glob("test_*.py")}
    return (*(file for file in RANDOM if file in files), *sorted(files.difference(RANDOM)))


def _own(file: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tests of the package a file is in: those without servers, those with."""
    if file in _MEMORY:
        return (*_BEHAVIOUR, *_NO_SERVERS), ()
    if file in _BOTH:
        return (*_BEHAVIOUR, f"{MESSAGING_TESTS}/test_masters.py", *_NO_SERVERS), _STORE
    if file in _TRANSPORT:
        return _LANES, _BROKER
    if file.startswith(MESSAGING):
        return (), (*_STORE, *_BROKER)
    if file == _SETTLING:
        return (), ("services/inventory/tests/store",)
    parts = PurePosixPath(file).parts
    tests = f"{parts[0]}/{parts[1]}/tests"
    return (f"{tests}/unit",), (f"{tests}/store",)


def kind_of(test: str) -> str:
    """What kind of test a failing one is, by where it stands and what it runs on."""
    if test.startswith(RANDOM):
        return SAGAS
    if test.startswith(SAGA_TESTS):
        return SCENARIOS
    if test.startswith(_BROKER):
        return KAFKA
    return POSTGRES if "/store/" in test or "[postgres" in test or test.startswith(_DATABASE) else UNIT
