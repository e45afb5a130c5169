"""What the system counts of itself, and the connections it holds."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from expedite_local.state import ProcessState, State

POOL = 5
"""Connections of a process for its transactions; every other purpose has one."""
_BACKENDS = """
SELECT application_name AS name, count(*) AS n,
  count(*) FILTER (WHERE state LIKE 'idle in transaction%' AND clock_timestamp() - state_change > interval '5 s') AS stuck
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND application_name <> 'audit' AND pid <> pg_backend_pid() GROUP BY 1
"""


@dataclass
class Reading:
    """Sums of metrics by process, at one moment. A process that was started anew counts from nought."""

    pids: dict[str, int] = field(default_factory=dict)
    values: dict[str, Counter[str]] = field(default_factory=dict)

    def total(self, metric: str, process: str = "", since: Reading | None = None) -> float:
        """The metric, summed over its labels and over all processes whose name begins with `process`. With `since`: by how
        much it has grown."""
        found = 0.0
        for name, counted in self.values.items():
            if name.startswith(process):
                found += counted[metric]
                if since is not None and since.pids.get(name) == self.pids[name]:
                    found -= since.values[name][metric]
        return found


async def read(snapshot: State, process: str = "") -> Reading:
    """Ask every service process whose name begins so; who does not answer within two seconds is left out."""
    reading = Reading()
    asked = [
        p for p in snapshot.processes
        if p.role in ("api", "standard", "express") and p.pid and p.name.startswith(process)
    ]  # fmt: skip

    async with httpx.AsyncClient(trust_env=False, timeout=2.0) as http:

        async def one(process: ProcessState) -> None:
            try:
                response = await http.get(f"http://127.0.0.1:{process.port}/metrics")
            except httpx.HTTPError:
                return
            counted: Counter[str] = Counter()
            for family in text_string_to_metric_families(response.text):
                for sample in family.samples:
                    counted[sample.name] += sample.value  # type: ignore[assignment]
            reading.pids[process.name], reading.values[process.name] = process.pid, counted

        await asyncio.gather(*(one(process) for process in asked))
    return reading


def _limits(processes: Iterable[ProcessState]) -> Mapping[str, int]:
    return {f"{p.service}-{p.role}-{p.slot}": POOL for p in processes if p.role in ("api", "standard", "express")}


async def leaks(connection: Any, snapshot: State) -> list[str]:
    """Connections that should not be there (I10): more than a process may have, of processes that do not run, or stuck in
    a transaction."""
    limits = _limits(snapshot.processes)
    found = []
    for row in await connection.fetch(_BACKENDS):
        process, _, purpose = row["name"].partition(" ")
        if process not in limits:
            if re.fullmatch(r"[a-z-]+-(api|standard|express)-\d+", process):
                found.append(f"{row['n']} connections of {row['name']}, which does not run")
            continue
        allowed = 1 if purpose else limits[process]
        if row["n"] > allowed:
            found.append(f"{row['n']} connections of {row['name']}, which needs {allowed}")
        if row["stuck"]:
            found.append(f"{row['stuck']} transactions of {row['name']} stand idle")
    return found
