"""The generated shop as three systems over HTTP, with a clock to move and faults to switch on.

    GET  /webshop/{products,orders,returns,payments}       ?cursor=&limit=
    GET  /tills/{articles,receipts,returns,payments}       ?cursor=&from_day=&limit=
    GET  /erp/{items,locations,suppliers,offers,promotions,declared-pairs}
    GET  /erp/{receipts,stock-movements,stock-levels,availability,weather,exchange-rates}   ?cursor=&limit=
    GET  /erp/{purchase-orders,supplier-payments}          ?cursor=&limit=   or ?reference=
    POST /erp/purchase-orders, /erp/transfers              Idempotency-Key, honoured when the faults say so
    GET  /erp/transfers                                    ?reference=
    GET, POST /_clock                                      {"as_of": "2026-11-02"}
    GET, POST /_faults                                     see `Faults`

All of it wants the bearer token. It is a stand-in for development, tests and the demonstration, not for the internet.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import orjson
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from connectors.sandbox import feeds
from connectors.sandbox.catalogue import ShopConfig
from connectors.sandbox.erp import TRANSFER, Erp, PurchaseOrder, Refused, Transfer, number_of

TOKEN = "sandbox-token"  # noqa: S105 - opens nothing but invented data on this machine
LARGEST_PAGE = 100_000


class Trouble(BaseModel):
    """What goes wrong with the next requests of one kind; counters count down as it happens."""

    model_config = ConfigDict(extra="forbid")

    throttle_times: int = Field(0, ge=0, description="answer 429 with Retry-After")
    retry_after: str = "1"
    unavailable_times: int = Field(0, ge=0, description="answer 503")
    fail_times: int = Field(0, ge=0, description="answer 500 before processing")
    delay_seconds: float = Field(0, ge=0, description="wait before processing; goes on when the client has left")
    lose_times: int = Field(0, ge=0, description="process, then break the connection instead of answering")


class Faults(BaseModel):
    """`idempotency_keys`: whether a repeated Idempotency-Key gives the first answer again; without, a repeated document
    is processed twice."""

    model_config = ConfigDict(extra="forbid")

    reads: Trouble = Trouble()
    writes: Trouble = Trouble()
    idempotency_keys: bool = True


class Clock(BaseModel):
    as_of: dt.date


class _Broken(Response):
    """Begins an answer and drops the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})


