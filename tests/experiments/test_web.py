"""The page of a running run: who is answered, and what a real browser makes of it."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from experiments import web
from experiments.live import Arm, Client
from experiments.web import STATE, TEMPLATE, Page

CHROMIUM = shutil.which("chromium")
EVIL = '<img src=x onerror="document.title=1">'


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that look at the state do not look again: the end need not wait for them."""
    monkeypatch.setattr(web, "LINGER", 0.01)


def ask(page: Page, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def state(page: Page) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    try:
        connection.request("GET", STATE)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def test_it_says_what_the_run_is_at() -> None:
    with Page() as page:
        assert page.url == f"http://127.0.0.1:{page.port}/"
        assert state(page) == {"cell": "", "stage": "", "ended": None, "arm": None}
        page.cell("cell 2 of 3")
        page.stage("calibrating")
        page.show({"policy": "rate"})
        expected = {"cell": "cell 2 of 3", "stage": "calibrating", "ended": None}
        assert state(page) == {**expected, "arm": {"policy": "rate"}}
        home = ask(page, "/?")
        assert (home.status, home.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
        assert home.getheader("Cache-Control") == "no-store"
        policy = home.getheader("Content-Security-Policy") or ""
        assert "default-src 'none'" in policy
        assert policy.count("'sha256-") == 2


@pytest.mark.parametrize("path", ["/", STATE])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": "127.0.0.1:{port}.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:{port}"},
    ],
)
def test_only_pages_of_this_server_are_answered(path: str, headers: Mapping[str, str]) -> None:
    with Page() as page:
        given = {key: value.format(port=page.port) for key, value in headers.items()}
        assert ask(page, path, **given).status == 403


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_this_machine_has_two_names(name: str) -> None:
    with Page() as page:
        here = f"{name}:{page.port}"
        assert ask(page, STATE, Host=here).status == 200
        assert ask(page, STATE, Host=here, Origin=f"http://{here}").status == 200


def test_two_hosts_are_none() -> None:
    with Page() as page, socket.create_connection(("127.0.0.1", page.port), 10) as plain:
        host = f"Host: 127.0.0.1:{page.port}\r\n"
        plain.sendall(f"GET {STATE} HTTP/1.1\r\n{host}{host}\r\n".encode())
        assert plain.recv(100).startswith(b"HTTP/1.0 403 ")


def test_what_there_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    with Page() as page:
        for path in ("/x", "/../report.html", "/live.html", "//evil.example/"):
            assert ask(page, path).status == 404
        assert ask(page, "/", "POST").status == 501
    assert capfd.readouterr() == ("", "")  # the terminal is the other view's


@pytest.mark.parametrize(
    ("error", "ended"),
    [(None, "done"), (KeyboardInterrupt(), "interrupted"), (ValueError(), "failed")],
)
def test_a_page_that_watches_hears_of_the_end(
    error: BaseException | None, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "LINGER", 30.0)
    page = Page()
    page.__enter__()
    assert state(page)["ended"] is None  # somebody watches
    closing = threading.Thread(target=page.__exit__, args=(type(error), error, None))
    closing.start()
    while (heard := state(page)["ended"]) is None:
        pass
    closing.join(10)
    assert heard == ended
    with pytest.raises(ConnectionRefusedError):
        state(page)


def test_nobody_waits_for_a_page_that_is_not_open() -> None:
    page = Page()
    page.__enter__()
    page.__exit__(None, None, None)
    assert not page.told.is_set()
    with pytest.raises(ConnectionRefusedError):
        state(page)
    assert not page._thread.is_alive()


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(ValueError, match=rf"--web-port is {port}; expected 0 to 65535"):
        Page(port)


def test_a_port_that_is_taken() -> None:
    with (
        Page() as page,
        pytest.raises(ValueError, match=rf"--web-port is {page.port}; expected a port that is fr"),
    ):
        Page(page.port)


