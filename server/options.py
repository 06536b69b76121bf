"""The flags of `python -m server`: plain dataclasses, cheap to import."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from core.home import default_home
from server.defences import Defence, Name, load

DEFAULT_MEASURE = "surprisal:typicality"
"""What docs/accounting.md supports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Train a victim and its measure, where they are not there yet."""

    home: Path = field(default_factory=default_home)
    """Folder of artifacts."""
    model: str = "mnist5k"
    """Name of the model to make."""
    dataset: str = "mnist5k"
    network: str = "lenet"
    measure: str = DEFAULT_MEASURE
    """NAME or surprisal:NAME+NAME...; heads, teachers, knn, entropy, gap, typicality."""
    seed: int = 0
    defence: Name = "none"
    """Also train what this defence looks at."""
    surrogates: int = 3
    """Networks that gradient_redirection looks at; each sees every query."""
    data: Path | None = None
    """Folder with image data that does not come with a package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrate:
    """Measure honest costs, service time and hash rate, and fit the prices."""

    home: Path = field(default_factory=default_home)
    model: str = "mnist5k"
    measure: str = DEFAULT_MEASURE
    seed: int = 0
    t_max: float | None = None
    """Highest price, in seconds of work per 64 images (default: 8000 times the cheapest)."""
    overhead_median: float = 1.25
    """What an honest user may wait in all, in service times: the floor of the price."""
    overhead_p99: float = 2.0
    """The same for 99 in 100 honest batches: how steep the price may be."""
    seconds: float | None = None
    """Seconds of work per 64 images that 99 in 100 honest batches may cost, where stricter."""
    drifts: tuple[Literal["tilted", "dimmed", "blurred"], ...] = ("tilted", "dimmed", "blurred")
    """What honest users' images may do within these targets. Fewer make a steeper price."""
    entry: float = 500.0
    """Work of a client's first answer besides its price, in prices of one honest image."""
    json: bool = False
    """Print the calibration as JSON instead of a summary."""
    copy: Path | None = None
    """Write the calibration to this file, too."""
    data: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Serve a prepared model behind the gate."""

    home: Path = field(default_factory=default_home)
    model: str = "mnist5k"
    measure: str = DEFAULT_MEASURE
    policy: Literal["none", "paper", "rate"] = "rate"
    calibration: Path | None = None
    """JSON file that prices rest on (default: what `calibrate` left beside the model)."""
    host: str = "127.0.0.1"
    port: int = 50_051
    """0 takes a free port; the address is printed when the gate is ready."""
    keys: Path | None = None
    """TOML file of API keys: OWNER = "SHA-256 of the key in hex"."""
    open: bool = False
    """Believe the client-id that callers name; on loopback only."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    name: tuple[str, ...] = ()
    """Public host names of this gate, as its users dial it (default: those of the certificate)."""
    insecure: bool = False
    """Let API keys travel in clear, off loopback: where a proxy in front speaks TLS."""
    ledger: Path | None = None
    """SQLite file (default: ledger.db beside the model; an open or virtual gate has its own)."""
    retention: float = 7.0
    """Days for which a charge is kept after its challenge expired; accounts are kept for ever."""
    record: Path | None = None
    """Write one JSON line a request to this new file."""
    defence: Name = "none"
    """What answers are perturbed by, after they were measured and priced; its settings follow it
    as --defence.x (`--defence NAME --help` lists them)."""
    defence_config: Annotated[Defence | None, tyro.conf.Suppress] = None
    puzzle: Literal["sha1", "sha256", "argon2id"] = "sha1"
    """argon2id is memory-hard; prices too small for it are asked in SHA-1."""
    virtual: bool = False
    """Ask for virtual work only: the client draws the time and does not spend it. Experiments."""


def serving(arguments: Sequence[str]) -> type[Serve]:
    """`Serve` with the settings of the defence that a command line names, as flags `--defence.x`.

    Raises ValueError for an unknown defence.
    """
    named = [
        value
        for word, after in zip_longest(arguments, arguments[1:], fillvalue="")
        for flag, equals, value in [word.partition("=") if "=" in word else (word, "=", after)]
        if flag == "--defence"
    ]
    config = load(named[-1]) if named else None
    if config is None:
        return Serve
    # Values out of range are refused in one line by who uses them, not by tyro in a box.
    unchecked: Any = type("Settings", (config,), {"__slots__": (), "__post_init__": _accept})
    settings: Any = Annotated[unchecked, tyro.conf.arg(name="defence")]
    return dataclasses.make_dataclass(
        "Serve",
        [("defence_config", settings, field(default_factory=unchecked))],
        bases=(Serve,),
        frozen=True,
        kw_only=True,
    )


def _accept(settings: Defence) -> None:
    """Takes all settings of a defence."""
