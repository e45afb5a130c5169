"""Metrics of one process in a registry of its own, so that two apps in one test never collide."""

from __future__ import annotations

import shutil
import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


class Metric(StrEnum):
    """The names of the chassis' metrics: dashboards and alerts refer to them."""

    HTTP_REQUESTS = "expedite_http_requests"
    HTTP_SECONDS = "expedite_http_request_seconds"
    HTTP_IN_FLIGHT = "expedite_http_requests_in_flight"
    HTTP_PROBLEMS = "expedite_http_problems"
    READY = "expedite_ready"
    INFO = "expedite_process_info"
    DISK_FREE = "expedite_disk_free_bytes"
    DISK = "expedite_disk_bytes"
    CLOCK = "expedite_clock_seconds"


_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """The metrics of one process. Labels are method, route template, status and problem code: never a value that came
    from a client, so their number is bounded and they hold no personal data."""

    def __init__(self, service: str, registry: CollectorRegistry | None = None, home: Path = Path()) -> None:
        self.service = service
        self.registry = registry or CollectorRegistry()
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        r = self.registry
        self.requests = Counter(
            Metric.HTTP_REQUESTS, "HTTP requests answered", ["service", "method", "route", "status"], registry=r
        )
        self.seconds = Histogram(
            Metric.HTTP_SECONDS, "Time to answer", ["service", "method", "route"], buckets=_BUCKETS, registry=r
        )
        self.in_flight = Gauge(Metric.HTTP_IN_FLIGHT, "HTTP requests being answered", ["service"], registry=r)
        self.problems = Counter(Metric.HTTP_PROBLEMS, "Problems answered, by code", ["service", "code"], registry=r)
        self.ready = Gauge(Metric.READY, "1 when the readiness checks passed at this scrape", ["service"], registry=r)
        self.info = Gauge(Metric.INFO, "1; labels say what this process is", ["service", "role", "slot"], registry=r)
        where = "of the file system of EXPEDITE_HOME (locally that of the servers' data too)"
        Gauge(Metric.DISK_FREE, f"Free bytes {where}", registry=r).set_function(lambda: _disk(home).free)
        Gauge(Metric.DISK, f"All bytes {where}", registry=r).set_function(lambda: _disk(home).total)
        Gauge(Metric.CLOCK, "Unix time by the clock of this machine", registry=r).set_function(time.time)

    def answered(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """Counter and histogram of an answer; kept, because finding them by their labels costs more than counting."""
        found = self._answered.get((method, route, status))
        if found is None:
            labels = (self.service, method, route)
            found = (self.requests.labels(*labels, str(status)), self.seconds.labels(*labels))
            self._answered[method, route, status] = found
        return found

    def render(self) -> bytes:
        """The text format: this registry, then what libraries count for the whole process."""
        return generate_latest(self.registry) + generate_latest(REGISTRY)


def _disk(home: Path) -> Any:
    """The file system a home is on, or would be on."""
    return shutil.disk_usage(next(folder for folder in (home, *home.absolute().parents) if folder.exists()))


__all__ = ["CONTENT_TYPE_LATEST", "Metric", "Metrics"]
