"""Command line: mint and check stamps, say what work costs here, compile the kernels.

The short options of mint and check are those of the classic hashcash program where both have them.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import tyro

from core import command as core_command
from pow.hashcash import check_bits, format_date, refusal
from pow.headers import listed, of_mail

if TYPE_CHECKING:
    from rich.console import Console

Algorithm = Literal["sha1", "sha256", "argon2id"]
Bits = Annotated[int, tyro.conf.arg(aliases=["-b"])]
Resource = Annotated[str | None, tyro.conf.arg(aliases=["-r"])]
Quiet = Annotated[bool, tyro.conf.arg(aliases=["-q"])]

_UNITS: Final = {
    "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 2_592_000, "y": 31_536_000,
    "Y": 31_536_000,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mint:
    """Mint a stamp and print it."""

    name: tyro.conf.Positional[str | None] = None
    """Whom or what the stamp is for: printable ASCII without spaces and colons."""
    resource: Resource = None
    """The same as an option."""
    bits: Bits = 20
    """Leading zero bits; every one more doubles the time."""
    ext: Annotated[str, tyro.conf.arg(aliases=["-x"])] = ""
    """Extension field."""
    width: Annotated[Literal[6, 10, 12], tyro.conf.arg(aliases=["-z"])] = 12
    """Digits of the date: to the day, the minute or the second."""
    algorithm: Algorithm = "sha1"
    """Digest the stamp is worth something under; other programs only know sha1."""
    threads: int = 1
    """Threads to search with."""
    header: Annotated[bool, tyro.conf.arg(aliases=["-X"])] = False
    """Print the stamp as a mail header, X-Hashcash."""
    quiet: Quiet = False
    """Print nothing but the stamp."""


@dataclass(frozen=True, slots=True)
class Check:
    """Check stamps, given as arguments or one a line on standard input; exit 1 if any is bad.

    A stamp may be given as a mail header: X-Hashcash or Hashcash in any case, folded or not.
    """

    stamps: tyro.conf.Positional[tuple[str, ...]] = ()
    """The stamps."""
    header: Annotated[bool, tyro.conf.arg(aliases=["-X"])] = False
    """Standard input is a mail: look at its X-Hashcash headers, of which one has to be good."""
    bits: Bits = 20
    """Bits a stamp must be worth."""
    resource: Resource = None
    """Whom or what it must be for, upper and lower case alike; not looked at when left out."""
    case: Annotated[bool, tyro.conf.arg(aliases=["-C"])] = False
    """Tell upper and lower case of the resource apart."""
    expiry: Annotated[str, tyro.conf.arg(aliases=["-e"])] = "28d"
    """Oldest stamp accepted, with a unit: s, m, h, d, w, M or y; 0 accepts any date."""
    grace: Annotated[str, tyro.conf.arg(aliases=["-g"])] = "2d"
    """How far clocks may differ: accepted beyond the expiry, and in the future."""
    algorithm: Algorithm = "sha1"
    """Digest the stamp was minted under."""
    quiet: Quiet = False
    """Print nothing, only exit."""


@dataclass(frozen=True, slots=True)
class Info:
    """Say which kernel this host runs, how fast, where it is cached, and what work costs here."""

    work: int = 1 << 30
    """Expected hashes to convert into seconds on several devices."""


@dataclass(frozen=True, slots=True)
class Warm:
    """Compile the kernels of this host into the on-disk cache."""

    algorithms: tuple[Literal["sha1", "sha256"], ...] = ("sha1", "sha256")
    """Hashes to compile for."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 when it worked, 1 for a bad stamp, 2 for a mistake in the arguments."""
    return core_command.run(lambda: _chosen(arguments), lambda: (RuntimeError,), code=2)


def _chosen(arguments: list[str] | None) -> int:
    commands: dict[str, Callable[..., Any]] = {
        "mint": Mint,
        "check": Check,
        "info": Info,
        "warm": Warm,
    }
    command = tyro.extras.subcommand_cli_from_dict(
        commands,
        prog="python -m pow",
        description=__doc__,
        args=arguments,
    )
    if isinstance(command, Mint):
        return mint(command)
    if isinstance(command, Check):
        return check(command)
    if isinstance(command, Info):
        return info(command)
    return warm(command)


