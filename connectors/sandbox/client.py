"""Pages of the sandbox's three systems. Nothing here knows what a record means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import requests

from connectors.http import HttpClient


class Page(NamedTuple):
    records: list[dict[str, Any]]
    next: str | None


class SandboxClient:
    """Reads the sandbox platform at a base URL with its bearer token."""

    def __init__(self, base_url: str, token: str, http: HttpClient | None = None):
        self.http = http or HttpClient(base_url, token=token, session=_direct_session())

    def pages(self, feed: str, *, cursor: str | None = None, limit: int, **parameters: Any) -> Iterator[Page]:
        """Pages of a feed after a cursor, until it has no more for now; never an empty one."""
        while True:
            answer = self.http.get(feed, {"cursor": cursor, "limit": limit, **parameters})
            if answer["records"]:
                yield Page(answer["records"], answer["next"])
            cursor = answer["next"]
            if not answer["more"]:
                return

    def all(self, feed: str) -> list[dict[str, Any]]:
        """A feed that comes whole."""
        return self.http.get(feed)["records"]


def _direct_session() -> requests.Session:
    session = requests.Session()
    # The sandbox is on this machine: a proxy from the environment must not come between.
    session.trust_env = False
    return session
