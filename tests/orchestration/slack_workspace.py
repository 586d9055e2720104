"""A Slack workspace of one channel, over HTTP: it keeps what is posted, and can be slow, full or lose its answers."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

TOKEN = "xoxb-of-the-test"
CHANNEL = "C1"


class Workspace:
    """`messages` by ts, `whispers` as (user, text), `calls` the methods in order. `trouble` holds what the next calls
    meet, one each: "limit" (429), "down" (500), "lost" (done, but the answer never comes), an error code, or None."""

    def __init__(self) -> None:
        self.messages: dict[str, dict] = {}
        self.whispers: list[tuple[str, str]] = []
        self.calls: list[str] = []
        self.trouble: deque[str | None] = deque()
        self.delay = 0.0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/api/"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def buttons(self, ts: str) -> list[dict]:
        return [e for block in self.messages[ts]["blocks"] if block["type"] == "actions" for e in block["elements"]]

    def text(self, ts: str) -> str:
        return "\n".join(b["text"]["text"] for b in self.messages[ts]["blocks"] if "text" in b)

    # -- What Slack does -----------------------------------------------------------------------------------------------

    def _answer(self, method: str, given: dict) -> dict:
        if method in ("chat.postMessage", "chat.update"):
            problem = blocks_problem(given["blocks"])
            if problem:
                return {"ok": False, "error": "invalid_blocks", "detail": problem}
        if given["channel"] != CHANNEL:
            return {"ok": False, "error": "channel_not_found"}
        with self._lock:
            if method == "chat.postMessage":
                ts = f"{time.time() + len(self.messages):.6f}"
                self.messages[ts] = given
                return {"ok": True, "channel": CHANNEL, "ts": ts}
            if method == "chat.update":
                if given["ts"] not in self.messages:
                    return {"ok": False, "error": "message_not_found"}
                self.messages[given["ts"]].update(blocks=given["blocks"], text=given["text"])
                return {"ok": True, "channel": CHANNEL, "ts": given["ts"]}
            if method == "chat.postEphemeral":
                self.whispers.append((given["user"], given["text"]))
                return {"ok": True, "message_ts": "1.1"}
            if method in ("conversations.history", "conversations.replies"):
                thread = given.get("ts")
                found = [
                    {"ts": ts, "metadata": m.get("metadata")} for ts, m in self.messages.items()
                    if float(ts) >= float(given["oldest"]) and m.get("thread_ts") == thread
                ]  # fmt: skip
                return {"ok": True, "messages": found, "response_metadata": {"next_cursor": ""}}
        return {"ok": False, "error": "unknown_method"}

    def _handler(workspace):  # `self` is the request's
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                is_json = self.headers["Content-Type"].startswith("application/json")
                if is_json and urlsplit(self.path).path.startswith("/api/conversations"):
                    self._send(200, {"ok": False, "error": "invalid_arguments"})
                else:
                    self._serve(json.loads(body) if is_json else dict(parse_qsl(body)))

            def _serve(self, given: dict) -> None:
                method = urlsplit(self.path).path.removeprefix("/api/")
                workspace.calls.append(method)
                time.sleep(workspace.delay)
                trouble = workspace.trouble.popleft() if workspace.trouble else None
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    self._send(200, {"ok": False, "error": "invalid_auth"})
                elif trouble == "limit":
                    self._send(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "1"})
                elif trouble == "down":
                    self._send(500, {"ok": False, "error": "internal_error"})
                elif trouble == "lost":
                    workspace._answer(method, given)
                    self.close_connection = True
                elif trouble is not None:
                    self._send(200, {"ok": False, "error": trouble})
                else:
                    self._send(200, workspace._answer(method, given))

            def _send(self, status: int, body: dict, headers: dict | None = None) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        return Handler


def blocks_problem(blocks: list[dict]) -> str | None:
    """What Slack would refuse: too many blocks, texts too long or empty, values too long, ids doubled in a block."""
    if len(blocks) > 50:
        return f"{len(blocks)} blocks"
    for block in blocks:
        limit = {"header": 150, "section": 3000}.get(block["type"])
        if limit is not None and not 0 < len(block["text"]["text"]) <= limit:
            return f"{block['type']} of {len(block['text']['text'])} characters"
        elements = block.get("elements", [])
        if len({e["action_id"] for e in elements}) != len(elements):
            return "action_id twice"
        for element in elements:
            confirm = element["confirm"]
            texts = [(element["text"], 75), (confirm["title"], 100), (confirm["text"], 300), (confirm["confirm"], 30)]
            if len(element["value"]) > 2000 or any(len(t["text"]) > most for t, most in texts):
                return "button too long"
    return None
