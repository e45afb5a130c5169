"""What was measured, as JSON, as a summary and as the page docs/mutations.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expedite_mutants.mutant import Mutant
from expedite_mutants.run import Verdict
from expedite_mutants.suite import SAGAS, SCENARIOS, SIMULATION

SURVIVORS: Mapping[str, str] = {}
"""Why a mutant that survives is no fault, or which fault of the suite it shows."""

_KINDS = {
    SAGAS: "random sagas",
    SCENARIOS: "scenario",
    "unit": "unit",
    "postgres": "PostgreSQL",
    "kafka": "Kafka",
}


@dataclass
class Report:
    """The verdicts of one or several runs. `measured` says where, when and with how many sagas."""

    measured: dict[str, Any] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Report:
        said = json.loads(path.read_text())
        verdicts = [Verdict.of(v) for v in said["verdicts"]]
        return cls(said["measured"], {v.name: v for v in verdicts})

    def write(self, path: Path) -> None:
        said = {
            "measured": self.measured,
            "verdicts": [self.verdicts[name].plain() for name in sorted(self.verdicts)],
        }
        path.write_text(json.dumps(said, indent=1) + "\n")

    def summary(self, mutants: Sequence[Mutant]) -> str:
        """The figures in a few lines."""
        mine = [(m, self.verdicts[m.name]) for m in mutants if m.name in self.verdicts]
        caught = Counter(v.caught.kind for _, v in mine if v.caught)
        met = [(m, v) for m, v in mine if not m.unseen]
        seen = sum(bool(v.caught and v.caught.kind in SIMULATION) for _, v in met)
        chance = sum(bool(v.caught and v.caught.kind == SAGAS) for _, v in met)
        total, all_caught = len(mine), sum(caught.values())
        lines = [
            f"{all_caught} of {total} mutants caught ({_share(all_caught, total)})",
            f"{seen} of the {len(met)} that the simulation can meet are caught by it ({_share(seen, len(met))}), "
            f"{chance} of them by random sagas ({_share(chance, len(met))}), before any other test is asked",
            "caught by: " + ", ".join(f"{_KINDS[name]} {caught[name]}" for name in _KINDS if caught[name]),
        ]
        survivors = [m.name for m, v in mine if not v.caught]
        return "\n".join([*lines, f"survivors: {', '.join(survivors) or 'none'}"])

    def page(self, mutants: Sequence[Mutant]) -> str:
        """docs/mutations.md."""
        figures = self.summary(mutants).splitlines()
        told = [m for m in mutants if m.name in self.verdicts]
        survivors = [m for m in told if not self.verdicts[m.name].caught]
        return "\n".join([
            _HEAD.format(
                **self.measured, count=len(told), of=len(mutants), sound=_sound(self.measured),
                figures="\n".join(f"- {line}" for line in figures[:3]),
            ),
            "## Caught",
            "",
            "| mutation | where | what goes wrong | attacks | caught by | s |",
            "|---|---|---|---|---|---|",
            *(_row(m, self.verdicts[m.name]) for m in told if self.verdicts[m.name].caught),
            "",
            "## Survivors",
            "",
            *([_survivors(survivors)] if survivors else ["None."]),
            "",
            *_unmeasured([m for m in mutants if m.name not in self.verdicts]),
        ])  # fmt: skip


def _sound(measured: Mapping[str, Any]) -> str:
    seconds = measured.get("baseline_s")
    if seconds is None:
        return "Whether the same tests pass without any fault was not looked at in this run."
    return f"Before the run the same tests passed without any fault, in {seconds} s."


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


def _row(mutant: Mutant, verdict: Verdict) -> str:
    caught = verdict.caught
    assert caught is not None
    test = str(caught.test).rpartition("/")[2].replace("|", "\\|")
    hung = " (hang)" if caught.said.startswith("hang") else ""
    seconds = sum(look.seconds for look in verdict.looks)
    where = f"`{mutant.file.rpartition('/src/')[2]}`"
    by = f"{_KINDS[caught.kind]}{hung}: `{test}`"
    return f"| {mutant.name} | {where} | {mutant.wrong} | {mutant.attacks} | {by} | {seconds:.0f} |"


def _survivors(survivors: Sequence[Mutant]) -> str:
    rows = [
        f"| {m.name} | `{m.file.rpartition('/src/')[2]}` | {m.wrong} | {SURVIVORS.get(m.name, 'not judged yet')} |"
        for m in survivors
    ]
    return "\n".join(["| mutation | where | what goes wrong | why it survives |", "|---|---|---|---|", *rows])


def _unmeasured(mutants: Sequence[Mutant]) -> list[str]:
    if not mutants:
        return []
    rows = [f"| {m.name} | `{m.file.rpartition('/src/')[2]}` | {m.wrong} | {m.attacks} |" for m in mutants]
    return [
        "## Not measured yet",
        "",
        "| mutation | where | what goes wrong | attacks |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


_HEAD = """# Mutations

Does the suite notice when something is wrong? {count} of {of} seeded faults were put into the code by hand, one at a time: an inbox check
skipped, goods released twice, a tombstone forgotten, a comparison reversed. Each is applied in a throw-away copy of the
tree and the suite is run against it, in this order, up to the first test that fails:

1. *random sagas*: `tests/saga/test_saga_random.py`, {seeds} seeds, and the Hypothesis machine: all services, every invariant
2. *scenario*: the rest of `tests/saga`
3. *unit*: the tests without I/O of the package the fault is in
4. *PostgreSQL*, *Kafka*: the behaviour suite, the store tests and the broker tests on real servers

Faults in SQL, in the relay and in the consumer cannot be met by the simulation, which runs neither: they begin at 3. A run
that hangs counts as caught. {sound}

{figures}

Measured on {machine}, {date}, {jobs} at a time. `make mutants` measures again, `make mutants ARGS="--list"` names the faults,
`make mutants ARGS="inventory"` tries those of one service. They stand in `tests/mutants/harness/expedite_mutants/seeded`; a
fast test says when one does not fit the code any more. This page is made of `tests/mutants/measured.json` by
`make mutants ARGS="--doc"`.
"""
