"""A run while it lasts: what is read of it, who is answered, and what a browser makes of it."""

from __future__ import annotations

import http.client
import io
import os
import socket
from pathlib import Path

import browser
import pytest
from edits import append, without
from rich.console import Console
from sweeps import ACCOUNTS, swept

from experiments import live
from experiments.live import Server, Watch, current, drawn, look

ENDED = {"kind": "server", "code": 0}


@pytest.fixture
def going(folder: Path) -> Path:
    """The run while policy rate goes on: ann has ended, bob has not."""
    runner = folder / "rate" / "runner.jsonl"
    without(runner, '"bob"')
    append(runner, *({"kind": "start", "client": name, "at": 0.0} for name in ("ann", "bob")))
    without(folder / "rate" / "clients" / "bob.jsonl")
    append(folder / "none" / "runner.jsonl", ENDED)
    return folder


def text(folder: Path, width: int = 80) -> str:
    """What a terminal shows of the policy that runs."""
    console = Console(width=width, file=io.StringIO(), record=True)
    _, stage, summary = look(folder)
    assert summary is not None
    console.print(drawn(stage, summary["arms"][-1]["groups"], width))
    return console.export_text()


def test_a_line_for_each_group_of_clients(going: Path, crowd: Path) -> None:
    without(going / "rate" / "runner.jsonl", "crowd-2")
    append(going / "rate" / "runner.jsonl", {"kind": "start", "client": "crowd-2", "at": 0.0})
    without(going / "rate" / "clients" / "crowd-2.jsonl")
    found = text(going, 100).splitlines()
    assert found[0] == "policy rate"
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in found if line.strip()}
    assert lines["crowd"].startswith("5 50 60 3,000")
    assert lines["crowd"].endswith("4 done, 1 running")
    assert lines["bob"] == "– 20 2,000 40,000 4,762 40.0 % running"  # noqa: RUF001
    assert lines["ann"].endswith("– done")  # noqa: RUF001


@pytest.mark.parametrize("width", [24, 40, 80])
def test_hidden_columns_are_named_on_a_narrow_terminal(going: Path, width: int) -> None:
    shown = text(going, width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert ("no room for: " in shown) == (width < 80)


def test_what_a_run_is_at(going: Path, tmp_path: Path) -> None:
    assert current(tmp_path / "x") == (tmp_path / "x", "preparing the victim")
    assert current(going) == (going, "policy rate")
    append(going / "rate" / "runner.jsonl", ENDED)
    assert current(going)[1] == "scoring the surrogates of policy rate"
    out = swept(going, ACCOUNTS, missing=1)
    (out / "1-x" / "logs").mkdir()
    os.utime(out / "1-x" / "logs", (0, 0))
    assert current(out)[1].startswith("cell 1 of 2 (1-x), scoring")
    (out / "2-x" / "logs").mkdir(parents=True)
    (out / "2-x" / "logs" / "calibrate.txt").touch()
    assert current(out) == (out / "2-x", "cell 2 of 2 (2-x), calibrating the price")


def test_nothing_is_drawn_where_there_is_no_terminal(going: Path) -> None:
    sink = io.StringIO()
    with Watch(going, Console(file=sink)) as watch:
        assert watch._threads == []
    assert sink.getvalue() == ""


def test_the_terminal_is_left_as_it_was(going: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY", 0.01)
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=True, width=80, height=24, _environ={})

    def interrupted() -> None:
        with Watch(going, console):
            while "running" not in sink.getvalue():
                pass
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sink.getvalue().count("\x1b[?25l") == sink.getvalue().count("\x1b[?25h") == 1  # cursor


# ── as a page ────────────────────────────────────────────────────────────────────────────────────


def ask(port: int, path: str = "/", **headers: str) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.usefixtures("bare")
def test_the_page_is_the_report_so_far(going: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Watch(going, Console(file=io.StringIO()), port=0) as watch:
        assert capsys.readouterr().out == f"live: {watch.url}\n"
        port = int(watch.url.split(":")[2].rstrip("/"))
        answer, page = ask(port)
        assert 'role="status">Now: policy rate.</p>' in page
        assert ">running</td>" in page
        assert answer.getheader("Cache-Control") == "no-store"
        policy = answer.getheader("Content-Security-Policy") or ""
        assert "default-src 'none'" in policy
        assert policy.count("'sha256-") == 1
        assert ask(port, "/../report.html")[0].status == 404
        (going / "scenario.json").rename(going / "moved.json")
        watch._due = 0.0
        assert "Now: preparing the victim." in ask(port)[1]
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ConnectionRefusedError):
        ask(port)


@pytest.mark.usefixtures("bare")
def test_only_this_machine_and_pages_of_this_server_are_answered(tmp_path: Path) -> None:
    with Watch(tmp_path, Console(file=io.StringIO()), port=0) as watch:
        assert watch._server is not None
        host, port = watch._server.server_address[:2]
        assert host == "127.0.0.1"
        assert isinstance(port, int)
        here = f"localhost:{port}"
        assert ask(port, Host=here, Origin=f"http://{here}")[0].status == 200
        for headers in (
            {"Host": f"evil.example:{port}"},
            {"Host": "127.0.0.1"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
        ):
            assert ask(port, **headers)[0].status == 403, headers
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            line = f"Host: 127.0.0.1:{port}\r\n"
            plain.sendall(f"GET / HTTP/1.1\r\n{line}{line}\r\n".encode())
            assert plain.recv(100).startswith(b"HTTP/1.0 403 ")


def test_a_port_that_cannot_be_had() -> None:
    for port in (-1, 65536):
        with pytest.raises(ValueError, match=rf"--web-port is {port}; expected one from 0 to"):
            Server(port, str)
    with Server(0, str) as server:
        port = server.server_port
        with pytest.raises(ValueError, match=rf"--web-port is {port}; expected .* free"):
            Server(port, str)


@pytest.mark.slow
@browser.needs_browser
def test_a_browser_shows_the_run_move(going: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LINGER", 0.0)
    monkeypatch.setattr(live, "EVERY", 0.0)  # a browser's time is virtual here
    seen: list[str] = []

    class Moving(Watch):
        """Bob asks again between the first look and the second."""

        def html(self) -> str:
            seen.append(super().html())
            end = {"kind": "end", "status": "refused", "reason": "", "at": 20.0}
            if len(seen) == 1:
                append(going / "rate" / "clients" / "bob.jsonl", end)
            return seen[-1]

    with Moving(going, Console(file=io.StringIO()), port=0) as watch:
        document = browser.shown(watch.url, going / "c", "--virtual-time-budget=5000")
    assert len(seen) > 1
    assert ">refused</td>" in document
    assert document.count("<svg ") == 4
