"""The load, in a process of its own: prepared requests over a number of connections, as fast as they are answered.

    python -m expedite_bench.shots   reads {"url": URL, "file": PATH, "connections": N, "seconds": S or null} from standard
                                     input and prints what came back as JSON

The file holds requests as they go over the wire, each after its length (four bytes, big end first). Without `seconds` all
of them are sent; with it, sending ends after that time or with the last request.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import uvloop

from expedite_bench.measure import quantiles
from expedite_bench.wire import Connection


def write(path: Path, requests: Iterable[bytes]) -> int:
    """Prepare the file; how many requests it holds."""
    count = 0
    with path.open("wb") as stream:
        for sent in requests:
            stream.write(len(sent).to_bytes(4, "big") + sent)
            count += 1
    return count


def read(path: Path) -> list[bytes]:
    """The requests of a file."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


class Range:
    """Shooters that share the prepared requests."""

    def __init__(self, url: str, waiting: Iterator[bytes], seconds: float | None) -> None:
        self.url, self.waiting = url, waiting
        self.deadline = time.perf_counter() + seconds if seconds else float("inf")
        self.took: list[float] = []
        self.statuses: Counter[str] = Counter()

    async def shoot(self) -> None:
        connection = Connection()
        for sent in self.waiting:
            began = time.perf_counter()
            if began > self.deadline:
                break
            try:
                status = str((await connection.ask(self.url, sent)).status)
            except OSError:
                status = "no answer"
            self.took.append(time.perf_counter() - began)
            self.statuses[status] += 1
        connection.close()


async def main() -> None:
    told: dict[str, Any] = orjson.loads(sys.stdin.buffer.read())
    waiting = iter(read(Path(told["file"])))
    cpu, began = time.process_time(), time.perf_counter()
    shooting = Range(told["url"], waiting, told["seconds"])
    await asyncio.gather(*(shooting.shoot() for _ in range(told["connections"])))
    seconds = time.perf_counter() - began
    said = {
        "sent": len(shooting.took),
        "seconds": round(seconds, 2),
        "per_s": round(len(shooting.took) / seconds, 1),
        "ms": quantiles(shooting.took),
        "statuses": dict(shooting.statuses),
        "load_cpu_ms_each": round((time.process_time() - cpu) * 1000 / max(1, len(shooting.took)), 3),
    }
    sys.stdout.buffer.write(orjson.dumps(said))


if __name__ == "__main__":
    uvloop.run(main())
