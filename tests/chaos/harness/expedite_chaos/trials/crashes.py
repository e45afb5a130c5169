"""Rows 1 to 3: processes killed, at random and in the middle of what matters most."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from expedite_chaos.faults import Fault, kill, point
from expedite_chaos.field import Broken, Field
from expedite_chaos.trial import Bite, Trial
from expedite_chaos.trials.grounds import DOUBLED, POINTED
from expedite_local.services import ROLES

FEW = ("order-intake-standard", "inventory-standard", "fulfillment-standard")
RECOVERY_S = 10.0
"""Half a second until the supervisor starts it again, some of start-up, and six of a consumer's session."""


async def _pointed(on: Field, faults: Sequence[Fault]) -> Bite:
    """All processes die at their points, each when it next passes there."""
    before = _bitten(on)
    await asyncio.gather(*(on.monkey.do(fault) for fault in faults))
    left = [token.name for token in on.monkey.failpoints.glob("*.armed")]
    for token in on.monkey.failpoints.glob("*.armed"):
        token.unlink()
    if left:
        raise Broken(f"nobody passed {', '.join(sorted(left))}")
    return Bite(times=len(faults), bit={"failpoints passed": _bitten(on) - before}, over_at=time.monotonic())


def _bitten(on: Field) -> int:
    return len(list(on.monkey.failpoints.glob("*.bit")))


async def after_commit(on: Field) -> Bite:
    """The database has it, nobody was told: neither the client nor Kafka's offsets."""
    faults = [point(name, "before-offsets") for name in (FEW if on.short else POINTED)]
    return await _pointed(on, [*faults, point("order-intake-api", "after-commit")])


async def before_commit(on: Field) -> Bite:
    """Everything is decided and written, and nothing of it was kept."""
    names = FEW if on.short else (*POINTED, "inventory-express", "fulfillment-express")
    return await _pointed(on, [point(name, "before-commit") for name in (*names, "order-intake-api")])


async def before_delete(on: Field) -> Bite:
    """The broker has the events and the outbox still holds them: they are published a second time."""
    # What the notifier publishes comes rarely.
    names = FEW if on.short else (*POINTED[:-1], "inventory-express")
    return await _pointed(on, [point(name, "before-delete") for name in names])


async def everybody(on: Field) -> Bite:
    """Every process of every service dies once, in seeded disorder."""
    rnd = random.Random(f"everybody {on.seed}")
    names = [p.name for p in on.snapshot.processes if p.role in ROLES]
    rnd.shuffle(names)
    for name in names:
        await on.monkey.do(kill(name))
        await asyncio.sleep(rnd.uniform(0.2, 0.8))
    return Bite(times=len(names), over_at=time.monotonic())


TRIALS = (
    Trial("1a", "killed after its commit, before the offsets", "I3, I4", after_commit, RECOVERY_S,
          ("restarts", "duplicates dropped"), short=True, ground=DOUBLED),
    Trial("1b", "every process killed once, at random", "I1-I6", everybody, RECOVERY_S, ("restarts",)),
    Trial("2", "killed before its commit", "I1, I4", before_commit, RECOVERY_S, ("restarts",), short=True, ground=DOUBLED),
    Trial("3", "relay killed after the acknowledgement, before the delete", "I5", before_delete, RECOVERY_S,
          ("restarts", "duplicates dropped"), short=True, ground=DOUBLED),
)  # fmt: skip
