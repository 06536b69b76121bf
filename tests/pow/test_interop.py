"""Both ways with Debian's hashcash program: it accepts our stamps, and we accept its."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from pow.challenge import Keyring
from pow.hashcash import check, mint, mint_reference
from pow.puzzle import puzzle_for
from pow.solver import solve

pytestmark = pytest.mark.skipif(
    shutil.which("hashcash") is None, reason="the program hashcash is not installed"
)


def accepted(stamp: str, bits: int, resource: str) -> bool:
    command = ["hashcash", "-c", "-y", "-b", str(bits), "-r", resource, stamp]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("width", [6, 10, 12])
@pytest.mark.parametrize("make", [mint, mint_reference])
def test_it_accepts_what_we_mint(make, width: int) -> None:
    stamp = make("somebody@example.org", 16, date_width=width, ext="a=1")
    assert accepted(stamp, 16, "somebody@example.org")
    assert not accepted(stamp, 16, "else@example.org")
    assert not accepted(stamp, 17, "somebody@example.org")


def test_we_accept_what_it_mints() -> None:
    done = subprocess.run(
        ["hashcash", "-m", "-q", "-b", "16", "somebody@example.org"],
        capture_output=True,
        text=True,
        check=True,
    )
    stamp = done.stdout.strip()
    assert check(stamp, 16, "somebody@example.org", now=time.time(), max_age=2 * 86_400)
    assert not check(stamp, 17, "somebody@example.org")


@pytest.mark.parametrize("work", [40, 1 << 12, 1 << 20])
def test_it_accepts_every_stamp_of_a_challenge(work: int) -> None:
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
