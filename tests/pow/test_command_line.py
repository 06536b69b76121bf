"""`python -m pow`: options people know, one line per mistake, exit codes."""

import io
import sys
import time
from collections.abc import Callable

import pytest

from pow.__main__ import duration, main
from pow.hashcash import check, mint_reference

Checked = Callable[..., tuple[int, list[str]]]
GOOD = "1:4:991231:model-extraction-warning::AbCdEfGh:14"


def test_mint(capsys):
    for options in (["foo"], ["-r", "foo"], ["foo", "-z", "6"]):
        assert main(["mint", "-b", "12", *options]) == 0
        shown = capsys.readouterr()
        assert check(shown.out.strip(), 12, "foo")
        assert "minted in" in shown.err
    assert main(["mint", "foo", "-b", "8", "-x", "a=1", "-q", "-X", "--algorithm", "sha256"]) == 0
    shown = capsys.readouterr()
    stamp = shown.out.strip().removeprefix("X-Hashcash: ")
    assert stamp in shown.out
    assert stamp.split(":")[4] == "a=1"
    assert check(stamp, 8, "foo", "sha256")
    assert shown.err == ""


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["mint", "a", "-r", "b"], "one resource is needed"),
        (["mint", "a:b"], "resource must be"),
        (["mint", "a", "-b", "61"], "bits must be"),
        (["mint", "a", "-x", "é"], "extension"),
        (["mint", "a", "-b", "12", "--threads", "0"], "threads must be"),
        (["check", GOOD, "-e", "soon"], "expiry is 'soon'"),
        (["check", GOOD, "-g", "soon"], "grace period is 'soon'"),
        (["info", "--work", "-1"], "work must be"),
    ],
)
def test_mistakes(options, why, capsys):
    assert main(options) == 2
    shown = capsys.readouterr()
    assert why in shown.err
    assert shown.err.count("\n") == 1


@pytest.fixture
def checked(monkeypatch, capsys):
    """Exit code and output lines of `check`, with a text or bytes as standard input."""

    def run(given, *options):
        raw = given if isinstance(given, bytes) else given.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="ascii"))
        code = main(["check", "-b", "4", "-e", "0", *options])
        return code, capsys.readouterr().out.splitlines()

    return run


def test_check(checked, capsys):
    assert checked("", GOOD) == (0, [f"{GOOD}: ok"])
    assert checked(f"X-Hashcash: {GOOD}\n\n{GOOD}x\n", "-q") == (1, [])
    code, (line,) = checked("", GOOD, "-r", "else")
    assert (code, "not for 'else'" in line) == (1, True)
    assert checked(GOOD, "-r", "MODEL-extraction-Warning")[0] == 0
    assert checked(GOOD, "-r", "MODEL-extraction-Warning", "-C")[0] == 1  # the case counts
    assert checked(GOOD, "-r", GOOD.split(":")[3], "-C")[0] == 0
    code, (line,) = checked("", GOOD, "-e", "28d")
    assert (code, "s old" in line) == (1, True)
    assert main(["check", ""]) == 2
    assert "no stamp" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        f"X-Hashcash: {GOOD}",
        f"x-hashcash:{GOOD}",
        f"X-Hashcash:\r\n {GOOD[:20]}\r\n\t{GOOD[20:]}\r\n",
        f"\ufeffX-Hashcash: {GOOD}",
        f"  {GOOD}",
    ],
)
def test_stamps_as_headers(checked, given):
    assert checked(given) == (0, [f"{GOOD}: ok"])
    if not given.startswith("  "):
        assert checked(given, "-X") == (0, [f"{GOOD}: ok"])
    assert main(["check", "-b", "4", "-e", "0", given.removeprefix("\ufeff")]) == 0


def test_a_mail(checked):
    other = GOOD.replace("model", "else")
    mail = f"From: Zo\xeb\nX-Hashcash: {other}\nx-hashcash: 1:4:\n\t{GOOD[4:]}\nTo: b\n\n{GOOD}x\n"
    code, lines = checked(mail.encode("latin-1"), "-X")
    assert code == 0  # one stamp for each recipient: one of them has to be good
    assert [line.endswith(": ok") for line in lines] == [False, True]
    assert checked(f"X-Hashcash: {other}\n\nX-Hashcash: {GOOD}\n", "-X")[0] == 1
    assert checked("Subject: hello\n\nworld\n", "-X") == (1, [])
    # What is indented goes on with a header only.
    code, lines = checked(f"{GOOD}\n {GOOD}\nX-Hashcash: {GOOD}\n {GOOD}")
    assert [line.endswith(": ok") for line in lines] == [True, True, False]
    assert code == 1


def test_the_grace_period():
    for hours, grace, good in (
        *((47, "2d", True), (49, "2d", False), (49, "50h", True), (1, "0", False)),
        *((-29 * 24, "2d", True), (-29 * 24, "0", False)),
        *((-31 * 24, "2d", False), (-31 * 24, "4d", True)),
    ):
        stamp = mint_reference("foo", 4, now=time.time() + 3600 * hours)
        assert (main(["check", stamp, "-b", "4", "-g", grace]) == 0) is good


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("0", 0), ("0d", 0), ("90", 90), ("10m", 600)),
        *(("28d", 2_419_200), ("1M", 2_592_000), ("1Y", 31_536_000)),
        *((text, None) for text in ("", "d", "-1d", "1.5h", "1x", "9" * 20)),
    ],
)
def test_durations(text, expected):
    if expected is not None:
        assert duration(text) == expected
        return
    with pytest.raises(ValueError, match="expiry"):
        duration(text)


@pytest.mark.process
def test_warm(capsys):
    assert main(["warm"]) == 0
    assert "kernels ready in" in capsys.readouterr().out
