"""All trials, and the rows of the fault matrix that cannot be tried here."""

from __future__ import annotations

from collections.abc import Sequence

from expedite_chaos.table import Impossible
from expedite_chaos.trial import Trial
from expedite_chaos.trials import (
    abuse,
    again,
    crashes,
    disks,
    frozen,
    links,
    members,
    poisoned,
    servers,
    sessions,
    strain,
    versions,
)

TRIALS: tuple[Trial, ...] = (
    *crashes.TRIALS,
    *frozen.TRIALS,
    *servers.TRIALS,
    *sessions.TRIALS,
    *disks.TRIALS,
    *strain.TRIALS,
    *members.TRIALS,
    *links.TRIALS,
    *again.TRIALS,
    *poisoned.TRIALS,
    *abuse.TRIALS,
    *versions.TRIALS,
)

IMPOSSIBLE: tuple[Impossible, ...] = (
    *disks.IMPOSSIBLE,
    *strain.IMPOSSIBLE,
    *links.IMPOSSIBLE,
    Impossible("-", "membership change", "one broker and one PostgreSQL: there are no members to change"),
    Impossible(
        "-", "lost un-fsynced writes", "needs a file system in user space that forgets (lazyfs); no module here"
    ),
)


def chosen(only: str = "", *, short: bool = False) -> Sequence[Trial]:
    """The trials of the rows in `only` (`"9,13b"`; empty: all, or the short ones), in the order of the matrix. ValueError
    names the rows that there are not: one misspelt would otherwise count as tried."""
    wanted = {row.strip() for row in only.split(",") if row.strip()}
    if unknown := wanted - {t.row for t in TRIALS} - {str(t.number) for t in TRIALS}:
        raise ValueError(f"no such row: {', '.join(sorted(unknown))}; --list names them")
    found = [t for t in TRIALS if (t.row in wanted or str(t.number) in wanted if wanted else t.short or not short)]
    return sorted(found, key=lambda t: (t.number, t.row))