def mint(command: Mint) -> int:
    from pow.hashcash import mint as mint_stamp

    resources = [r for r in (command.name, command.resource) if r is not None]
    if len(resources) != 1:
        raise ValueError("one resource is needed, as an argument or with -r")
    started = time.perf_counter()
    stamp = mint_stamp(
        resources[0],
        command.bits,
        command.algorithm,
        ext=command.ext,
        date_width=command.width,
        threads=command.threads,
    )
    print(f"X-Hashcash: {stamp}" if command.header else stamp)
    if not command.quiet:
        print(f"minted in {time.perf_counter() - started:.2f} s", file=sys.stderr)
    return 0


def check(command: Check) -> int:
    check_bits(command.bits)
    age = duration(command.expiry)
    grace = duration(command.grace, "grace period")
    if command.stamps:
        stamps = listed(command.stamps)
    else:
        stamps = of_mail(_input()) if command.header else listed(_input())
    if not stamps:
        if command.header:
            print("no X-Hashcash header was found", file=sys.stderr)
            return 1
        raise ValueError("no stamp was given, neither as an argument nor on standard input")
    now, bad = time.time() if age else None, 0  # with -e 0 the classic program reads no date
    for stamp in stamps:
        why = refusal(
            stamp,
            command.bits,
            command.resource,
            command.algorithm,
            now,
            age or None,
            grace=grace,
            any_case=not command.case,
        )
        bad += why is not None
        if not command.quiet:
            print(f"{stamp}: {why or 'ok'}")
    return int(bad == len(stamps) if command.header else bad > 0)


def _input() -> Iterator[str]:
    """Lines of standard input: a mail may hold any bytes, and begin with a byte-order mark."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace")
    return (line.rstrip("\r\n") for line in sys.stdin)


def duration(text: str, what: str = "expiry") -> float:
    """Seconds of "90", "10m" or "28d"."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    if not number.isascii() or not number.isdigit() or len(number) > 12:
        raise ValueError(f"the {what} is {text!r}, expected a number and s, m, h, d, w, M or y")
    return float(int(number) * _UNITS[unit])


def info(command: Info) -> int:
    from rich.table import Column, Table

    from pow.native.compiled import cache_folder, host_processor, kernel_name
    from pow.puzzle import puzzle_for
    from pow.rate import DEVICES, host_name, measure, seconds

    puzzle = puzzle_for(command.work)
    out = _console(stderr=False)
    out.print(f"host       {host_name()} ({host_processor()})")
    out.print(f"kernel     {kernel_name()}")
    out.print(f"cache      {cache_folder() or 'nowhere to write: compiled anew each time'}")
    out.print(f"work       {command.work} hashes: {puzzle.count} stamps of {puzzle.bits} bits")
    headings = ("device", "sha1", "sha256", "source")
    columns = (Column(heading, overflow="fold") for heading in headings)
    table = Table(*columns, title="seconds for this work")
    native = {a: measure(a, 0.1) for a in ("sha1", "sha256")}
    plain = {a: measure(a, 0.1, kernel="hashlib") for a in ("sha1", "sha256")}
    for name, rates in (("here, native, one thread", native), ("here, plain Python", plain)):
        cells = [f"{seconds(command.work, rates[a], a):.3g}" for a in rates]
        table.add_row(name, *cells, "measured now")
    for device in DEVICES:
        cells = [f"{seconds(command.work, device, a):.3g}" for a in native]
        table.add_row(device.name, *cells, device.source)
    out.print(table)
    out.print(f"measured   {format_date(time.time())} UTC")
    return 0


def warm(command: Warm) -> int:
    from rich.progress import track

    from pow.native.compiled import kernel_name
    from pow.solver import search

    started = time.perf_counter()
    # a prefix of two blocks that ends where the fast scan wants it, and one that does not
    jobs = [(a, length) for a in command.algorithms for length in (124, 10)]
    for algorithm, length in track(jobs, "compiling", console=_console(), transient=True):
        search("x" * length, 12, 1, algorithm=algorithm, kernel=kernel_name())
    print(f"{kernel_name()} kernels ready in {time.perf_counter() - started:.1f} s")
    return 0


def _console(*, stderr: bool = True) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


if __name__ == "__main__":
    sys.exit(main())
