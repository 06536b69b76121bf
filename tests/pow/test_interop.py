"""Both ways with Debian's hashcash program: it accepts our stamps, and we accept its."""

import io
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from pow.__main__ import main
from pow.challenge import Keyring
from pow.hashcash import check, mint_reference
from pow.puzzle import puzzle_for
from pow.solver import mint, solve

Both = Callable[..., tuple[bool, bool]]

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        shutil.which("hashcash") is None, reason="the program hashcash is not installed"
    ),
]


def accepted(stamp, bits, resource):
    command = ["hashcash", "-c", "-y", "-b", str(bits), "-r", resource, stamp]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("width", [6, 10, 12])
@pytest.mark.parametrize("make", [mint, mint_reference])
def test_it_accepts_what_we_mint(make, width):
    stamp = make("somebody@example.org", 16, date_width=width, ext="a=1")
    assert accepted(stamp, 16, "somebody@example.org")
    assert not accepted(stamp, 16, "else@example.org")
    assert not accepted(stamp, 17, "somebody@example.org")


def test_we_accept_what_it_mints():
    stamp = minted("-z", "6", "somebody@example.org")
    assert check(stamp, 8, "somebody@example.org", now=time.time(), max_age=2 * 86_400)
    assert not check(stamp, 8, "else@example.org")


@pytest.mark.parametrize("work", [40, 1 << 12, 1 << 20])
def test_it_accepts_every_stamp_of_a_challenge(work):
    challenge = Keyring([b"s" * 32]).issue(
        puzzle_for(work),
        audience="gate",
        client="ann",
        request_id="r",
        digest=bytes(32),
        now=time.time(),
        expires=int(time.time()) + 600,
    )
    for counter in solve(challenge).counters:
        assert accepted(challenge.prefix + counter, challenge.puzzle.bits, "powgate")


def minted(*options):
    command = ["hashcash", "-m", "-q", "-b", "8", "-z", "12", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def both(monkeypatch):
    """What the program and `python -m pow check` say of a stamp, or of what they are given.

    The program's options are about the resources that come after them.
    """

    def run(stamp, *options, stdin=""):
        rest = ["-b", "8", *options, *([stamp] if stamp else [])]
        command = ["hashcash", "-c", "-y", *rest]
        theirs = subprocess.run(command, input=stdin, text=True, capture_output=True, check=False)
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return theirs.returncode == 0, main(["check", *rest]) == 0

    return run


@pytest.mark.parametrize("offset", ["-47h", "-49h", "+47h", "+49h", "-29d", "-31d"])
def test_dates_and_grace_periods(both, offset):
    stamp = minted("-t", offset, "foo")
    for grace in ((), ("-g", "0"), ("-g", "50h"), ("-g", "3d"), ("-e", "0")):
        theirs, ours = both(stamp, *grace, "-r", "foo")
        assert ours == theirs, grace


@pytest.mark.parametrize(
    "mail",
    [
        "X-Hashcash: {0}\n",
        "x-hashcash: {0}\n",
        "X-HASHCASH:{0}\n",
        "Hashcash: {0}\n",
        "X-Hashcash:\n {0}\n",
        "X-Hashcash: {1}\n\t{2}\n",
        "Received: x\nX-Hashcash: 1:8:200101:foo::bad:1\nX-Hashcash: {0}\nSubject: a\n\nbody\n",
        "X-Hashcash: {0}\nX-Hashcash: 1:8:200101:foo::bad:1\n",
        "X-Hashcash: {0}x\n",
        " X-Hashcash: {0}\n",
        "Subject: a\n",
    ],
)
def test_the_headers_of_a_mail(both, mail):
    stamp = minted("foo")
    mail = mail.format(stamp, stamp[:12], stamp[12:])
    theirs, ours = both("", "-X", "-r", "foo", stdin=mail)
    assert ours == theirs
