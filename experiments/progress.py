"""The live view of an arm in a terminal: one line a client, and what the server gave out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from experiments.live import UNDER_WAY, Arm, Client
from experiments.report.tables_old import NOTHING, count, percent, seconds
from experiments.terminal import fitted

EVERY = 1.0
"""Seconds between two looks at the records."""
AROUND = 8
"""Lines of a terminal that are not clients: before the view, heading, totals, the prompt."""
NAME = 24
"""Letters of a client's name that are shown."""


class Page(Protocol):
    """Shows an arm elsewhere, too."""

    def show(self, arm: Mapping[str, Any]) -> None:
        """Takes a snapshot of the arm."""


class ArmView:
    """Draws an arm on the console while it runs, and once when it is over; a context manager.

    On a console that is no terminal it is drawn at its end only.
    """

    def __init__(
        self,
        console: Console,
        arm: Arm,
        *,
        page: Page | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._arm = arm
        self._page = page
        self._clock = clock
        self._states: Mapping[str, str] = {}
        self._due = float("-inf")
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
        if error is not None:  # the runner has stopped them
            self._states = {
                name: "stopped" if state in UNDER_WAY else state
                for name, state in self._states.items()
            }
        self._read()
        everybody = len(self._arm.clients)
        self._console.print(drawn(self._arm, everybody, self._console.width, whole=True))

    def update(self, states: Mapping[str, str]) -> None:
        """Reads what was recorded and draws it, unless that was done a moment ago."""
        self._states = dict(states)
        self.refresh()

    def refresh(self) -> None:
        """The same with the states as they were."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + EVERY
        self._read()
        if self._console.is_terminal:
            lines = max(1, self._console.height - AROUND)
            self._live.update(drawn(self._arm, lines, self._console.width), refresh=True)

    def _read(self) -> None:
        self._arm.read(self._clock(), self._states)
        if self._page is not None:
            self._page.show(self._arm.snapshot())


def drawn(arm: Arm, lines: int, width: int, *, whole: bool = False) -> RenderableType:
    """The arm in so many lines for its clients; thieves come before honest users if not all fit.

    Columns for which there is no room are named, or on the `whole` shown below.
    """
    clients = list(arm.clients.values())
    chosen = clients
    if len(clients) > lines:
        first = sorted(clients, key=lambda c: (c.kind == "honest", c.state not in UNDER_WAY))
        names = {client.name for client in first[: lines - 1]}
        chosen = [client for client in clients if client.name in names]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    table.add_column("client", no_wrap=True, max_width=NAME)
    for heading in ("queries", "work/image\n(last batch)", "work", "hashes/s", "accuracy\nso far"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for client in chosen:
        table.add_row(*_row(client))
    tables = fitted(table, width)
    parts: list[RenderableType] = [
        Text(f"{arm.name}, policy {arm.policy}: {arm.seconds:.0f} s", style="bold"),
        *(tables if whole else tables[:1]),
    ]
    if len(tables) > 1 and not whole:
        hidden = [str(column.header) for part in tables[1:] for column in part.columns[1:]]
        missing = ", ".join(" ".join(heading.split()) for heading in hidden)
        parts.append(
            Text(f"no room for: {missing}", style="dim", no_wrap=True, overflow="ellipsis")
        )
    if len(chosen) < len(clients):
        parts.append(Text(_others([c for c in clients if c not in chosen]), style="dim"))
    parts.append(Text(_server(arm)))
    return Group(*parts)


def _row(client: Client) -> Sequence[str | Text]:
    rate = "virtual" if client.virtual else _or_nothing(client.hash_rate, count)
    return (
        Text(client.name),
        f"{client.images:,}/{client.total:,}",
        _or_nothing(client.price, count),
        count(client.work),
        rate,
        _or_nothing(client.accuracy, percent),
        Text(client.state, style="red" if client.state == "crashed" else ""),
    )


def _others(clients: Sequence[Client]) -> str:
    """The clients for which there is no line."""
    states = [client.state for client in clients]
    each = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    images, work = sum(c.images for c in clients), sum(c.work for c in clients)
    return f"and {len(clients)} others: {images:,} queries, work {count(work)}; {each}"


def _server(arm: Arm) -> str:
    server = arm.server
    span = "on average" if arm.over else "of late"
    return (
        f"server: {server.images:,} queries in {server.requests:,} requests,"
        f" {seconds(server.rate)} requests/s {span},\n"
        f"        privacy cost {count(server.cost)}, work {count(server.work)} given out"
    )


def _or_nothing(value: float | None, form: Callable[[float], str]) -> str:
    return NOTHING if value is None else form(value)
