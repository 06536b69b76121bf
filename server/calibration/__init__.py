"""Calibration: costs of honest clients, service time and hash rate of this host, and the price.

Made by `server.calibration.make`, stored as JSON beside the model; every constant of a price
is in it.
"""

import json
import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from core.documents import read_json
from core.learning import artifacts
from core.validation import Mistakes, validate
from pow.rate import Rate as HashRate
from server.measures import file_stem
from server.model import folder
from server.pricing import NoPrice, Policy, PolicyTariff
from server.pricing.paper import Paper
from server.pricing.rate import MOST, Cost, Mean, Rate, Score
from server.puzzles import BATCH, Puzzles

LONGEST = 86_400.0
"""Largest t_max in seconds: a challenge stays open for a day at most."""

MISTAKES = 3
"""Mistakes of a file that its error tells."""

Seconds = Annotated[float, Field(ge=1e-12, le=LONGEST)]
Signed = Annotated[float, Field(ge=-MOST, le=MOST)]
Overhead = Annotated[float, Field(ge=0)]


class CalibrationError(ValueError):
    """A calibration that cannot be read or must not be used; one readable line."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Overhead of half, and of 99 in 100, batches of a kind of client."""

    median: Overhead
    p99: Overhead


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything a price rests on. Seconds are per 64 images.

    Raises ValueError for constants that no price can rest on.
    """

    model: str
    measure: str
    fingerprint: str
    mean: Mean  # privacy cost of an honest image
    spread: Cost  # its standard deviation over images
    slope: Signed  # the paper's line: cost of honest queries
    intercept: Signed
    service: Annotated[float, Field(ge=1e-9, le=LONGEST)]  # a client waits under policy none
    rates: dict[str, HashRate]  # by algorithm
    t_min: Seconds  # prices are powers of two in hashes: `policy` rounds both ends down to one
    t_max: Seconds
    scores: Annotated[tuple[Score, ...], Field(min_length=1)]
    tolerance: Cost
    entry: Annotated[float, Field(ge=0, le=1e9)]  # work of entry, in prices of one honest query
    base: Annotated[float, Field(ge=1, le=1e3)]
    # How many were fitted to, chosen with, checked on, left out as outliers:
    images: dict[str, Annotated[int, Field(ge=0)]]
    overhead: dict[str, Quantiles]  # by kind of client, on unseen traffic
    bearable: Annotated[float, Field(ge=1, le=MOST)]  # what the p99 was to stay under
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.t_min <= self.t_max:
            raise ValueError(f"t_max is {self.t_max} s; expected at least t_min, {self.t_min} s")
        if self.entry * self.t_min / BATCH > LONGEST:
            raise ValueError(
                f"entry is {self.entry:g} queries, {self.entry * self.t_min / BATCH:.3g} s of "
                f"work; expected at most {LONGEST:g} s, for which a challenge is open"
            )
        starts = [score.threshold for score in self.scores]
        if starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
            raise ValueError(f"the scores begin at {starts}; expected 0, then rising")
        for algorithm, rate in self.rates.items():
            if rate.algorithm != algorithm:
                raise ValueError(f"the rate of {algorithm} is one of {rate.algorithm}")
        self.hash_rate()  # the least that is needed

    def hash_rate(self, algorithm: str = "sha1") -> float:
        """Hashes per second of the native solver on one thread. Raises ValueError."""
        if algorithm not in self.rates:
            raise ValueError(f"no hash rate of {algorithm} is known; calibrate again")
        return self.rates[algorithm].hashes_per_second

    def policy(self, name: str, algorithm: str = "sha1") -> Policy:
        """The policy `none`, `paper` or `rate` with these constants. Raises ValueError."""
        rate = self.hash_rate(algorithm)
        t_min = power_of_two_seconds(self.t_min, rate)
        t_max = max(t_min, power_of_two_seconds(self.t_max, rate))
        if name == "none":
            return NoPrice()
        if name == "paper":
            return Paper(self.base, self.slope, self.intercept, t_min, t_max)
        if name == "rate":
            return Rate(self.scores, self.tolerance, t_min, t_max)
        raise ValueError(f"policy {name!r} is unknown; expected none, paper or rate")

    def tariff(self, name: str, algorithm: str = "sha1") -> PolicyTariff:
        """What a ledger needs to price with policy `name` and puzzles of `algorithm`.

        Work is counted in hashes of SHA-1, under sha256 in those of SHA-256.
        """
        counted_in = "sha256" if algorithm == "sha256" else "sha1"
        rate = self.hash_rate(counted_in)
        a_query = power_of_two_seconds(self.t_min, rate) * rate / BATCH
        ratio = 1.0
        if algorithm == "argon2id":
            ratio = self.hash_rate("argon2id") / self.hash_rate("sha1")
        return PolicyTariff(
            self.policy(name, counted_in),
            rate,
            self.mean,
            Puzzles(algorithm, ratio),
            entry=round(self.entry * a_query),
        )


def path(home: Path, name: str, measure: str) -> Path:
    """Where the calibration of a model is kept."""
    return folder(home, name) / f"calibration-{file_stem(measure)}.json"


def save(calibration: Calibration, file: Path) -> None:
    """Writes it whole or not at all, for its owner only. Raises ArtifactError."""
    text = json.dumps(asdict(calibration), indent=2, allow_nan=False)
    artifacts.write_atomically(file, text.encode(), private=True)


def load(file: Path, fingerprint: str) -> Calibration:
    """A calibration made for exactly this model and measure. Raises CalibrationError."""
    try:
        calibration = validate(Calibration, read_json(file))
    except FileNotFoundError as error:
        raise CalibrationError(f"{file} is missing; run `python -m server calibrate`") from error
    except Mistakes as found:
        more = len(found.mistakes) - MISTAKES
        said = [*found.mistakes[:MISTAKES], *([f"and {more} more"] if more > 0 else [])]
        raise CalibrationError(f"{file}: {'; '.join(said)}; calibrate again") from found
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{file} cannot be read: {error}; calibrate again") from error
    if calibration.fingerprint != fingerprint:
        raise CalibrationError(
            f"{file} was made for fingerprint {calibration.fingerprint[:12]}, "
            f"but the model has {fingerprint[:12]}; calibrate again"
        )
    return calibration


def power_of_two_seconds(seconds: float, rate: float) -> float:
    """The longest time up to `seconds` whose work for 64 images is a power of two (at least 64).

    Prices are rounded up to powers of two; a floor and a cap that are powers already stay exact.
    """
    hashes = 1 << max(6, math.floor(math.log2(max(seconds * rate, 1.0))))
    return (hashes - 0.5) / rate
