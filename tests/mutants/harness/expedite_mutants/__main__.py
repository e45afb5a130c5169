"""`make mutants ARGS=...`: which faults does the suite notice?"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from expedite_mutants import MUTANTS, Mutant
from expedite_mutants.copy import Copy
from expedite_mutants.mutant import ROOT
from expedite_mutants.report import Report
from expedite_mutants.run import Broken, Verdict, run_all, sound

MEASURED = ROOT / "tests" / "mutants" / "measured.json"
PAGE = ROOT / "docs" / "mutations.md"


def main() -> int:
    said = _arguments()
    mutants = [m for m in MUTANTS if not said.names or any(name in m.name for name in said.names)]
    if said.list:
        print("\n".join(f"{m.name:44} {m.attacks:10} {m.wrong}" for m in mutants))
        return 0
    report = Report.read(said.json) if said.json.is_file() else Report()
    # What is not seeded any more has no place in the report.
    report.verdicts = {m.name: report.verdicts[m.name] for m in MUTANTS if m.name in report.verdicts}
    if said.doc:
        PAGE.write_text(report.page(MUTANTS))
        print(report.summary(MUTANTS))
        return 0
    if said.resume:
        mutants = [m for m in mutants if m.name not in report.verdicts]
    if said.survivors:
        mutants = [m for m in mutants if m.name in report.verdicts and not report.verdicts[m.name].caught]
    for mutant in mutants:
        mutant.check(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _measure(mutants, report, said)
    except Broken as error:
        print(f"the suite cannot judge: {error}", file=sys.stderr)
        return 2


def _measure(mutants: Sequence[Mutant], report: Report, said: argparse.Namespace) -> int:
    baseline_s = None
    if not said.no_baseline:
        with tempfile.TemporaryDirectory(prefix="expedite-sound-") as folder:
            baseline_s = round(sound(Copy(Path(folder)), mutants, said.seeds, said.limit))
        print(f"without a fault all pass: {baseline_s} s", flush=True)
    report.measured = {
        "seeds": said.seeds, "jobs": said.jobs, "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "baseline_s": baseline_s,
    }  # fmt: skip
    left = len(mutants)

    def told(mutant: Mutant, verdict: Verdict) -> None:
        nonlocal left
        left -= 1
        report.verdicts[mutant.name] = verdict
        report.write(said.json)
        caught = verdict.caught
        by = f"{caught.kind}: {caught.test}: {caught.said[:160]}" if caught else "SURVIVES"
        print(f"{left:4} left  {mutant.name:44} {sum(look.seconds for look in verdict.looks):6.1f} s  {by}", flush=True)

    run_all(mutants, said.seeds, said.jobs, said.limit, told)
    print(report.summary(mutants))
    return 1 if any(not report.verdicts[m.name].caught for m in mutants) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only mutants whose name contains one of these")
    parser.add_argument("--list", action="store_true", help="name the mutants and run nothing")
    parser.add_argument("--seeds", type=int, default=150, help="random sagas per mutant")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which a stage counts as hanging")
    parser.add_argument("--json", type=Path, default=MEASURED, help="where the verdicts are kept")
    parser.add_argument("--resume", action="store_true", help="only mutants without a verdict yet")
    parser.add_argument("--survivors", action="store_true", help="only mutants that survived last time")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the stages without a fault first")
    parser.add_argument("--doc", action="store_true", help="write docs/mutations.md from the verdicts and run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
