"""Real processes killed and frozen under load. Only invariants are asserted, and that the faults really bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from expedite_chaos import Fault, Outcome, kill, ordeal, pause, point

from expedite_local.services import SERVICES


@pytest.fixture(autouse=True)
def our_own_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests kill servers: never somebody's."""
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP", "NOTIFIER_SMTP_HOST"):
        monkeypatch.delenv(name, raising=False)


def healed(outcome: Outcome, faults: Sequence[Fault], orders: int) -> None:
    """Everything that must hold after any ordeal."""
    assert not outcome.violations
    assert not outcome.problems
    assert outcome.accepted == orders
    # A service whose database or peer is away says so (503, tried again by the client); it never breaks (500).
    assert not [answer for answer in outcome.answers if answer.endswith(" 500")]
    # It really bit.
    assert not outcome.unbitten
    for target, deaths in Counter(f.target for f in faults if f.kind != "pause").items():
        assert outcome.restarts[target] >= deaths, target
    if any(f.target in ("kafka", "postgres") for f in faults):
        assert outcome.rebuilds > 0
    if any(f.at == "before-delete" for f in faults):
        assert outcome.twice > 0


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_system_whose_every_part_dies_once_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """One process of each role, both servers, and the worst moments of a transaction and of a relay
    (C4, D2, D10, G5)."""
    faults = [
        kill("order-intake-api"),
        kill("inventory-standard"),
        kill("fulfillment-express"),
        kill("shipping-standard"),
        kill("notifier-standard"),
        pause("prioritizer-standard", 7.0),
        kill("kafka"),
        kill("postgres"),
        point("order-intake-api", "after-commit"),
        point("fulfillment-standard", "before-offsets"),
        point("inventory-standard", "before-delete"),
    ]
    healed(await ordeal(tmp_path, faults, orders=30, seed=1), faults, 30)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [2, 3, 4])
async def test_every_process_of_every_service_dies(tmp_path: Path, seed: int) -> None:
    """Each API and each worker is killed once, some twice, both servers too (C4, D10, G5)."""
    faults = [kill(f"{service.name}-{role}") for service in SERVICES for role in ("api", "standard", "express")]
    faults += [kill("kafka"), kill("postgres"), kill("mail"), pause("shipping-express", 8.0)]
    healed(await ordeal(tmp_path, faults, orders=80, seed=seed), faults, 80)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("at", ["before-commit", "after-commit", "before-offsets", "before-delete"])
async def test_workers_die_at_the_worst_moment(tmp_path: Path, at: str) -> None:
    """Killed on both sides of the commit, before the offsets, between the broker's answer and the outbox
    (C4, D10, G5)."""
    services = ("order-intake", "prioritizer", "inventory", "fulfillment", "shipping", "notifier")
    if at == "before-delete":
        services = services[:-1]  # what the notifier publishes comes rarely
    faults = [point(f"{service}-standard", at) for service in services for _ in range(2)]
    faults += [point("inventory-express", at), point("fulfillment-express", at)]
    healed(await ordeal(tmp_path, faults, orders=60, seed=5), faults, 60)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_frozen_processes_and_servers_come_back_from_the_dead(tmp_path: Path) -> None:
    """A relay and consumers frozen beyond every time limit while a second replica takes over, a frozen broker and a frozen
    database (C4, D10, I1)."""
    faults = [
        pause("order-intake-standard-0", 20.0),
        pause("inventory-standard-1", 20.0),
        pause("inventory-express-0", 12.0),
        pause("kafka", 30.0),
        pause("postgres", 10.0),
        kill("kafka"),
    ]
    scale = {"order-intake": 2, "inventory": 2}
    healed(await ordeal(tmp_path, faults, orders=60, seed=6, scale=scale), faults, 60)
