"""CPU time, memory and quantiles of what runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from expedite_local.state import State


@dataclass
class Cpu:
    """CPU seconds by process between `start` and `stop`. `beside`: processes that are not the system's, by name."""

    state: State
    beside: Mapping[str, int] = field(default_factory=dict)
    _before: dict[str, float] = field(default_factory=dict)
    _busy: float = 0.0
    _began: float = 0.0

    def start(self) -> None:
        self._before, self._busy, self._began = self._times(), _busy(), time.perf_counter()

    def stop(self, orders: int = 0) -> dict[str, Any]:
        """What was spent: per order (milliseconds, by process), else in seconds; and cores used by us and by others."""
        took = time.perf_counter() - self._began
        after = self._times()
        spent = {name: at - self._before.get(name, 0.0) for name, at in after.items()}
        ours = sum(spent.values())
        found: dict[str, Any] = {
            "cores_used": round(ours / took, 2),
            "cores_used_by_others": round(max(0.0, _busy() - self._busy - ours) / took, 2),
        }
        ranked = sorted(spent.items(), key=lambda item: -item[1])
        if orders:
            found["ms_per_order"] = round(ours * 1000 / orders, 2)
            found["ms_per_order_by_process"] = {name: round(s * 1000 / orders, 3) for name, s in ranked}
        else:
            found["seconds_by_process"] = {name: round(s, 2) for name, s in ranked}
        return found

    def _times(self) -> dict[str, float]:
        found = {"bench": _cpu(psutil.Process())}
        for name, pid in self.beside.items():
            found[name] = _cpu(psutil.Process(pid))
        for process in self.state.processes:
            if process.pid:
                found[process.name] = _family_cpu(process.name, process.pid)
        return found


def _family_cpu(name: str, pid: int) -> float:
    try:
        main = psutil.Process(pid)
        ended = main.cpu_times()
        family = [main, *main.children(recursive=True)] if name == "postgres" else [main]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(map(_cpu, family)) + float(ended.children_user + ended.children_system)


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice)


def proportional_mb(pid: int, *, family: bool = False) -> float:
    """Proportional set size of a process (with its children): memory shared by n processes counts 1/n in each."""
    found = _pss(pid)
    if family:
        found += sum(_pss(child.pid) for child in psutil.Process(pid).children(recursive=True))
    return round(found / 1024, 1)


def _pss(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1])
    except OSError:  # it has just ended
        pass
    return 0.0


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: p50, p90, p99, max, and of how many."""
    if not seconds:
        return {"n": 0}
    ordered = sorted(s * 1000 for s in seconds)

    def at(q: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * q))], 1)

    middle = round(statistics.median(ordered), 1)
    return {"n": len(ordered), "p50": middle, "p90": at(0.9), "p99": at(0.99), "max": at(1)}
