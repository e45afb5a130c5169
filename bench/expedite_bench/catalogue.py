"""All benches."""

from __future__ import annotations

from expedite_bench import express, footprint, growth, hot_sku, intake, overtake, saga, scale, timers, webhooks
from expedite_bench.bench import Bench

BENCHES: dict[str, Bench] = {
    module.BENCH.name: module.BENCH
    for module in (saga, express, overtake, intake, hot_sku, growth, timers, webhooks, footprint, scale)
}
