"""Rows 16 to 21: the network between services and their servers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psutil

from expedite_chaos import packets
from expedite_chaos.field import Field
from expedite_chaos.linked import RemoteLink
from expedite_chaos.packets import Packets
from expedite_chaos.proxy import Direction, Weather, partition
from expedite_chaos.routes import routes_of
from expedite_chaos.table import Impossible
from expedite_chaos.trial import Bite, Trial
from expedite_chaos.trials.grounds import DOUBLED, ENTRANCE, INTAKE, LINKED, STOCK
from expedite_chaos.wires import Moment

CUT_S, SHORT_CUT_S = 15.0, 7.0
ROUGH_S, SHORT_ROUGH_S = 20.0, 6.0
HALF_OPEN_S = 6.0
"""What a dead link may cost: five seconds without acknowledgement, and one to begin anew."""
SLOW_BYTES_PER_S = 60_000
GROWTH_MB = 120.0
"""More than a process may grow while its links are slow: a poll's worth of records and a batch, several times over."""

Run = Callable[[Field], Awaitable[Bite]]


@asynccontextmanager
async def _counting(*links: RemoteLink) -> AsyncIterator[Counter[str]]:
    """What the links do within the block."""
    before = [await link.did() for link in links]
    found: Counter[str] = Counter()
    yield found
    for link, known in zip(links, before, strict=True):
        found.update(await link.did() - known)


def _cut_off(pattern: str, *directions: Direction) -> Run:
    """Nothing passes between some processes and the broker. Orders are taken in all the same; the outbox keeps what it has to
    say, the topics keep what it has not heard."""

    async def run(on: Field) -> Bite:
        link, taken = routes_of(on.system)["kafka", pattern], len(on.driver.book.ok)
        async with _counting(link) as did:
            await link.turn(partition(*directions))
            try:
                await asyncio.sleep(SHORT_CUT_S if on.short else CUT_S)
            finally:
                await link.turn()
        bit = {"chunks held": did["held"], "orders taken in meanwhile": len(on.driver.book.ok) - taken}
        return Bite(bit=bit, over_at=time.monotonic())

    return run


def _half_open(pattern: str, *directions: Direction) -> Run:
    """Every connection to PostgreSQL swallows what is sent, and acknowledges it; new connections are well."""

    async def run(on: Field) -> Bite:
        link = routes_of(on.system)["postgres", pattern]
        async with _counting(link) as did:
            began = time.monotonic()
            await link.half_open(directions or ("up", "down"))
            recovery_s = await on.serves() - began
        bit = {"connections half-open": did["half open"], "chunks swallowed": did["swallowed"]}
        return Bite(bit=bit, recovery_s=recovery_s)

    return run


async def lost_by_the_kernel(on: Field) -> Bite:
    """As half-open, but nobody acknowledges: every packet of the connections of now vanishes, both ways."""
    link = routes_of(on.system)["postgres", STOCK]
    with Packets() as lost:
        began = time.monotonic()
        connections = lost.drop_now(link.port)
        recovery_s = await on.serves() - began
        bit = {"connections half-open": connections, "packets lost": lost.lost}
    await link.cut()
    return Bite(bit=bit, recovery_s=recovery_s)


def _commits_cut(pattern: str) -> Run:
    """Every third commit breaks its connection: before the server sees it, while it may, after it was done and before
    anybody is told. Who asked finds out which it was, or says so, and the same key tells."""

    async def run(on: Field) -> Bite:
        link = routes_of(on.system)["postgres", pattern]
        moments: tuple[Moment, ...] = ("after", "during", "before")
        async with _counting(link) as did:
            try:
                for moment in moments:
                    await link.commits(moment, every=3)
                    await asyncio.sleep(3.0 if on.short else 6.0)
            finally:
                await link.commits(None)
        return Bite(times=did["cut"], bit={f"commits cut {m}": did[f"commit cut {m}"] for m in moments})

    return run


