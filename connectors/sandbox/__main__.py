"""python -m connectors.sandbox --home DIR --port 0 --as-of 2026-11-01

Runs the generated shop's systems until interrupted. When they answer it prints one line to standard output:
    Sandbox ready on http://127.0.0.1:40123 as of 2026-11-01
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import sys
from pathlib import Path

from connectors.sandbox.catalogue import ShopConfig
from connectors.sandbox.erp import Erp
from connectors.sandbox.platform import TOKEN, Platform, base_url, listen, make_server


def main() -> int:
    defaults = ShopConfig()
    parser = argparse.ArgumentParser(prog="python -m connectors.sandbox", description="The generated shop over HTTP.")
    parser.add_argument("--home", type=Path, required=True, help="where its state and cache live")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--as-of", type=dt.date.fromisoformat, default=dt.date(2026, 11, 1), help="the virtual date")
    parser.add_argument("--token", default=TOKEN, help="the bearer token it asks for")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--items", type=int, default=defaults.items)
    parser.add_argument("--start", type=dt.date.fromisoformat, default=defaults.start, help="first day of its history")
    parser.add_argument(
        "--own-buying-until", type=dt.date.fromisoformat, help="from then on only written orders are delivered"
    )
    given = parser.parse_args()
    config = ShopConfig(seed=given.seed, items=given.items, start=given.start, own_buying_until=given.own_buying_until)
    try:
        listening = listen(given.port)
        erp = Erp(given.home, config, given.as_of)
    except ValueError as error:
        parser.error(str(error))
    server = make_server(Platform(erp, given.token))

    async def run() -> None:
        serving = asyncio.create_task(server.serve([listening]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.02)
        sys.stdout.write(f"Sandbox ready on {base_url(listening)} as of {erp.as_of}\n")
        sys.stdout.flush()
        await serving

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
