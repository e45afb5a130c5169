"""`python -m expedite_chaos`: run trials and print the table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from expedite_chaos import runner, table
from expedite_chaos.trial import Result
from expedite_chaos.trials import IMPOSSIBLE, chosen


def main() -> int:
    parser = argparse.ArgumentParser(prog="expedite_chaos", description="Break Expedite under load and audit it.")
    parser.add_argument("--only", default="", help="rows, as in 9,13 (9 means 9a, 9b and 9c too)")
    parser.add_argument(
        "--short",
        action="store_true",
        help="less load and one audit per system; the rows of every test run, or those named",
    )
    parser.add_argument("--seed", type=int, default=1, help="of orders, carriers and moments")
    parser.add_argument("--list", action="store_true", help="name the trials and end")
    parser.add_argument("--keep", type=Path, help="a folder for the logs of all systems")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--json", type=Path, help="write everything here")
    told = parser.parse_args()
    if told.list:
        for trial in chosen():
            print(f"{trial.row:>4}  {'short' if trial.short else '     '}  {trial.name}  [{trial.ground.name}]")
        return 0
    try:
        trials = chosen(told.only, short=told.short)
    except ValueError as error:
        parser.error(str(error))
    found: list[Result] = []
    whole = runner.performed(trials, found, short=told.short, seed=told.seed, keep=told.keep)
    results = runner.in_order(found)
    if not whole:
        print(f"[chaos] ended early, with {len(results)} results")
    impossible = [] if told.only or told.short else list(IMPOSSIBLE)
    print(table.text(results, impossible))
    if told.markdown:
        told.markdown.write_text(table.markdown(results, impossible) + "\n", encoding="utf-8")
    if told.json:
        about = {"seed": told.seed, "short": told.short, **runner.machine()}
        told.json.write_text(table.as_json(results, impossible, about) + "\n", encoding="utf-8")
    return 0 if whole and not any(result.failed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