class Platform:
    """An ERP with its faults, as one ASGI application."""

    def __init__(self, erp: Erp, token: str = TOKEN):
        self.erp = erp
        self.faults = Faults()
        self._token = token
        self._lock = threading.Lock()
        self.app = FastAPI(title="Sandbox shop", dependencies=[Depends(self._authorised)])
        self.app.add_exception_handler(Refused, lambda _, error: _json({"detail": str(error)}, 422))
        self.app.add_exception_handler(feeds.BadCursor, lambda _, error: _json({"detail": str(error)}, 400))
        self._add_reads()
        self._add_writes()
        self._add_controls()

    def _authorised(self, request: Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            raise HTTPException(401, "A bearer token is needed.")

    def _before(self, trouble: Trouble) -> None:
        """What happens before a request is processed."""
        with self._lock:
            for counter, status in (("throttle_times", 429), ("unavailable_times", 503), ("fail_times", 500)):
                left = getattr(trouble, counter)
                if left:
                    setattr(trouble, counter, left - 1)
                    headers = {"Retry-After": trouble.retry_after} if status != 500 else None
                    raise HTTPException(status, "Out of order, on purpose.", headers)
        time.sleep(trouble.delay_seconds)

    def _loses(self, trouble: Trouble) -> bool:
        with self._lock:
            lost = trouble.lose_times > 0
            trouble.lose_times -= lost
        return lost

    def _read(self, page: feeds.Page) -> Response:
        if self._loses(self.faults.reads):
            return _Broken()
        return Response(page.json(), media_type="application/json")

    # -- Reads ---------------------------------------------------------------------------------------------------------

    def _add_reads(self) -> None:
        limit = Query(5000, ge=1, le=LARGEST_PAGE)
        systems = self.erp.systems

        def changes(feed: str):
            def read(cursor: str | None = None, limit: int = limit, reference: str | None = None) -> Response:
                self._before(self.faults.reads)
                if reference is not None and feed == "erp/purchase-orders":
                    return self._read(feeds.purchase_orders_by_reference(systems, reference))
                return self._read(feeds.changes(systems, feed, cursor, limit))

            return read

        def facts(feed: str):
            def read(cursor: str | None = None, limit: int = limit) -> Response:
                self._before(self.faults.reads)
                return self._read(feeds.facts(systems, feed, cursor, limit))

            return read

        def windows(feed: str):
            def read(cursor: str | None = None, from_day: dt.date | None = None, limit: int = limit) -> Response:
                self._before(self.faults.reads)
                return self._read(feeds.windows(systems, feed, cursor, from_day, limit))

            return read

        def master(feed: str):
            def read() -> Response:
                self._before(self.faults.reads)
                return self._read(feeds.master(systems, feed))

            return read

        for make, names in (
            (changes, feeds.CHANGES),
            (facts, feeds.FACT_FEEDS),
            (windows, feeds.WINDOW_FEEDS),
            (master, feeds.MASTER),
        ):
            for feed in names:
                self.app.get(f"/{feed}")(make(feed))

    # -- Writes --------------------------------------------------------------------------------------------------------

    def _add_writes(self) -> None:
        def write(document: PurchaseOrder | Transfer, key: str | None) -> Response:
            trouble = self.faults.writes
            self._before(trouble)
            number, is_new = self.erp.write(document, key if self.faults.idempotency_keys else None)
            if self._loses(trouble):
                return _Broken()
            answer = {"number": number, "reference": document.reference, "status": "open"}
            return _json(answer, 201 if is_new else 200)

        @self.app.post("/erp/purchase-orders", status_code=201)
        def write_purchase_order(
            document: PurchaseOrder, idempotency_key: Annotated[str | None, Header()] = None
        ) -> Response:
            return write(document, idempotency_key)

        @self.app.post("/erp/transfers", status_code=201)
        def write_transfer(document: Transfer, idempotency_key: Annotated[str | None, Header()] = None) -> Response:
            return write(document, idempotency_key)

        @self.app.get("/erp/transfers")
        def find_transfers(reference: str) -> Response:
            self._before(self.faults.reads)
            found = self.erp.documents.by_reference(TRANSFER, reference)
            return _json({"records": [{"number": number_of(d), "reference": d.reference} for d in found]})

    # -- Controls ------------------------------------------------------------------------------------------------------

    def _add_controls(self) -> None:
        @self.app.get("/_clock")
        def read_clock() -> Clock:
            return Clock(as_of=self.erp.as_of)

        @self.app.post("/_clock")
        def move_clock(clock: Clock) -> Clock:
            self.erp.advance(clock.as_of)
            return Clock(as_of=self.erp.as_of)

        @self.app.get("/_faults")
        def read_faults() -> Faults:
            return self.faults

        @self.app.post("/_faults")
        def set_faults(faults: Faults) -> Faults:
            self.faults = faults
            return faults


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


@contextlib.contextmanager
def serve(
    home: Path,
    as_of: dt.date,
    config: ShopConfig | None = None,
    *,
    port: int = 0,
    token: str = TOKEN,
) -> Iterator[str]:
    """Runs the platform in a thread on 127.0.0.1 and gives its base URL; stops it on leaving."""
    with contextlib.closing(listen(port)) as listening:
        erp = Erp(home, config or ShopConfig(), as_of)
        server = make_server(Platform(erp, token))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield base_url(listening)
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            erp.documents.close()


def listen(port: int) -> socket.socket:
    """A socket bound to a port of 127.0.0.1, 0 for a free one. Raises ValueError when the port is taken."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        reason = error.strerror
        raise ValueError(f"The sandbox cannot listen on port {port} ({reason}); choose another one.") from None
    return listening


def make_server(platform: Platform) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(platform.app, log_level="critical", access_log=False))


def base_url(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"
