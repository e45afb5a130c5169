"""The outcome of a run as people read it, and as machines do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from expedite_chaos.trial import Result

HEAD = ("row", "fault", "at risk", "times", "in flight", "lost", "doubled", "oversold", "recovery", "it bit", "verdict")
_RIGHT = {"times", "in flight", "lost", "doubled", "oversold"}


@dataclass(frozen=True)
class Impossible:
    """A row that cannot be done here, and why."""

    row: str
    name: str
    why: str


def _cells(result: Result) -> tuple[str, ...]:
    recovery = "" if result.recovery_s is None else f"{result.recovery_s:.1f} s"
    if result.target_s is not None:
        recovery += f" (≤ {result.target_s:g} s)"
    bit = ", ".join(f"{n:g} {name}" for name, n in result.bit.items())
    return (
        result.row, result.name, result.at_risk, str(result.times), str(result.in_flight), str(result.lost),
        str(result.doubled), str(result.oversold), recovery, bit, result.verdict,
    )  # fmt: skip


def text(results: Sequence[Result], impossible: Sequence[Impossible]) -> str:
    """Aligned columns, then what is wrong, then what could not be done."""
    rows = [HEAD, *(_cells(r) for r in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if name in _RIGHT else c.ljust(w) for c, w, name in zip(row, widths, HEAD, strict=True)]
        lines.append("  ".join(cells).rstrip())
    for result in results:
        lines += [f"row {result.row}: {problem}" for problem in result.problems]
    lines += [f"row {i.row} ({i.name}) cannot be done here: {i.why}" for i in impossible]
    lines.append(_summary(results))
    return "\n".join(lines)


def _summary(results: Sequence[Result]) -> str:
    broken = sum(1 for r in results if r.problems)
    late = sum(1 for r in results if r.late and not r.problems)
    orders, seconds = sum(r.orders for r in results), sum(r.seconds for r in results)
    return (
        f"{len(results)} trials, {orders:,} orders, {seconds / 60:.1f} min of trials: "
        f"{len(results) - broken} hold ({late} recovered late), {broken} broken"
    )


def markdown(results: Sequence[Result], impossible: Sequence[Impossible]) -> str:
    """The table for a document."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "|".join("--:" if name in _RIGHT else "---" for name in HEAD) + "|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(result)) + " |" for result in results]
    lines += [f"| {i.row} | {i.name} | | | | | | | | | not done here: {i.why} |" for i in impossible]
    return "\n".join([*lines, "", _summary(results)])


def as_json(results: Sequence[Result], impossible: Sequence[Impossible], about: dict[str, Any]) -> str:
    """Everything, for machines."""
    document = {
        **about,
        "trials": [{**asdict(result), "verdict": result.verdict} for result in results],
        "impossible": [asdict(row) for row in impossible],
    }
    return json.dumps(document, indent=1, ensure_ascii=False)
