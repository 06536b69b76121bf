"""A run while it lasts: its summary, refreshed, in the terminal and as a page on this machine.

Nothing but the records is read, in a thread beside the run, and no more often than REST allows. The
page answers this machine and pages of its own only: a request must name it as its Host, and no
other page as its Origin, so that a site open in the same browser learns nothing.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from experiments import records
from experiments.records import SWEEP_FILE, UNDER_WAY, FolderError, begun
from experiments.report.page import page, render
from experiments.report.tables import Column, Row, column, count, present, terminal, whole
from experiments.summary import Summary, summarise

if TYPE_CHECKING:
    from experiments.report.lines import Drawing

EVERY = 1.0
"""Seconds between two looks at the records, at least."""
REST = 20.0
"""It rests for so many times as long as a look took: the run has the cores for itself."""
LINGER = 3.0
"""Seconds for which the page shows the end of a run to a browser that was watching."""

COLUMNS = (
    column("client"),
    column("clients"),
    Column("queries", "images answered", "images", whole),
    column("work/image"),
    column("work"),
    Column("hashes/s", "in a second of solving", lambda row: _rate(row), count),
    column("accuracy"),
    Column("state", "how far it is", "status"),
)


def _rate(row: Row) -> float | None:
    spent = not row["virtual"] and row["seconds"]["solve"]
    return row["hashes"] / spent if spent else None


class Watch:
    """Shows the run in `out` while it lasts; a context manager. With a port, as a page, too.

    Port 0 is one that is free. Raises ValueError for a port that cannot be had.
    """

    def __init__(self, out: Path, console: Console, *, port: int | None = None) -> None:
        self._out, self._console = out, console
        self._over = threading.Event()
        self._threads = []
        if console.is_terminal:
            self._threads.append(threading.Thread(target=self._follow, daemon=True))
        self._server = None if port is None else Server(port, self.html)
        if self._server is not None:
            serve, poll = self._server.serve_forever, {"poll_interval": 0.1}
            self._threads.append(threading.Thread(target=serve, kwargs=poll, daemon=True))
        self._lock = threading.Lock()
        self._page = ""
        self._drawings: list[Drawing] = []
        self._due = self._figures_due = self._asked = float("-inf")

    @property
    def url(self) -> str:
        """Where the page is."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        if self._server is not None:
            print(f"live: {self.url}", flush=True)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._server is not None:
            if time.monotonic() - self._asked < LINGER:
                self._due = float("-inf")
                time.sleep(LINGER)  # for the browser that is watching
            self._server.shutdown()
            self._server.server_close()
        for thread in self._threads:
            thread.join()

    def html(self) -> str:
        """The page of the report so far; numbers and figures are made again when they are due."""
        with self._lock:
            self._asked = began = time.monotonic()
            if began < self._due:
                return self._page
            folder, stage, summary = look(self._out)
            stage = "The run has ended." if self._over.is_set() else f"Now: {stage}."
            if summary is None:
                self._page = render("waiting.html", live=stage)
            else:
                self._page = page(summary, self._figures(summary), folder, live=stage)
            self._due = time.monotonic() + EVERY
            return self._page

    def _figures(self, summary: Summary) -> list[Drawing]:
        from experiments.report import figures  # with it comes matplotlib

        began = time.monotonic()
        if began >= self._figures_due:
            self._drawings = figures.draw(summary)
            self._figures_due = time.monotonic() + REST * (time.monotonic() - began)
        return self._drawings

    def _follow(self) -> None:
        """Draws the terminal while clients are under way; at other times the run prints there."""
        live, pause = None, EVERY
        while not self._over.wait(pause):
            began = time.monotonic()
            _, stage, summary = look(self._out)
            arm = summary["arms"][-1] if summary else {"clients": []}
            if any(row["status"] in UNDER_WAY for row in arm["clients"]):
                if live is None:
                    live = Live(console=self._console, auto_refresh=False, transient=True)
                    live.start()
                live.update(drawn(stage, arm["groups"], self._console.width), refresh=True)
            elif live is not None:
                live.stop()
                live = None
            pause = max(EVERY, REST * (time.monotonic() - began))
        if live is not None:
            live.stop()


def current(out: Path) -> tuple[Path, str]:
    """The folder that is being run, the newest cell of a sweep, and what is done there."""
    folder, cell = out, ""
    if (out / SWEEP_FILE).exists():
        cells = [out / each["name"] for each in records.read_sweep(out)["cells"]]
        if there := [each for each in cells if (each / "logs").exists()]:
            folder = max(there, key=lambda each: (each / "logs").stat().st_mtime)
            cell = f"cell {cells.index(folder) + 1} of {len(cells)} ({folder.name}), "
    try:
        policies = records.read_scenario(folder)["resolved"]["server"]["policies"]
    except FolderError:  # it is written when all is prepared
        calibrates = (folder / "logs" / "calibrate.txt").exists()
        return folder, cell + ("calibrating the price" if calibrates else "preparing the victim")
    started = [each for each in policies if begun(folder / each / "runner.jsonl")]
    policy = started[-1] if started else policies[0]
    over = started and '"kind": "server"' in (folder / policy / "runner.jsonl").read_text()
    return folder, f"{cell}{'scoring the surrogates of ' if over else ''}policy {policy}"


def look(out: Path) -> tuple[Path, str, Summary | None]:
    """What `current` says, and the summary so far; None as long as there is nothing to be read."""
    folder, stage, summary = out, "starting", None
    with suppress(FolderError, OSError):
        folder, stage = current(out)
        summary = summarise(records.read(folder, partial=True))
    return folder, stage, summary


def drawn(stage: str, groups: Sequence[Row], width: int) -> RenderableType:
    """A line for each group of clients, and which columns have no room."""
    columns = present(COLUMNS, groups)
    table = next(terminal(columns, groups, width))
    parts: list[RenderableType] = [Text(stage, style="bold"), table]
    if hidden := columns[len(table.columns) :]:
        names = ", ".join(each.heading for each in hidden)
        parts.append(Text(f"no room for: {names}", style="dim", overflow="ellipsis"))
    return Group(*parts)


class Server(ThreadingHTTPServer):
    """Answers `/` on loopback with what `html` returns."""

    def __init__(self, port: int, html: Callable[[], str]) -> None:
        self.html = html
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"--web-port is {port}; expected one from 0 to 65535 that is free ({error})"
            ) from error

    def server_bind(self) -> None:
        """Without the look-up of the machine's name, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores connections closed by the browser."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    timeout = 10.0  # of a connection on which nothing comes
    server: Server

    def do_GET(self) -> None:
        """Answers who names this server as its Host, and no other page as its Origin."""
        port = "" if self.server.server_port == 80 else f":{self.server.server_port}"
        hosts = [f"127.0.0.1{port}", f"localhost{port}"]
        asked, origins = (self.headers.get_all(name, []) for name in ("Host", "Origin"))
        known = len(asked) == 1 and asked[0] in hosts
        if not known or not {*origins} <= {f"http://{host}" for host in hosts}:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", "this page is for this machine only\n")
        elif self.path.partition("?")[0] == "/":
            self._send(HTTPStatus.OK, "text/html", self.server.html())
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "expected /\n")

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        script = text.rpartition("<script>")[2].partition("</script>")[0].encode()
        allowed = base64.b64encode(hashlib.sha256(script).digest()).decode()
        body = text.encode()
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data:;"
            " style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none';"
            f" script-src 'sha256-{allowed}'",
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Says nothing on the terminal."""
