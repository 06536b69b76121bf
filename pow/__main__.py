"""Command line: mint and check stamps, say what work costs here, compile the kernels.

The short options of mint and check are those of the classic hashcash program where both have them.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import tyro

from core import command
from pow.hashcash import check_bits, format_date, refusal
from pow.headers import listed, of_mail
from pow.puzzle import puzzle_for
from pow.rate import DEVICES, host_name, measure, seconds
from pow.solver import mint, search

Algorithm = Literal["sha1", "sha256", "argon2id"]

_DAY, _YEAR = 86_400, 31_536_000
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY, "M": 30 * _DAY}
_UNITS.update(y=_YEAR, Y=_YEAR)


def _short(letter: str) -> Any:
    return tyro.conf.arg(aliases=[f"-{letter}"])


@dataclass(frozen=True, slots=True)
class Mint:
    """Mint a stamp and print it."""

    name: tyro.conf.Positional[str | None] = None
    """Whom or what the stamp is for: printable ASCII without spaces and colons."""
    resource: Annotated[str | None, _short("r")] = None
    """The same as an option."""
    bits: Annotated[int, _short("b")] = 20
    """Leading zero bits; every one more doubles the time."""
    ext: Annotated[str, _short("x")] = ""
    """Extension field."""
    width: Annotated[Literal[6, 10, 12], _short("z")] = 12
    """Digits of the date: to the day, the minute or the second."""
    algorithm: Algorithm = "sha1"
    """Digest the stamp is worth something under; other programs only know sha1."""
    threads: int = 1
    """Threads to search with."""
    header: Annotated[bool, _short("X")] = False
    """Print the stamp as a mail header, X-Hashcash."""
    quiet: Annotated[bool, _short("q")] = False
    """Print nothing but the stamp."""

    def run(self) -> int:
        resources = [r for r in (self.name, self.resource) if r is not None]
        if len(resources) != 1:
            raise ValueError("one resource is needed, as an argument or with -r")
        started = time.perf_counter()
        stamp = mint(
            resources[0],
            self.bits,
            self.algorithm,
            ext=self.ext,
            date_width=self.width,
            threads=self.threads,
        )
        print(f"X-Hashcash: {stamp}" if self.header else stamp)
        if not self.quiet:
            print(f"minted in {time.perf_counter() - started:.2f} s", file=sys.stderr)
        return 0


@dataclass(frozen=True, slots=True)
class Check:
    """Check stamps, given as arguments or one a line on standard input; exit 1 if any is bad.

    A stamp may be given as a mail header: X-Hashcash or Hashcash in any case, folded or not.
    """

    stamps: tyro.conf.Positional[tuple[str, ...]] = ()
    """The stamps."""
    header: Annotated[bool, _short("X")] = False
    """Standard input is a mail: look at its X-Hashcash headers, of which one has to be good."""
    bits: Annotated[int, _short("b")] = 20
    """Bits a stamp must be worth."""
    resource: Annotated[str | None, _short("r")] = None
    """Whom or what it must be for, upper and lower case alike; not looked at when left out."""
    case: Annotated[bool, _short("C")] = False
    """Tell upper and lower case of the resource apart."""
    expiry: Annotated[str, _short("e")] = "28d"
    """Oldest stamp accepted, with a unit: s, m, h, d, w, M or y; 0 accepts any date."""
    grace: Annotated[str, _short("g")] = "2d"
    """How far clocks may differ: accepted beyond the expiry, and in the future."""
    algorithm: Algorithm = "sha1"
    """Digest the stamp was minted under."""
    quiet: Annotated[bool, _short("q")] = False
    """Print nothing, only exit."""

    def run(self) -> int:
        check_bits(self.bits)
        age, grace = duration(self.expiry), duration(self.grace, "grace period")
        if self.stamps:
            stamps = listed(self.stamps)
        else:
            stamps = of_mail(_input()) if self.header else listed(_input())
        if not stamps and self.header:
            print("no X-Hashcash header was found", file=sys.stderr)
            return 1
        if not stamps:
            raise ValueError("no stamp was given, neither as an argument nor on standard input")
        now = time.time() if age else None  # with -e 0 the classic program reads no date
        bad = 0
        for stamp in stamps:
            why = refusal(
                stamp,
                self.bits,
                self.resource,
                self.algorithm,
                now,
                age or None,
                grace=grace,
                any_case=not self.case,
            )
            bad += why is not None
            if not self.quiet:
                print(f"{stamp}: {why or 'ok'}")
        return int(bad == len(stamps) if self.header else bad > 0)


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


@dataclass(frozen=True, slots=True)
class Info:
    """Say which kernel this host runs, how fast, where it is cached, and what work costs here."""

    work: int = 1 << 30
    """Expected hashes to convert into seconds on several devices."""

    def run(self) -> int:
        from rich.console import Console
        from rich.table import Column, Table

        from pow.native.compiled import cache_folder, host_processor, kernel_name

        puzzle = puzzle_for(self.work)
        out = Console()
        out.print(f"host       {host_name()} ({host_processor()})")
        out.print(f"kernel     {kernel_name()}")
        out.print(f"cache      {cache_folder() or 'nowhere to write: compiled anew each time'}")
        out.print(f"work       {self.work} hashes: {puzzle.count} stamps of {puzzle.bits} bits")
        headings = ("device", "sha1", "sha256", "source")
        columns = (Column(heading, overflow="fold") for heading in headings)
        table = Table(*columns, title="seconds for this work")
        here = (("here, native, one thread", "auto"), ("here, plain Python", "hashlib"))
        for name, kernel in here:
            rates = [measure(a, 0.1, kernel=kernel) for a in headings[1:3]]
            cells = [f"{seconds(self.work, rate, rate.algorithm):.3g}" for rate in rates]
            table.add_row(name, *cells, "measured now")
        for device in DEVICES:
            cells = [f"{seconds(self.work, device, a):.3g}" for a in headings[1:3]]
            table.add_row(device.name, *cells, device.source)
        out.print(table)
        out.print(f"measured   {format_date(time.time())} UTC")
        return 0


@dataclass(frozen=True, slots=True)
class Warm:
    """Compile the kernels of this host into the on-disk cache."""

    algorithms: tuple[Literal["sha1", "sha256"], ...] = ("sha1", "sha256")
    """Hashes to compile for."""

    def run(self) -> int:
        from pow.native.compiled import kernel_name

        started = time.perf_counter()
        for algorithm in self.algorithms:
            search("x" * 124, 12, 1, algorithm=algorithm)  # two blocks: every kernel is called
        print(f"{kernel_name()} kernels ready in {time.perf_counter() - started:.1f} s")
        return 0


VERBS: Final[dict[str, Callable[..., Any]]] = {
    "mint": Mint,
    "check": Check,
    "info": Info,
    "warm": Warm,
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 when it worked, 1 for a bad stamp, 2 for a mistake in the arguments."""

    def chosen() -> int:
        verb = tyro.extras.subcommand_cli_from_dict(
            VERBS, prog="python -m pow", description=__doc__, args=arguments
        )
        return int(verb.run())

    return command.run(chosen, lambda: (RuntimeError,), code=2)


if __name__ == "__main__":
    sys.exit(main())
