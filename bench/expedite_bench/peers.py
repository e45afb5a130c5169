"""Others doing the same work on the servers of this run. Each is a script of bench/peers, started as anybody would."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from itertools import chain

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from expedite_bench.ground import BENCH, Ground, Invalid, told
from expedite_local.databases import plain_url

STEPS = 5
JOINED_S = 14.0
"""For consumers to import and join, and for those of the run before to be missed by the broker (10 s); what was produced
before they joined is found from the beginning."""


async def alone(ground: Ground) -> None:
    """Stop our own services: what is measured next has the servers for itself."""
    told("stopping our services: the peers have the same servers for themselves")
    if ground.system.supervisor is not None:
        await ground.system.supervisor.stop()


def faststream_installed() -> bool:
    return find_spec("faststream") is not None


async def ceiling(ground: Ground, orders: int) -> float:
    """Orders per second of the bare five-step batch pipeline."""
    return await _pipeline(ground, "limit_batched.py", "l", orders)


async def faststream(ground: Ground, orders: int) -> float:
    """Orders per second of the five steps in FastStream, as its tutorial shows it."""
    return await _pipeline(ground, "peer_faststream.py", "f", orders)


async def lane_probe(ground: Ground, backlog: int, urgent: int) -> dict[str, float]:
    """Urgent orders over three bare hops with express twins in processes of their own: p99, idle and with a backlog."""
    topics = [f"x{hop}{lane}" for hop in range(3) for lane in ("", ".express")]
    found = {}
    for name, queued in (("idle", 0), ("backlog", backlog)):
        await _create(ground, topics)
        hops = [("serve", str(hop), lane, "500") for hop in range(3) for lane in ("s", "x")]
        async with _serving(ground, "lane_probe.py", hops):
            said = await _said(ground, "lane_probe.py", "load", str(queued), str(urgent))
        found[f"{name}_p99_ms"] = _number(r"p99 ([\d.]+)", said)
    return found


async def _pipeline(ground: Ground, script: str, prefix: str, orders: int) -> float:
    told(f"{script}: {orders:,} orders")
    names = ("received", "prioritised", "reserved", "packed", "shipped")
    await _create(ground, [f"{prefix}.{name}" for name in names])
    async with _serving(ground, script, [("serve", str(step)) for step in range(STEPS)]):
        said = await _said(ground, script, "load", str(orders))
    return _number(r"orders/s ([\d.]+)", said)


async def _create(ground: Ground, topics: Sequence[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=ground.snapshot.kafka_bootstrap)
    await admin.start()
    try:
        known = set(await admin.list_topics())
        missing = [NewTopic(name, num_partitions=1, replication_factor=1) for name in topics if name not in known]
        if missing:
            await admin.create_topics(missing)
    finally:
        await admin.close()


async def _start(ground: Ground, script: str, *arguments: str) -> asyncio.subprocess.Process:
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP": ground.snapshot.kafka_bootstrap,
        "POSTGRES_URL": plain_url(ground.snapshot.postgres_url),
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, str(BENCH / "peers" / script), *arguments,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


@asynccontextmanager
async def _serving(ground: Ground, script: str, wanted: Sequence[Sequence[str]]) -> AsyncIterator[None]:
    # Tables first: a consumer that finds records of an earlier run must find its tables too.
    await _said(ground, script, "tables")
    serving = [await _start(ground, script, *arguments) for arguments in wanted]
    try:
        await asyncio.sleep(JOINED_S)
        ended = [p for p in serving if p.returncode is not None]
        if ended:
            said = b"".join(chain([(await p.communicate())[0] for p in ended])).decode(errors="replace")
            raise Invalid(f"{script} does not serve: {said[-500:]}")
        yield
    finally:
        for process in serving:
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(process.communicate() for process in serving))


async def _said(ground: Ground, script: str, *arguments: str) -> str:
    process = await _start(ground, script, *arguments)
    output, _ = await process.communicate()
    text = output.decode(errors="replace")
    if process.returncode:
        raise Invalid(f"{script} {' '.join(arguments)} ended with status {process.returncode}: {text[-500:]}")
    return text


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise Invalid(f"a peer said no figure: {text[-500:]}")
    return float(found[1])
