"""``python -m expedite_local.carriers --port 8010 --shipping-url URL --secrets FILE --speed S --seed N``"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import uvloop

from expedite_local.carriers.app import create_app
from expedite_local.carriers.rates import profiles
from expedite_local.carriers.world import Clock, World


async def serve(port: int, host: str, shipping_url: str, secrets: dict[str, Any], speed: float, seed: int) -> None:
    """Run the carriers until they are told to stop."""
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
    async with httpx.AsyncClient(limits=limits) as http:
        world = World(profiles(), http, shipping_url, secrets, Clock(speed), seed)
        config = uvicorn.Config(
            create_app(world), host=host, port=port, log_level="warning", access_log=False, server_header=False
        )
        await uvicorn.Server(config).serve()


def main() -> None:
    """Command line. Exits 78 when the secrets file cannot be used."""
    parser = argparse.ArgumentParser(prog="expedite-carriers", description="The demo's carriers.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--shipping-url", required=True, help="base URL of the shipping service")
    parser.add_argument("--secrets", type=Path, required=True, help="the home's secrets file")
    parser.add_argument("--speed", type=float, default=1.0, help="business seconds per real second")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same exceptions; 0: no label is refused")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        secrets = json.loads(args.secrets.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"carriers: the secrets file {args.secrets} cannot be used: {type(error).__name__}\n")
        raise SystemExit(78) from None
    uvloop.run(serve(args.port, args.host, args.shipping_url, secrets, args.speed, args.seed))


if __name__ == "__main__":
    main()
