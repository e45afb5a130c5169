"""The ceiling probe of the peers' folder, run on the same servers."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

STEPS = 5
TOPICS = ("l.received", "l.prioritised", "l.reserved", "l.packed", "l.shipped")


async def ceiling(folder: Path, bootstrap: str, postgres: str, orders: int) -> float:
    """Orders per second of `limit_batched.py` over its five steps. Raises RuntimeError with its output when it fails."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        known = set(await admin.list_topics())
        missing = [NewTopic(t, num_partitions=1, replication_factor=1) for t in TOPICS if t not in known]
        if missing:
            await admin.create_topics(missing)
    finally:
        await admin.close()
    script = str(folder / "limit_batched.py")
    environment = {**os.environ, "KAFKA_BOOTSTRAP": bootstrap}

    async def start(*arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, script, *arguments, postgres,
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    serving = [await start("serve", str(step)) for step in range(STEPS)]
    try:
        await asyncio.sleep(8.0)  # they import and join; what they consume they find from the beginning
        loading = await start("load", str(orders))
        said, _ = await loading.communicate()
    finally:
        for process in serving:
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(process.wait() for process in serving))
    found = re.search(r"batched orders/s ([\d.]+)", said.decode())
    if found is None:
        raise RuntimeError(f"the ceiling probe said: {said.decode()[-500:]}")
    return float(found[1])
