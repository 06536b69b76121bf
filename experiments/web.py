"""The live view as a page on this machine: one HTML file, and the state it asks for as JSON.

Only this machine is answered, and only pages of this server: a request must name it as its Host,
and no other page as its Origin, so that a site open in the same browser learns nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self

TEMPLATE = Path(__file__).parent / "templates" / "live.html"
STATE = "/state.json"
LINGER = 2.0
"""Seconds that the end of a run waits for a page that was watching to hear of it."""


class Page:
    """Serves the page while it lasts; a context manager. Port 0 is one that is free.

    Raises ValueError for a port that cannot be had.
    """

    def __init__(self, port: int = 0) -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"--web-port is {port}; expected 0 to 65535")
        self._said: Mapping[str, Any] = {"cell": "", "stage": "", "ended": None, "arm": None}
        self._asked = float("-inf")  # when a page asked last
        self.told = threading.Event()  # whether a page knows of the end
        try:
            self._server = _Server(("127.0.0.1", port), partial(_Handler, self))
        except OSError as error:
            raise ValueError(
                f"--web-port is {port}; expected a port that is free ({error.strerror})"
            ) from error
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ended = "done" if error is None else "failed"
        self._say(ended="interrupted" if isinstance(error, KeyboardInterrupt) else ended)
        try:
            if time.monotonic() - self._asked < LINGER:
                self.told.wait(LINGER)
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def cell(self, name: str) -> None:
        """Says which run of a sweep this is."""
        self._say(cell=name)

    def stage(self, name: str) -> None:
        """Says what the run is at."""
        self._say(stage=name)

    def show(self, arm: Mapping[str, Any]) -> None:
        """Takes a snapshot of the arm that runs; it must not change any more."""
        self._say(arm=arm)

    def state(self) -> Mapping[str, Any]:
        """What is to be shown: cell, stage, how the run ended (None before), arm."""
        self._asked = time.monotonic()
        return self._said

    def _say(self, **news: Any) -> None:
        self._said = {**self._said, **news}  # whoever reads has the old one or the new one


class _Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        """Without the look-up of the machine's name, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is nothing to tell on the terminal."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    timeout = 10.0  # of a connection on which nothing comes

    def __init__(self, page: Page, *arguments: Any) -> None:
        self._page = page
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self._from_here():
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this page is for this machine only\n")
        elif path == "/":
            self._send(HTTPStatus.OK, "text/html", TEMPLATE.read_bytes())
        elif path == STATE:
            state = self._page.state()
            body = json.dumps(state, allow_nan=False).encode()
            self._send(HTTPStatus.OK, "application/json", body)
            if state["ended"] is not None:
                self._page.told.set()
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", f"expected / or {STATE}\n".encode())

    def _from_here(self) -> bool:
        """Whether it asks for this server by name, and no other site's page asks."""
        port = "" if self._page.port == 80 else f":{self._page.port}"
        hosts = [f"127.0.0.1{port}", f"localhost{port}"]
        asked = self.headers.get_all("Host", [])
        origins = self.headers.get_all("Origin", [])
        return (
            len(asked) == 1
            and asked[0] in hosts
            and all(origin in [f"http://{host}" for host in hosts] for origin in origins)
        )

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", _policy())
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Says nothing: the terminal is the other view's."""


@cache
def _policy() -> str:
    """Only the script and the style of the page itself, and nothing from elsewhere."""
    text = TEMPLATE.read_text(encoding="utf-8")
    allowed = {
        tag: base64.b64encode(
            hashlib.sha256(
                text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0].encode()
            ).digest()
        ).decode()
        for tag in ("script", "style")
    }
    return (
        "default-src 'none'; connect-src 'self'; img-src data:; frame-ancestors 'none';"
        " base-uri 'none';"
        f" script-src 'sha256-{allowed['script']}'; style-src 'sha256-{allowed['style']}'"
    )
