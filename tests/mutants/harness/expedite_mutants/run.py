"""Puts each fault into a copy of the tree and lets the suite look for it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import SimpleQueue

from expedite_mutants.copy import Copy
from expedite_mutants.mutant import Mutant
from expedite_mutants.suite import Stage, stages_of

TEST_LIMIT_S = 240  # of one test; pytest names the one that hangs
_PASSED, _FAILED, _INTERRUPTED, _NOTHING = 0, 1, 2, 5
_NAMED = re.compile(r"^(?:FAILED|ERROR) (?P<test>\S+(?:\[.*?\])?)(?: - (?P<said>.*))?$", re.MULTILINE)


class Broken(Exception):
    """The suite cannot judge: it fails without any fault, or does not run."""


@dataclass(slots=True)
class Look:
    """What one stage made of a mutant. `test` is the first that failed, None when all passed."""

    stage: str
    seconds: float
    test: str | None = None
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


def judged(stage: str, code: int, output: str, seconds: float) -> Look:
    """What a run of pytest says. Raises `Broken` when it says nothing about the code."""
    if code == _PASSED:
        return Look(stage, seconds)
    found = _NAMED.search(output)
    if code in (_FAILED, _INTERRUPTED) and found:
        hung = "Timeout (>" in output
        said = (found["said"] or "").strip()
        return Look(stage, seconds, found["test"], ("hang: " if hung else "") + said)
    raise Broken(f"pytest answered {code}:\n{output[-4000:]}")


def look(copy: Copy, stage: Stage, seeds: int, limit_s: float) -> Look:
    """Run one stage on a copy as it is now. What runs longer than `limit_s` is killed with all it started."""
    command = [
        sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=short",
        f"--timeout={TEST_LIMIT_S}", *stage.arguments,
    ]  # fmt: skip
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=copy.folder, env=copy.environment(SAGA_SEEDS=str(seeds), COLUMNS="400"), stdout=output,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return Look(
                stage.name, round(time.monotonic() - started, 1), "(none ended)", "hang: killed at the time limit"
            )
        finally:
            _end(process)
        output.seek(0)
        return judged(stage.name, code, output.read(), round(time.monotonic() - started, 1))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of a run outlives it: its process group is its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def judge(copy: Copy, mutant: Mutant, seeds: int, limit_s: float) -> Verdict:
    """Let every stage look at a mutant until one notices it."""
    verdict = Verdict(mutant.name)
    with copy.with_fault(mutant):
        for stage in stages_of(mutant):
            verdict.looks.append(look(copy, stage, seeds, limit_s))
            if verdict.caught:
                break
    return verdict


def sound(copy: Copy, mutants: Sequence[Mutant], seeds: int, limit_s: float) -> list[Look]:
    """Every stage these mutants need, without any fault. Raises `Broken` when one does not pass: it would catch all."""
    needed = dict.fromkeys(stage for mutant in mutants for stage in stages_of(mutant))
    looks = []
    for stage in needed:
        seen = look(copy, stage, seeds, limit_s)
        if seen.test:
            raise Broken(f"without any fault {seen.test} fails: {seen.said}")
        looks.append(Look(f"{stage.name}: {' '.join(stage.arguments)}", seen.seconds))
    return looks


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
                pool.shutdown(wait=True, cancel_futures=True)
                raise
