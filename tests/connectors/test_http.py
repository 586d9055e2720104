"""The HTTP client against a real server that misbehaves in every way an API does."""

from __future__ import annotations

import datetime as dt
import http.server
import socket
import threading
from email.utils import format_datetime

import pytest
import requests

from connectors.errors import PermanentError, TransientError
from connectors.http import AnswerLost, HttpClient, RequestNotProcessed, RequestRejected

SECRET = "s3cret-t0ken"
NOW = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)


class Script:
    """What the server answers next: (status, headers, body) or the name of a way to fail."""

    def __init__(self):
        self.answers, self.seen = [], []


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def url(script):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.seen.append((self.command, self.path, dict(self.headers), body))
            answer = script.answers.pop(0) if script.answers else (200, {}, b"{}")
            if answer == "silence":
                script.released.wait(5)
                self.close_connection = True
                return
            if answer == "drop":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if answer == "half":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"a":')
                self.close_connection = True
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = handle_any

        def log_message(self, *args):
            pass

    script.released = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    script.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def slept():
    return []


@pytest.fixture
def client(url, slept):
    session = requests.Session()
    session.trust_env = False
    return HttpClient(
        url, token=SECRET, timeout=(2, 0.3), attempts=3, session=session, sleep=slept.append, jitter=lambda: 1.0,
        clock=lambda: NOW,
    )  # fmt: skip


def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def test_a_read_carries_the_token_and_gives_the_value(client, script):
    script.answers = [(200, {}, b'{"a": [1, 2]}')]
    assert client.get("items", {"limit": 5, "cursor": None}) == {"a": [1, 2]}
    [(method, path, headers, _)] = script.seen
    assert (method, path) == ("GET", "/api/items?limit=5")
    assert headers["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("failure", [(500, {}, b""), (502, {}, b""), (503, {}, b""), (429, {}, b""), "drop", "half"])
def test_a_read_is_repeated_with_growing_pauses(client, script, slept, failure):
    script.answers = [failure, failure, (200, {}, b'"at last"')]
    assert client.get("items") == "at last"
    assert slept == [1.0, 2.0]


def test_a_read_that_gets_no_answer_in_time_is_repeated(client, script):
    script.answers = ["silence", (200, {}, b"1")]
    assert client.get("items") == 1


def test_a_read_gives_up_after_its_attempts(client, script, slept):
    script.answers = [(500, {}, b"")] * 9
    with pytest.raises(TransientError, match=r"GET items at .* answered 500"):
        client.get("items")
    assert len(script.seen) == 3
    assert len(slept) == 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), (format_datetime(NOW + dt.timedelta(seconds=42), usegmt=True), 42.0), ("soon", 1.0), ("", 1.0)],
)
def test_retry_after_is_obeyed_as_seconds_or_date(client, script, slept, header, seconds):
    script.answers = [(429, {"Retry-After": header}, b""), (200, {}, b"1")]
    assert client.get("items") == 1
    assert slept == [seconds]


def test_a_long_retry_after_is_left_to_the_caller(client, script, slept):
    script.answers = [(429, {"Retry-After": "3600"}, b"")]
    with pytest.raises(TransientError) as caught:
        client.get("items")
    assert caught.value.retry_after == 3600
    assert not slept


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "renew it"), (403, "give it the right"), (404, "check the base URL"), (301, "new address"), (418, "update")],
)
def test_what_a_person_must_mend_is_permanent_and_says_what_to_do(client, script, status, advice):
    script.answers = [(status, {"Location": "http://127.0.0.1:1/elsewhere"}, b"")]
    with pytest.raises(PermanentError, match=advice) as caught:
        client.get("items", {"customer": "Ada Brandt"})
    assert len(script.seen) == 1
    assert SECRET not in str(caught.value)
    assert "Ada" not in str(caught.value)


def test_an_answer_that_is_not_json_is_permanent(client, script):
    script.answers = [(200, {}, b"<html>Sign in</html>")]
    with pytest.raises(PermanentError, match="not JSON"):
        client.get("items")


@pytest.mark.parametrize("failure", [(500, {}, b""), (504, {}, b""), (408, {}, b""), "drop", "half", "silence"])
def test_a_write_with_a_lost_answer_is_not_repeated(client, script, failure):
    script.answers = [failure]
    with pytest.raises(AnswerLost):
        client.post("orders", {"n": 1})
    assert [(method, body) for method, _, _, body in script.seen] == [("POST", b'{"n":1}')]


@pytest.mark.parametrize("status", [429, 503])
def test_a_write_that_was_refused_unprocessed_says_so(client, script, status):
    script.answers = [(status, {"Retry-After": "9"}, b"")]
    with pytest.raises(RequestNotProcessed) as caught:
        client.post("orders", {})
    assert caught.value.retry_after == 9
    assert len(script.seen) == 1


def test_a_write_that_was_refused_for_good_gives_the_reason(client, script):
    script.answers = [(422, {}, b'{"detail": "There is no\\n supplier V9."}')]
    with pytest.raises(RequestRejected, match=r"422: There is no supplier V9\."):
        client.post("orders", {})


def test_no_connection_means_nothing_was_processed(slept):
    client = HttpClient(f"http://127.0.0.1:{closed_port()}", sleep=slept.append, attempts=2)
    client._session.trust_env = False
    with pytest.raises(RequestNotProcessed, match="check that the system is running"):
        client.post("orders", {})
    with pytest.raises(RequestNotProcessed):
        client.get("orders")
    assert len(slept) == 1


def test_the_token_wins_over_a_netrc(url, script, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("NO_PROXY", "*")
    HttpClient(url, token=SECRET, header="X-Api-Key", scheme="").get("items")
    assert script.seen[0][2]["X-Api-Key"] == SECRET
    assert "Authorization" not in script.seen[0][2]


@pytest.mark.parametrize("wrong", ["", "shop.example.org", "ftp://shop", f"https://user:{SECRET}@shop.example.org"])
def test_a_base_url_that_cannot_be_one_is_refused_without_repeating_it(wrong):
    with pytest.raises(PermanentError, match="must look like") as caught:
        HttpClient(wrong)
    assert SECRET not in str(caught.value)
