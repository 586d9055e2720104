"""The one HTTP client of all API connectors: time-outs always set, failures classified once, secrets kept out of text.

What an answer means:

    2xx with JSON                       the value
    429, 503                            RequestNotProcessed (a TransientError): refused before processing
    no connection                       RequestNotProcessed
    time-out, broken answer, other 5xx  AnswerLost (a TransientError): it may have been processed all the same
    401, 403, 404, other 4xx, 3xx       PermanentError, which says what to do; `RequestRejected` for a refused write

Reads are idempotent and repeated here, a bounded number of times with growing, jittered pauses, at least as long as
`Retry-After` asks. Writes never are: whoever sends a document decides what a lost answer means.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests

from connectors.errors import PermanentError, TransientError
from connectors.extract import utc_now


class RequestNotProcessed(TransientError):
    """The other side certainly did nothing: repeating is safe."""


class AnswerLost(TransientError):
    """The other side may have processed the request: a write must be looked up before it is repeated."""


class RequestRejected(PermanentError):
    """A document was understood and refused (4xx on a write); repeating it as it is cannot succeed."""


class HttpClient:
    """Talks JSON to one system.

    `base_url` may carry a path. `token` is sent as `<scheme> <token>` in `header`, to this system only: redirects are
    not followed. `timeout` is (connect, read) in seconds. `longest_wait` caps what a read waits for `Retry-After`
    before it gives up and leaves that to the caller. `session`, `sleep`, `jitter` and `clock` are injectable.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        header: str = "Authorization",
        scheme: str = "Bearer",
        timeout: tuple[float, float] = (5.0, 60.0),
        attempts: int = 5,
        longest_wait: float = 60.0,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], dt.datetime] = utc_now,
    ):
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise PermanentError(
                "The base URL of a connector must look like https://host/path, without user name and password; "
                "correct it in the connector's settings."
            )
        self.base_url = base_url.rstrip("/")
        self.host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
        self._credentials = {header: f"{scheme} {token}".strip()} if token else {}
        self._timeout = timeout
        self._attempts = attempts
        self._longest_wait = longest_wait
        self._session = session or requests.Session()
        self._sleep = sleep
        self._jitter = jitter
        self._clock = clock

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON value at a path.

        Raises TransientError when it still fails after all attempts, PermanentError when a person must act.
        """
        for attempt in range(1, self._attempts + 1):
            try:
                return self._send("GET", path, params=params)
            except TransientError as error:
                pause = min(2.0 ** (attempt - 1), 30.0) * (0.5 + self._jitter() / 2)
                if error.retry_after is not None:
                    pause = max(pause, error.retry_after)
                if attempt == self._attempts or pause > self._longest_wait:
                    raise
                self._sleep(pause)
        raise AssertionError("attempts is at least 1")

    def post(self, path: str, document: Any, headers: Mapping[str, str] | None = None) -> Any:
        """Sends a document once and returns the answer's JSON value.

        Raises RequestNotProcessed, AnswerLost, RequestRejected, or another PermanentError.
        """
        return self._send("POST", path, body=orjson.dumps(document), headers=headers)

    def _send(self, method: str, path: str, *, params=None, body: bytes | None = None, headers=None) -> Any:
        where = f"{method} {path} at {self.host}"
        all_headers = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            all_headers["Content-Type"] = "application/json"
        try:
            answer = self._session.request(
                method, f"{self.base_url}/{path.lstrip('/')}", params=params, data=body, headers=all_headers,
                timeout=self._timeout, allow_redirects=False, auth=self._authorise,
            )  # fmt: skip
        # `from None`: the library's own text repeats the URL with its query.
        except requests.exceptions.SSLError:
            raise PermanentError(f"{where} failed: its certificate is not valid; check the base URL.") from None
        except (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError):
            raise RequestNotProcessed(f"{where} failed: no connection; check that the system is running.") from None
        except requests.exceptions.ConnectionError as error:
            if _never_connected(error):
                raise RequestNotProcessed(f"{where} failed: no connection; check that the system is running.") from None
            raise AnswerLost(f"{where} failed: the connection broke before the answer came.") from None
        except requests.exceptions.Timeout:
            raise AnswerLost(f"{where} failed: no answer within {self._timeout[1]:g} s.") from None
        except requests.exceptions.RequestException as error:
            raise AnswerLost(f"{where} failed: the answer broke off ({type(error).__name__}).") from None
        self._raise_for_status(answer, method, where)
        try:
            return orjson.loads(answer.content) if answer.content else None
        except orjson.JSONDecodeError:
            raise PermanentError(f"{where} answered with something that is not JSON; check the base URL.") from None

    def _authorise(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # As `auth`, not as plain headers: those would give way to whatever a .netrc says about the host.
        request.headers.update(self._credentials)
        return request

    def _raise_for_status(self, answer: requests.Response, method: str, where: str) -> None:
        status = answer.status_code
        if 200 <= status < 300:
            return
        said = f"{where} answered {status}"
        if status in (429, 503):
            raise RequestNotProcessed(f"{said}: it asks to wait.", _retry_after(answer, self._clock))
        if status >= 500 or status == 408:
            raise AnswerLost(f"{said}: its own failure.", _retry_after(answer, self._clock))
        if status == 401:
            raise PermanentError(f"{said}: the token is not accepted; renew it in the connector's settings.")
        if status == 403:
            raise PermanentError(f"{said}: the token may not do this; give it the right or use another token.")
        if status == 404:
            raise PermanentError(f"{said}: not found; check the base URL and the version of the system's API.")
        if 300 <= status < 400:
            raise PermanentError(f"{said}: it has moved; set the base URL to its new address.")
        if method == "POST":
            raise RequestRejected(f"{said}: {_detail(answer)}")
        raise PermanentError(f"{said}: the request is not accepted; the connector may need an update.")


def _never_connected(error: requests.exceptions.ConnectionError) -> bool:
    """Whether the failure came before anything was sent: refused, no route, no such name."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return type(reason).__name__ in {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"}


def _retry_after(answer: requests.Response, clock: Callable[[], dt.datetime]) -> float | None:
    """Seconds from a Retry-After header, which is a number or a date (RFC 9110, section 10.2.3)."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - clock()).total_seconds())


def _detail(answer: requests.Response) -> str:
    """What the other side says about a refused document, in one line."""
    try:
        value = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return "no reason given."
    detail = value.get("detail") if isinstance(value, dict) else None
    return " ".join(str(detail).split())[:300] if detail else "no reason given."
