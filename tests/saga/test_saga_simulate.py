"""`expedite simulate`: processes that die and start again, seeds that replay, failures that are explained, and the command."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from expedite_saga import Crash, World
from expedite_saga.chance import Run, SagaFailed
from expedite_saga.command import Options, Tally, report, run
from expedite_saga.masters import LON, MUG
from expedite_saga.people import House
from expedite_saga.plan import Step, chosen, plan
from expedite_saga.process import AFTER, COMMIT, STEPS, Fuse, Process
from expedite_saga.shrink import Shrinker, told
from expedite_saga.world import copied
from typer.testing import CliRunner

import inventory.domain.desk
from expedite_events import OrderReceived
from expedite_local.cli import app
from expedite_local.errors import LocalError
from expedite_messaging.memory import Database
from inventory.store import ORDERS as STOCK

HARNESS = Path(__file__).parent / "harness"


def committed(engine: Process) -> Database:
    """A copy of what is durable, without tables that somebody merely looked into."""
    db = copied(engine.db)
    return replace(db, rows={name: rows for name, rows in db.rows.items() if rows})


async def heard(world: World, left: int) -> Fuse:
    """Inventory's first message, with a fuse of that length."""
    fuse = world.engines["prioritizer"].fuse = Fuse(left)
    name = next(n for n in world.bus.ready() if n[2] == "prioritizer" and n[0].startswith("OrderReceived"))
    with suppress(Crash):
        await world.engines["prioritizer"].deliver(list(world.bus.queues[name]))
    return fuse


async def test_a_process_dies_before_each_of_its_steps_and_only_commits_last() -> None:
    """I3 I4: whatever it had done until then is gone, up to its commit; from there on all of it is durable."""
    met = []
    for left in range(60):
        async with World() as world:
            house = House(world)
            await house.planner.opens({(MUG, LON): 1})
            await house.channel.places((MUG, 1))
            world.bus.relay()
            engine = world.engines["prioritizer"]
            before = committed(engine)
            fuse = await heard(world, left)
            if fuse.burnt is None:
                break
            met.append(fuse.burnt)
            assert (committed(engine) == before) == (fuse.burnt != AFTER), fuse.burnt
            world.restart("prioritizer")
            await world.settle()
            assert world.row("inventory", STOCK, house.orders[0])
    assert met[:2] == ["inbox", "lock"]
    assert met[-2:] == [COMMIT, AFTER]
    assert set(met) <= {*STEPS, COMMIT, AFTER}
    assert {"emit", "save", "timers"} <= set(met)


async def test_a_process_that_starts_again_knows_what_was_committed_and_nothing_else(house: House) -> None:
    """I4: another engine over the committed rows; no cache, no group, no runtime of the dead one; whatever that still tries
    to do fails."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    for service, dead in dict(house.world.engines).items():
        remembered = dead.masters
        house.world.restart(service)
        born = house.world.engines[service]
        assert born is not dead
        assert born is house.world.bus.engines[service]
        assert born.masters is not remembered
        assert not born.masters._whole and not born.masters._rows
        with pytest.raises(Crash):
            await dead.transact([order], lambda tx: _nothing())
    await house.delivers(order, await house.london.ships(order))


async def _nothing() -> None:
    return None


async def test_a_dead_relay_leaves_its_rows_and_they_are_sent_again(house: House) -> None:
    """I3 I4: between the send and the delete: twice on the topic, once in every consumer."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    bus = house.world.bus
    bus.send(list(house.world.engines["order-intake"].db.outbox))
    house.world.restart("order-intake")
    await house.world.settle()
    assert bus.repeated > 0
    assert len(house.world.said(OrderReceived)) == 1
    await house.delivers(order, await house.london.ships(order))


# -- the same again


async def digest(seed: int) -> str:
    """Everything a seed does and says."""
    made = Run(seed)
    await made.go()
    ids = [str(envelope.id) for envelope in made.world.bus.log]
    return hashlib.sha256("\n".join([*made.trail, *ids]).encode()).hexdigest()


ALONE = "import asyncio, test_saga_simulate as t; print(asyncio.run(t.digest({seed})))"


async def test_a_seed_does_the_same_in_any_process() -> None:
    """The one command that replays: no order of sets, no random id, no real time decides anything."""
    # What is imported here is imported there, a copy with a fault in it too.
    inherited = filter(None, [os.environ.get("PYTHONPATH")])
    path = os.pathsep.join([str(HARNESS), str(Path(__file__).parent), *inherited])
    for hash_seed, seed in (("1", 3), ("77", 4)):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
        alone = await create_subprocess_exec(
            sys.executable, "-c", ALONE.format(seed=seed), stdout=PIPE, env=environment
        )
        there, _ = await alone.communicate()
        assert there.decode().strip() == await digest(seed)


