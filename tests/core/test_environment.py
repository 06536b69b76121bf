"""What of a user's environment counts: each thing that does not, tried on a real process."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from core.environment import LOOPBACK, settle

ROOT = Path(__file__).parents[2]
DEAD = "http://127.0.0.1:9"  # the port of discard: nobody listens
FIGURE = """
from core import environment
environment.settle()
from core.drawing import Figure, style, svg
with style():
    figure = Figure()
    figure.add_subplot().plot([1, 2], label="x")
    figure.legend()
    print(svg(figure, "a line"))
"""


def python(code, *flags, **environment):
    """What a process said that began with this environment on top of ours."""
    plain = {k: v for k, v in os.environ.items() if k not in ("MATPLOTLIBRC", "no_grpc_proxy")}
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        env={**plain, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        timeout=60,
    )


@pytest.mark.process
def test_no_setting_of_matplotlib_changes_a_figure(tmp_path):
    settings = b"text.usetex: True\nfont.size: 33\nlines.linestyle: --\nno: such key\n"
    (tmp_path / "matplotlibrc").write_bytes(settings + b"backend: nope\n\xff\xff\n")
    place = str(tmp_path)
    away = {"MATPLOTLIBRC": place, "MPLCONFIGDIR": place, "MPLBACKEND": "no-such-backend"}
    found = python(f"import os; os.chdir({place!r})\n{FIGURE}", **away)
    expected = io.StringIO()
    with redirect_stdout(expected):
        exec(FIGURE)
    assert expected.getvalue().startswith("<svg ")
    assert (found.stdout.decode(), found.stderr) == (expected.getvalue(), b"")


@pytest.mark.process
@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        ([], {"PYTHONIOENCODING": "ascii"}),
        (["-X", "utf8=0"], {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0"}),
    ],
)
def test_a_terminal_that_is_not_utf_8_ends_nothing(flags, environment):
    code = (
        "from core import environment; environment.settle()\n"
        "from rich.console import Console; from rich.table import Table\n"
        "table = Table(title='1.50\\u00d7'); table.add_row('5 \\u00b5s \\u2026', '\\u4e2d')\n"
        "Console(width=40).print(table)\n"
        "print('\\u2264 2 \\udcff')"
    )
    found = python(code, *flags, **environment)
    assert found.returncode == 0, found.stderr.decode()
    text = found.stdout.decode("ascii")
    for part in ("1.50x", "5 us ...", "?", "<= 2 ?"):
        assert part in text


@pytest.mark.process
def test_no_proxy_is_asked_for_this_machine(gate):
    code = (
        "from core import environment; {settle}\n"
        "import grpc, sys; from core.environment import DIRECT\n"
        "from protos.gate_pb2 import DescribeRequest; from protos.gate_pb2_grpc import GateStub\n"
        f"channel = grpc.insecure_channel({gate.address!r}, {{options}})\n"
        "print(GateStub(channel).Describe(DescribeRequest(), timeout=10,"
        " metadata=(('client-id', 'ann'),)).classes)"
    )
    away = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), DEAD)
    away |= {"no_proxy": "", "no_grpc_proxy": ""}
    for settled, options in (("environment.settle()", None), ("", "DIRECT")):
        found = python(code.format(settle=settled, options=options), **away)
        assert found.stdout.strip() == b"3", found.stderr.decode()
    proxied = python(code.format(settle="", options=None), **away)
    assert proxied.returncode != 0  # else nothing was tried


def test_what_is_set_for_proxies_stays():
    environment = {"no_proxy": "example.org", "MPLBACKEND": "x"}
    for _ in range(2):
        settle(environment)
        assert environment == {
            "no_proxy": "example.org",
            "no_grpc_proxy": f"example.org,{LOOPBACK}",
            "MATPLOTLIBRC": os.devnull,
            "GRPC_VERBOSITY": "NONE",
        }
    environment["GRPC_VERBOSITY"] = "DEBUG"
    settle(environment)
    assert environment["GRPC_VERBOSITY"] == "DEBUG"