def _rough(weather: Weather, counted: str) -> Run:
    """All links of two services are bad for a while. Nothing may fail by it, and no memory may fill."""

    async def run(on: Field) -> Bite:
        routes = routes_of(on.system)
        links = list(routes.links.values())
        before, grown, taken = _memory(on), Counter[str](), len(on.driver.book.ok)
        async with _counting(*links) as did:
            for link in links:
                await link.turn(weather)
            try:
                until = time.monotonic() + (SHORT_ROUGH_S if on.short else ROUGH_S)
                while time.monotonic() < until:
                    await asyncio.sleep(1.0)
                    for name, megabytes in _memory(on).items():
                        grown[name] = max(grown[name], int(megabytes - before.get(name, megabytes)))
            finally:
                for link in links:
                    await link.turn()
        problems = [f"{name} grew by {n} MB" for name, n in grown.items() if n > GROWTH_MB]
        bit = {counted: did[counted], "orders taken in meanwhile": len(on.driver.book.ok) - taken}
        return Bite(bit=bit, problems=problems)

    return run


def _memory(on: Field) -> dict[str, float]:
    """Resident megabytes of the processes behind links."""
    found = {}
    for process in on.snapshot.processes:
        if process.pid and process.service in ("inventory", "order-intake"):
            found[process.name] = psutil.Process(process.pid).memory_info().rss / 2**20
    return found


async def packets_lost(on: Field) -> Bite:
    """One packet of twenty to and from both servers vanishes; the kernels send it again."""
    substrate, taken = on.system.substrate, len(on.driver.book.ok)
    assert substrate.postgres is not None
    assert substrate.kafka is not None
    with Packets() as lossy:
        for port in (substrate.postgres.port, substrate.kafka.port):
            lossy.lose(port, 5)
        await asyncio.sleep(SHORT_ROUGH_S if on.short else ROUGH_S)
        lost = lossy.lost
    return Bite(bit={"packets lost": lost, "orders taken in meanwhile": len(on.driver.book.ok) - taken})


_ROUGH = Weather(latency_s=0.125, jitter_s=0.075)
_SLOW = Weather(bytes_per_s=SLOW_BYTES_PER_S)
_LINKS = (
    Trial("16a", "inventory and Kafka parted, both ways", "I4, I5", _cut_off(STOCK), 8.0, ground=LINKED),
    Trial("16b", "what intake says to Kafka is held up", "I4, I5", _cut_off(INTAKE, "up"), 8.0, ground=LINKED),
    Trial("16c", "what Kafka says to inventory is held up", "I3, I5", _cut_off(STOCK, "down"), 8.0, ground=LINKED),
    Trial("17a", "links of inventory to PostgreSQL half-open", "I3, I4", _half_open(STOCK), HALF_OPEN_S, ground=LINKED),
    Trial("17b", "answers of PostgreSQL to inventory lost", "I3, I4", _half_open(STOCK, "down"), HALF_OPEN_S,
          ground=LINKED),
    Trial("17c", "links of the intake API to PostgreSQL half-open", "I6", _half_open(ENTRANCE), HALF_OPEN_S,
          ground=LINKED),
    Trial("18a", "intake API cut off around its COMMIT", "I6", _commits_cut(ENTRANCE), short=True, ground=DOUBLED),
    Trial("18b", "inventory cut off around its COMMIT", "I1, I3, I4", _commits_cut(STOCK), ground=LINKED),
    Trial("19", "50 to 200 ms more on every link", "I5, I7", _rough(_ROUGH, "delayed"), ground=LINKED),
    Trial("20", f"{SLOW_BYTES_PER_S // 1000} KB/s on every link", "I5, I10", _rough(_SLOW, "throttled"), ground=LINKED),
)  # fmt: skip
_PACKETS = (
    Trial("17d", "packets of inventory's links to PostgreSQL vanish", "I3, I4", lost_by_the_kernel, HALF_OPEN_S,
          ground=LINKED),
    Trial("21", "one packet of twenty lost, both servers", "I5, I7", packets_lost, ground=LINKED),
)  # fmt: skip
_WHY = packets.unavailable()
TRIALS = (*_LINKS, *(() if _WHY else _PACKETS))
IMPOSSIBLE = (Impossible("17d, 21", "packets lost by the kernel", _WHY),) if _WHY else ()