def test_a_plan_replays_the_steps_it_names() -> None:
    """A step has chance of its own: it does not depend on which others are done."""
    whole = plan(7)
    assert chosen(whole, "3, 17c") == [whole[3], Step(17, whole[17].kind, whole[17].seed, whole[17].order, calm=True)]
    for wrong in ("x", "3,99999", "-1", "3cc"):
        with pytest.raises(ValueError, match="is not a step"):
            chosen(whole, wrong)


# -- failures are explained


def greedy(patch: pytest.MonkeyPatch) -> None:
    """Inventory never gives back what a cancelled order held."""
    move = inventory.domain.desk.Desk.move
    patch.setattr(
        inventory.domain.desk.Desk, "move",
        lambda self, units, w, source, target: None if target == "free" else move(self, units, w, source, target),
    )  # fmt: skip


async def first_failure(wrong: Callable[[pytest.MonkeyPatch], None], patch: pytest.MonkeyPatch) -> int:
    wrong(patch)
    for seed in range(60):
        try:
            await Run(seed).go()
        except SagaFailed:
            return seed
    raise AssertionError("sixty random sagas did not notice")


async def test_a_failure_is_explained_by_its_guilty_step() -> None:
    """A8 D10: a planted defect: what is left of five hundred steps is an order and the cancel whose units were not given back,
    and the command that does just these again fails alike."""
    with pytest.MonkeyPatch.context() as patch:
        seed = await first_failure(greedy, patch)
        found = await Shrinker(seed, 40.0).shrink()
        assert found is not None
        said = told(found)
        assert len(found.steps) <= 12 < found.whole / 8, said
        assert "/cancel" in said or "cancels" in said, said
        assert "placed" in said and found.failure.what in said and f"events of {found.orders[0]}" in said
        numbers = ",".join(map(str, found.steps))
        assert f"uv run expedite simulate --seed {seed} --steps {numbers}" in said
        again = await Shrinker(seed, 0.0).shrink(chosen(plan(seed), numbers))
        assert again is not None and again.failure.invariant == found.failure.invariant
    assert await Shrinker(seed, 0.0).shrink(found.steps) is None, "without the defect nothing is wrong with these steps"


# -- the command


def test_many_seeds_end_with_a_table_and_figures(tmp_path: Path) -> None:
    """Seeds, sagas, rate, how often each trouble was met, violations; the same in a file."""
    said: list[str] = []
    file = tmp_path / "figures.json"
    assert run(Options(seeds=2, first=5, workers=1, json_file=file), said.append) == 0
    figures = json.loads(file.read_text())
    assert (figures["seeds"], figures["violations"]) == (2, [])
    assert figures["sagas"] >= 4 and figures["sagas_per_s"] > 0 and figures["met"]["OrderReceived"] > 0
    for line in ("sagas/s", "violations", "died before", "redeliveries"):
        assert line in said[0]


def test_violations_are_in_the_table_and_what_was_never_met() -> None:
    """Exit status and table say what broke."""
    tally = Tally(seeds=200)
    tally.add(Tally(1, failures=[(3, "Broken: I2 one custodian")]))
    text = report(tally, 2.0, 2)
    assert "never met: later events first" in text
    assert [line.split() for line in text.splitlines() if line.startswith("violations")] == [["violations", "1"]]


def test_a_failing_seed_is_replayed_explained_and_exits_with_1() -> None:
    """`--seed S`: status 1, the failure, the explanation and its command."""
    said: list[str] = []

    def broken(*args: Any) -> None:
        raise AssertionError("planted: 20261123-EC-000001")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expedite_saga.audit.each_message_once", broken)
        assert run(Options(seed=1, steps="0,5,9", shrink_s=5.0, trace=True), said.append) == 1
    assert "planted" in said[-1] and "0 of 3 steps are enough" in said[-1]
    assert "--seed 1 --steps none" in said[-1]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--steps", "3"], "--steps is about one seed"),
        (["--trace"], "--trace is about one seed"),
        (["--seed", "1", "--json", "x.json"], "--json is about many seeds"),
        (["--json", "/nowhere/x.json"], "there is no folder /nowhere"),
        (["--seed", "1", "--steps", "x"], "'x' is not a step"),
    ],
)
def test_bad_arguments_name_the_remedy(arguments: list[str], why: str) -> None:
    """Nothing is simulated, and the person is told what to write instead."""
    said = CliRunner().invoke(app, ["simulate", *arguments])
    assert isinstance(said.exception, LocalError)
    assert why in str(said.exception)
