"""Rows 7 and 8: trouble in consumer groups."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from expedite_chaos.field import Field
from expedite_chaos.groups import Double, Toggler
from expedite_chaos.trial import Bite, Trial
from expedite_chaos.trials.grounds import DOUBLED, LINKED
from expedite_events import Lane
from expedite_local.audit.topics import heard_topics
from expedite_local.child import ProcessSpec
from expedite_messaging.kafka import group_of

STORM_S, SHORT_STORM_S = 60.0, 12.0
FIGHT_S, SHORT_FIGHT_S = 20.0, 8.0
_RESERVED = "SELECT count(*) FROM ledger WHERE topic LIKE 'StockReserved%'"


async def storm(on: Field) -> Bite:
    """Beside two workers a third member joins and leaves both groups of inventory every three seconds. Each time everybody
    loses all partitions; while it stays its share is not read. Work goes on."""
    topics = heard_topics("inventory")
    groups = [group_of("inventory", lane) for lane in Lane]
    togglers = [
        Toggler(on.system.substrate.kafka_bootstrap, group, [t for t, g in topics.items() if g == group])
        for group in groups
    ]
    before = await _reserved(on)
    await asyncio.gather(*(toggler.run(SHORT_STORM_S if on.short else STORM_S) for toggler in togglers))
    over_at = time.monotonic()
    generations = sum(len(toggler.generations) for toggler in togglers)
    bit = {"rebalances seen": generations, "orders reserved meanwhile": await _reserved(on) - before}
    return Bite(times=sum(t.did["joined"] for t in togglers), bit=bit, over_at=over_at)


async def _reserved(on: Field) -> int:
    return int((await on.rows("inventory", _RESERVED))[0][0])


async def second_comer(on: Field) -> Bite:
    """A second process is started in the place of one that works. It says why it cannot and ends; the first goes on."""
    double = Double(_spec(on, "inventory-standard"))
    before = on.restarts("inventory-standard")
    began = time.monotonic()
    await double.start()
    try:
        status = await double.ended(60.0)
        seconds = time.monotonic() - began
    finally:
        await double.stop()
    problems = []
    if status in (None, 0):
        problems.append(f"the second process ended with {status}")
    if b"SlotTaken" not in double.output:
        problems.append(f"the second process did not say why it ended: {double.output[-300:]!r}")
    if on.restarts("inventory-standard") > before:
        problems.append("the first process gave way")
    return Bite(bit={"ended with": status or 0}, recovery_s=seconds, problems=problems)


def _fight(name: str) -> Callable[[Field], Awaitable[Bite]]:
    """Two processes with one static membership, neither asks who has the place: as if the lock that keeps them apart did not
    exist. They push each other out of the group; what both decide, one inbox decides once."""

    async def run(on: Field) -> Bite:
        double = Double(_spec(on, name), guarded=False)
        before, reserved = await on.reading(), await _reserved(on)
        await double.start()
        try:
            await double.lives(60.0)
            early = await double.ended(SHORT_FIGHT_S if on.short else FIGHT_S)
        finally:
            await double.stop()
        over_at = time.monotonic()
        joined = (await on.reading()).total("expedite_rebalances_total", name, since=before)
        # How the loser hears of it: its membership is not known any more.
        pushed = joined + double.output.count(b"UnknownMemberId") + double.output.count(b"consumer broke")
        problems = [] if early is None else [f"the double ended by itself with {early}: {double.output[-300:]!r}"]
        bit = {"pushed out of the group": pushed, "orders reserved meanwhile": await _reserved(on) - reserved}
        return Bite(bit=bit, over_at=over_at, problems=problems)

    return run


def _spec(on: Field, name: str) -> ProcessSpec:
    return next(status.spec for status in on.statuses if status.spec.name == name)


TRIALS = (
    Trial("7", "rebalance storm: a third member on and off every 3 s", "I3, I4", storm, 10.0, ground=DOUBLED),
    Trial("8a", "a second process in a place that is taken", "I3", second_comer, 6.0, ground=LINKED),
    Trial("8b", "two processes with one static membership", "I3, I5", _fight("inventory-standard"), 8.0, ground=LINKED),
)
