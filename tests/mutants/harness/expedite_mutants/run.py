"""Puts each fault into a copy of the tree and lets the suite look for it."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import SimpleQueue

from expedite_mutants.copy import Copy
from expedite_mutants.mutant import Mutant
from expedite_mutants.process import Hangs, end_all, forked, spawned
from expedite_mutants.suite import Stage, kind_of, stages_of

TEST_LIMIT_S = 240  # of one test; pytest names the one that hangs
_PASSED, _FAILED, _INTERRUPTED, _NOTHING = 0, 1, 2, 5
_NAMED = re.compile(r"^(?:FAILED|ERROR) (?P<test>\S+(?:\[.*?\])?)(?: - (?P<said>.*))?$", re.MULTILINE)


class Broken(Exception):
    """The suite cannot judge: it fails without any fault, or does not run."""


@dataclass(slots=True)
class Look:
    """What one run made of a mutant. `test` is the first that failed and `kind` its kind, both empty when all passed."""

    seconds: float
    kind: str = ""
    test: str = ""
    said: str = ""


@dataclass(slots=True)
class Verdict:
    """All looks at one mutant, the last one being the one that caught it, if any did."""

    name: str
    looks: list[Look] = field(default_factory=list)

    @property
    def caught(self) -> Look | None:
        return self.looks[-1] if self.looks and self.looks[-1].test else None

    def plain(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, object]) -> Verdict:
        looks: list[dict[str, object]] = plain["looks"]  # type: ignore[assignment]
        return cls(str(plain["name"]), [Look(**look) for look in looks])  # type: ignore[arg-type]


def judged(code: int, output: str, seconds: float) -> Look:
    """What a run of pytest says. Raises `Broken` when it says nothing about the code."""
    if code == _PASSED:
        return Look(seconds)
    found = _NAMED.search(output)
    if code in (_FAILED, _INTERRUPTED) and found:
        hung = "hang: " if "Timeout (>" in output else ""
        return Look(seconds, kind_of(found["test"]), found["test"], hung + (found["said"] or "").strip())
    raise Broken(f"pytest answered {code}:\n{output[-4000:]}")


def look(copy: Copy, stage: Stage, seeds: int, limit_s: float) -> Look:
    """Run one stage on a copy as it is now. What runs longer than `limit_s` hangs."""
    arguments = (
        "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=short", f"--timeout={TEST_LIMIT_S}", *stage.arguments,
    )  # fmt: skip
    output, environment = copy.folder / "output", copy.environment(SAGA_SEEDS=str(seeds), COLUMNS="400")
    run = spawned if stage.servers else forked
    started = time.monotonic()
    try:
        code = run(arguments, copy.folder, environment, output, limit_s)
    except Hangs:
        return Look(
            round(time.monotonic() - started, 1), kind_of(stage.arguments[0]), "(none ended)", "hang: time limit"
        )
    return judged(code, output.read_text(errors="replace"), round(time.monotonic() - started, 1))


def judge(copy: Copy, mutant: Mutant, seeds: int, limit_s: float) -> Verdict:
    """Let every stage look at a mutant until one notices it."""
    verdict = Verdict(mutant.name)
    with copy.with_fault(mutant):
        for stage in stages_of(mutant):
            verdict.looks.append(look(copy, stage, seeds, limit_s))
            if verdict.caught:
                break
    return verdict


def sound(copy: Copy, mutants: Sequence[Mutant], seeds: int, limit_s: float) -> float:
    """Every stage these mutants need, without any fault; the seconds it took. Raises `Broken` when one does not pass: it
    would catch everything."""
    stages = {stage for mutant in mutants for stage in stages_of(mutant)}
    seconds = 0.0
    for servers in (False, True):
        needed = dict.fromkeys(a for stage in stages if stage.servers is servers for a in stage.arguments)
        paths = tuple(sorted(a for a in needed if "/" in a))
        if not paths:
            continue
        seen = look(copy, Stage(paths, servers), seeds, limit_s * len(paths))
        if seen.test:
            raise Broken(f"without any fault {seen.test} fails: {seen.said}")
        seconds += seen.seconds
    return seconds


def run_all(
    mutants: Sequence[Mutant], seeds: int, jobs: int, limit_s: float, told: Callable[[Mutant, Verdict], None]
) -> None:
    """Judge mutants, `jobs` at a time, each worker in a copy of its own. `told` hears every verdict as it falls."""
    with tempfile.TemporaryDirectory(prefix="expedite-mutants-") as folder:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(jobs):
            copies.put(Copy(Path(folder) / str(number)))

        def one(mutant: Mutant) -> Verdict:
            copy = copies.get()
            try:
                return judge(copy, mutant, seeds, limit_s)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(jobs) as pool:
            verdicts = {pool.submit(one, mutant): mutant for mutant in mutants}
            try:
                for verdict in as_completed(verdicts):
                    told(verdicts[verdict], verdict.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                end_all()
                raise