def test_the_page_needs_nothing_else() -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:,)""", text)
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    for unsafe in ("innerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert unsafe not in text


# ── in a browser ─────────────────────────────────────────────────────────────────────────────────

browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: chromium)")


def shown(page: Page, profile: Path) -> str:
    """The document as a browser has it after some looks at the state."""
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-sync", "--enable-logging=stderr"),
            *(f"--user-data-dir={profile}", "--virtual-time-budget=2500", "--dump-dom", page.url),
        ],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert ":CONSOLE" not in done.stderr, done.stderr  # no error, and nothing that was forbidden
    return done.stdout


def cells(dom: str) -> dict[str, list[str]]:
    """The texts of each row of the table, by its first."""
    body = re.search(r'<tbody id="clients">(.*?)</tbody>', dom, re.DOTALL)
    assert body is not None
    rows = [
        [
            unescape(re.sub(r"<(?:svg.*?</svg|/?small|/?progress)[^>]*>", "", cell)).strip()
            for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr.*?</tr>", body[1], re.DOTALL)
    ]
    return {first: rest for first, *rest in rows}


def lines(dom: str, plot: str) -> dict[str, list[tuple[float, float]]]:
    """The points of each line of a plot, by what its title says."""
    svg = re.search(rf'<svg id="{plot}".*?</svg>', dom, re.DOTALL)
    assert svg is not None
    found = re.findall(r'<polyline[^>]*points="([^"]*)"[^>]*><title>(.*?)</title>', svg[0])
    return {
        unescape(title): [(float(x), float(y)) for x, y in (p.split(",") for p in points.split())]
        for points, title in found
    }


def feed(folder: Path, kind: str, *records: Mapping[str, Any]) -> None:
    path = folder / f"{kind}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def asked(images: int, at: float, work: int) -> dict[str, Any]:
    times = {"at": at, "solve": 1.0, "virtual": False}
    return {"kind": "predict", "images": images, "work": work, "hashes": work, **times}


@browser
@pytest.mark.timeout(200)
def test_the_plots_move(tmp_path: Path) -> None:
    folder = tmp_path / "rate"
    ann = Client(name="ann", kind="honest", label=EVIL, total=320)
    bob = Client(name="bob", kind="attack", label="knockoff", total=1000)
    arm = Arm(folder, [ann, bob], name=EVIL)
    states = {"ann": "running", "bob": "running"}
    with Page() as page:
        page.stage("preparing the victim")
        early = shown(page, tmp_path / "profile")
        arm.read(0.0, states)
        feed(folder, "clients/ann", asked(16, 5.0, 1600))
        feed(folder, "clients/bob", asked(100, 4.0, 200_000), asked(100, 8.0, 600_000))
        feed(folder, "clients/bob", {"kind": "checkpoint", "path": "one", "asked": 100})
        score = {"kind": "surrogate", "client": "bob"}
        feed(folder, "evaluation", {"kind": "victim", "accuracy": 0.96, "images": 5})
        feed(folder, "evaluation", {**score, "path": "one", "accuracy": 0.25, "fidelity": 0.2})
        served = {"kind": "predict", "images": 216, "cost": 3.0, "work": 801_600, "retry": False}
        feed(folder, "server", served)
        arm.read(10.0, states)
        page.stage("running policy rate")
        page.show(arm.snapshot())
        first = shown(page, tmp_path / "profile")
        feed(folder, "clients/bob", asked(200, 16.0, 800_000))
        feed(folder, "clients/bob", {"kind": "checkpoint", "path": "two", "asked": 400})
        feed(folder, "evaluation", {**score, "path": "two", "accuracy": 0.75, "fidelity": 0.5})
        arm.read(20.0, {"ann": "crashed", "bob": "running"})
        page.show(arm.snapshot())
        second = shown(page, tmp_path / "profile")

    assert ">preparing the victim</p>" in early
    assert '<main id="arm" hidden="">' in early
    for dom in (first, second):
        assert '<main id="arm">' in dom
        assert '<p class="about" id="trouble" role="status"></p>' in dom
        assert "<img" not in dom
        assert f'<h1 id="title">{EVIL.replace("<", "&lt;").replace(">", "&gt;")}, policy' in dom
    dash = "\N{EN DASH}"
    honest = [EVIL, "", "16 / 320", "100", "1,600", "1,600", dash, dash]
    # kind, bar, queries, work/image, work, hashes/s, accuracy, fidelity, state
    thief = ["200 / 1,000", "6,000", "800 k", "400 k", "25.0 %", "20.0 %", "running"]
    assert cells(first) == {"ann": [*honest, "running"], "bob": ["knockoff", "", *thief]}
    thief = ["400 / 1,000", "4,000", "1.60 M", "533 k", "75.0 %", "50.0 %", "running"]
    assert cells(second) == {"ann": [*honest, "crashed"], "bob": ["knockoff", "", *thief]}
    assert ">1 of 2</dd>" in second
    assert ">802 k</dd>" in second

    # From zero to 200 queries at 4 and 8 s of 10; then to 400 at 16 s of 20: the same height.
    before, after = lines(first, "queries"), lines(second, "queries")
    assert set(before) == {"ann: 16 queries", "bob: 200 queries"}
    assert set(after) == {"ann: 16 queries", "bob: 400 queries"}
    (x0, y0), (x1, y1), (x2, y2) = before["bob: 200 queries"]
    assert x0 == x1
    assert y0 - y2 == pytest.approx(2 * (y0 - y1), abs=0.2)
    left, right, bottom, top = 52, 428, 206, 10
    assert (x1, y1) == pytest.approx((left + 0.4 * (right - left), (bottom + top) / 2), abs=0.1)
    assert (x2, y2) == pytest.approx((left + 0.8 * (right - left), top), abs=0.1)
    assert after["bob: 400 queries"][-1] == (x2, y2)
    assert len(after["bob: 400 queries"]) == 4
    assert after["ann: 16 queries"] != before["ann: 16 queries"]  # the scale is another

    # A decade is as high everywhere: ann is at 1.6 k, bob at 200 k, 800 k and 1.6 M.
    low, high = lines(second, "work")["ann: work 1,600"], lines(second, "work")["bob: work 1.60 M"]
    assert [len(low), len(high)] == [1, 3]
    assert low[0][1] - high[2][1] == pytest.approx(196 * 3 / 4, abs=0.2)  # of 1 k to 10 M

    assert list(lines(first, "accuracy").values()) == [[(right, 157.0)]]
    assert lines(second, "accuracy") == {"bob: 75.0 %": [(146.0, 157.0), (right, 59.0)]}
    assert "victim: 96.0 %" in second


@browser
@pytest.mark.timeout(200)
def test_the_page_stays_when_the_run_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LINGER", 30.0)
    arm = Arm(tmp_path, [Client(name="ann", kind="honest", label="honest", total=9)], name="tiny")
    looked, ended, found = threading.Event(), threading.Event(), []

    class Slow(Page):
        """The second look takes until the run ends."""

        def state(self) -> Mapping[str, Any]:
            super().state()
            if looked.is_set():
                ended.wait(30)
            looked.set()
            return super().state()

        def _say(self, **news: Any) -> None:
            super()._say(**news)
            if "ended" in news:
                ended.set()

    with Slow() as page:
        arm.read(0.0, {"ann": "done"})
        page.show(arm.snapshot())
        watching = threading.Thread(target=lambda: found.append(shown(page, tmp_path / "profile")))
        watching.start()
        assert looked.wait(60)
    watching.join(60)
    (dom,) = found
    assert "The run has ended. This page keeps what it saw last." in dom
    assert "<title>ended: tiny, policy" in dom
    assert cells(dom)["ann"][-1] == "done"
