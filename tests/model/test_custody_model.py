"""The custody protocol's model, short: it holds, it takes every path, and it notices each mistake that is planted."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from custody.checks import REST, STEP
from custody.rules import KNOWN, RULES, mistakes
from custody.runs import Chance, first_failure, play, shrink

HERE = Path(__file__).parent
SEEDS = 300
SEARCH = 3000  # seeds a mistake may hide from when the seed that used to notice does not any more
PATHS = (
    "AmendApplied", "AmendRefused", "CancelRefused", "OrderCancelled", "OrderClosed", "OrderHoldReleased", "ParcelReturned",
    "PickShort", "RaiseRequested", "RemedyApplied", "ReturnInspected", "ReturnReceived", "ShipmentLost", "TransferReceived",
    "UnitsCancelled", "amend: asked", "amend: completed", "amend: refused", "cancel: cancelled at intake", "cancel: too late",
    "crashes before the commit", "redeliveries", "ask_return: exchange", "ask_return: refund", "remedy: refund",
    "remedy: substitute", "remedy: split", "remedy: too late", "hold expired", "hold rejected", "counted", "goods damaged",
)  # fmt: skip


@cache
def noticed(rule: str) -> tuple[int, str] | None:
    """The seed that notices the mistake, and the promise that it breaks."""
    return first_failure(mistakes()[rule], SEARCH, [KNOWN[rule]] if rule in KNOWN else [])


def test_every_promise_is_kept_whatever_the_order() -> None:
    """A4 A5 A8 A9 D2 D4 D10 E4 E5 (I1 I2 I9): random interleavings of holds, amendments, cancels, remedies, returns,
    shorts, losses, crashes and redeliveries; each promise after every step or at rest, and each path taken."""
    met: Counter[str] = Counter()
    for seed in range(SEEDS):
        world, error = play(Chance(seed))
        assert error is None, f"seed {seed}: {error}; python -m custody --seed {seed}"
        met.update(world.met)
    assert [path for path in PATHS if not met[path]] == []


@pytest.mark.parametrize("rule", RULES)
def test_a_planted_mistake_is_noticed(rule: str) -> None:
    """A8 D10 (I2): seen red: each rule of the protocol, broken, breaks a promise. Those that a later station heals alone
    are broken together with its rule."""
    look_at = [KNOWN[rule]] if rule in KNOWN else []
    assert first_failure(mistakes()[rule], SEARCH, look_at) is not None, (
        f"nobody noticed that this is broken: {RULES[rule]}"
    )


def test_every_check_has_been_seen_red() -> None:
    """I2: among the planted mistakes there is one for each promise, so no check is only decoration."""
    assert {found[1] for rule in RULES if (found := noticed(rule))} == set(STEP) | set(REST)


def test_a_failure_is_cut_down_to_what_explains_it() -> None:
    """I2: the shortest trace breaks the same promise, and played again it is the same trace."""
    broken = ["lost is lost"]
    found = first_failure(broken, SEARCH)
    assert found is not None
    short = shrink(found[0], broken, tries=120)
    world, error = play(Chance(script=short.script), broken)
    assert str(error) == short.text
    assert world.told() == short.trace
    whole, _ = play(Chance(found[0]), broken)
    assert len(short.trace) < len(whole.trace)
    assert any("lost" in line or "carrier" in line for line in short.trace)


def test_the_command_tells_seed_and_trace_and_fails() -> None:
    """I2: exit 0 with a summary when all is well; 1 with the seed and its trace when not."""

    def run(*args: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-m", "custody", *args], cwd=HERE, capture_output=True, text=True)
        return done.returncode, done.stdout

    code, out = run("5")
    assert (code, out.splitlines()[0].split(",")[:2]) == (0, ["5 runs", " 0 failed"])
    code, out = run("2", "--break", "money once")
    assert code == 1
    assert "seed 0: money once" in out
    assert "again: python -m custody --seed 0" in out
