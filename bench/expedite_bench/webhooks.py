"""Carriers tell where parcels are: signed webhooks, shuffled, every fifth one a repetition."""

from __future__ import annotations

import random

from expedite_bench import shots
from expedite_bench.bench import Bench, Figures, Goal, Size
from expedite_bench.flow import through, warm_up
from expedite_bench.ground import Ground, Invalid, told
from expedite_bench.orders import order
from expedite_bench.tracking import webhooks

CONNECTIONS = 32
DUPLICATES = 0.2
"""Share of all requests that repeat an earlier one byte by byte."""

_PARCELS = """
SELECT carrier_id, tracking_number FROM parcel WHERE split_part(parcel_id, '-P', 1) = ANY($1::text[]) AND tracking_number IS NOT NULL
ORDER BY parcel_id
"""
_KEPT = "SELECT state, count(*) AS n FROM tracking_delivery GROUP BY 1"
_DELIVERED = "SELECT count(*) FROM parcel WHERE status = 'delivered'"


async def run(ground: Ground, size: Size) -> Figures:
    await warm_up(ground)
    name = ground.name("p")
    told(f"{size['parcels']:,} parcels are shipped first")
    _, ids = await through(ground, [order(f"{name}-{n}", ground.goods.skus) for n in range(size["parcels"])])
    parcels = await ground.books.rows("shipping", _PARCELS, ids)
    sent = [one for way in webhooks(ground, parcels) for one in way]
    drawn = random.Random("webhooks")
    again = drawn.sample(sent, round(len(sent) * DUPLICATES / (1 - DUPLICATES)))
    shuffled = [*sent, *again]
    drawn.shuffle(shuffled)
    file = ground.folder / "webhooks.bin"
    shots.write(file, shuffled)
    told(f"{len(shuffled):,} webhooks over {CONNECTIONS} connections, {len(again):,} of them repeated")
    before = await ground.books.value("shipping", _DELIVERED)
    watch = ground.cpu()
    found = await ground.shoot(ground.snapshot.urls["shipping"], file, CONNECTIONS)
    found["cpu"] = watch.stop(found["sent"])
    file.unlink()
    if any(status not in ("200", "202") for status in found["statuses"]):
        raise Invalid(f"not every webhook was kept: {found['statuses']}")
    kept = {row["state"]: row["n"] for row in await ground.books.rows("shipping", _KEPT)}
    if kept != {"applied": len(sent)}:
        raise Invalid(f"{len(sent)} different webhooks were sent, but these are kept: {kept}")
    delivered = await ground.books.value("shipping", _DELIVERED) - before
    if delivered != len(parcels):
        raise Invalid(f"{len(parcels)} parcels arrived, but shipping knows of {delivered}")
    return {**found, "different": len(sent), "repeated": len(again), "parcels_delivered": delivered}


BENCH = Bench(
    name="webhooks",
    measures="signed tracking webhooks, 20 % of them repetitions, shuffled: answered means durable and applied",
    goals=(Goal("per_s", ">=", 800, "webhooks/s"),),
    run=run,
    full={"parcels": 4_000},
    quick={"parcels": 60},
    runs=3,
)
