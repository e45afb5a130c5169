"""What a person reads, and what is kept: tables and the JSON document."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expedite_bench.bench import Bench, Figures, flat, look_up
from expedite_bench.facts import versions

NOISY_CORES = 0.2


def catalogue(benches: dict[str, Bench]) -> str:
    """Every bench with what it measures and must reach."""
    parts = ["expedite bench NAME [--quick] [--json FILE]: measures a fresh system of its own.", ""]
    for bench in benches.values():
        parts += [f"{bench.name}", f"    {bench.measures}"]
        parts += [f"    must reach: {goal}" for goal in bench.goals]
    return "\n".join(parts)


def table(bench: Bench, median: Figures, runs: list[Figures]) -> str:
    """Figures as rows: the median, and each run beside it when there are several."""
    heads = ["figure", "median" if len(runs) > 1 else "value", *(f"run {n}" for n in range(1, len(runs) + 1) if len(runs) > 1)]  # fmt: skip
    rows = [heads]
    for path, value in flat(median):
        if {"audit", *bench.hidden}.intersection(path.split(".")):
            continue
        each = [_shown(look_up(run, path)) for run in runs] if len(runs) > 1 else []
        rows.append([path, _shown(value), *each])
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def verdicts(bench: Bench, median: Figures) -> list[dict[str, Any]]:
    """Each goal with what was measured."""
    return [
        {"goal": str(goal), "measured": look_up(median, goal.figure), "reached": goal.reached(median)}
        for goal in bench.goals
    ]


def verdict_lines(found: list[dict[str, Any]]) -> str:
    words = {True: "reached", False: "NOT reached", None: "not measured"}
    return "\n".join(f"  {words[row['reached']]:<12} {row['goal']}: {_shown(row['measured'])}" for row in found)


def noise(runs: list[Figures]) -> str | None:
    """A warning when others used the machine: such figures claim nothing."""
    worst = max((float(v) for run in runs for path, v in flat(run) if path.endswith("cores_used_by_others")), default=0)
    return (
        f"others used up to {worst:g} cores meanwhile: compare these figures with nothing"
        if worst > NOISY_CORES
        else None
    )


def document(
    bench: Bench, size: dict[str, Any], machine: dict[str, Any], median: Figures, runs: list[Figures], label: str
) -> dict[str, Any]:
    """What goes to the JSON file."""
    return {
        "bench": bench.name,
        "measures": bench.measures,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "label": label,
        "size": size,
        "machine": machine,
        "versions": versions(),
        "goals": verdicts(bench, median),
        "warning": noise(runs),
        "median": median,
        "runs": runs,
    }


def write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
