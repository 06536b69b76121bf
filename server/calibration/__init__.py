"""Calibration: what honest clients cost, how fast this host answers and hashes, what to charge.

Made by `server.calibration.make`, stored as JSON beside the model; every constant of a price
is in it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.documents import read_json, shown
from core.learning import artifacts
from pow.rate import Rate as HashRate
from server.measures import file_stem
from server.model import folder
from server.pricing import BATCH, Band, NoPrice, Paper, Policy, PolicyTariff, Rate, Score
from server.puzzles import Puzzles

LONGEST = 86_400.0
"""Largest t_max in seconds: a challenge stays open for a day at most."""

STEEPEST = 64.0
"""Largest kappa of a price."""

LEAST = 1e-12
"""Least mean cost of honest images that a price can rest on."""

MOST = 1e9
"""Largest privacy cost of an image: a ledger counts nano-units in 64 bits."""

_NUMBERS = {
    "mean": (LEAST, MOST),
    "spread": (0.0, MOST),
    "slope": (-MOST, MOST),
    "intercept": (-MOST, MOST),
    "service": (1e-9, LONGEST),
    "t_min": (1e-12, LONGEST),
    "t_max": (1e-12, LONGEST),
    "tolerance": (0.0, MOST),
    "entry": (0.0, 1e9),
    "bearable": (1.0, MOST),
    "base": (1.0, 1e3),
}
"""The constants of a calibration, and the least and the most each can be."""


class CalibrationError(Exception):
    """A calibration that cannot be made or must not be used; one readable line."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything a price rests on. Seconds are per 64 images."""

    model: str
    measure: str
    fingerprint: str
    mean: float  # privacy cost of an honest image
    spread: float  # its standard deviation over images
    slope: float  # the paper's line: cost of honest queries
    intercept: float
    service: float  # seconds a client waits under policy none
    rates: dict[str, dict[str, Any]]  # algorithm -> pow.rate.Rate
    t_min: float  # prices are powers of two in hashes: `policy` rounds both ends down to one
    t_max: float
    scores: list[dict[str, Any]]  # server.pricing.Score
    tolerance: float
    entry: float  # work of entry, in prices of one honest query
    base: float
    images: dict[str, int]  # how many were fitted to, chosen with, checked on, left out as outliers
    overhead: dict[str, dict[str, float]]  # kind of client -> median, p99 on unseen traffic
    bearable: float  # what the p99 was to stay under
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        """Raises ValueError for a constant that no price can rest on."""
        for name in ("model", "measure", "fingerprint"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {shown(getattr(self, name))}; expected text")
        for name, bounds in _NUMBERS.items():
            _number(name, getattr(self, name), *bounds)
        if not self.t_min <= self.t_max:
            raise ValueError(
                f"t_max is {self.t_max} s; expected from t_min, {self.t_min} s, to {LONGEST:g} s"
            )
        if self.entry * self.t_min / BATCH > LONGEST:
            raise ValueError(
                f"entry is {self.entry:g} queries, {self.entry * self.t_min / BATCH:.3g} s of "
                f"work; expected at most {LONGEST:g} s, for which a challenge is open"
            )
        for name in ("rates", "images", "overhead", "provenance"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"{name} is {shown(getattr(self, name))}; expected a table")
        for what, count in self.images.items():
            _number(f"images.{what}", count, 0, MOST)
        for kind, found in self.overhead.items():
            for quantile in ("median", "p99"):
                value = found.get(quantile) if isinstance(found, dict) else None
                _number(f"overhead.{kind}.{quantile}", value, 0, math.inf)
        for algorithm, rate in self.rates.items():
            if HashRate.from_json(rate).algorithm != algorithm:
                raise ValueError(f"the rate of {algorithm} is one of another algorithm")
        if not isinstance(self.scores, list) or not self.scores:
            raise ValueError(f"scores is {shown(self.scores)}; expected a list of at least one")
        starts = [_score(score).threshold for score in self.scores]
        if starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
            raise ValueError(f"the scores begin at {starts}; expected 0, then rising")
        if "sha1" not in self.rates:
            raise ValueError("no hash rate of sha1 is known; calibrate again")

    def hash_rate(self, algorithm: str = "sha1") -> float:
        """Hashes per second of the native solver on one thread. Raises ValueError."""
        if algorithm not in self.rates:
            raise ValueError(f"no hash rate of {algorithm} is known; calibrate again")
        return float(HashRate.from_json(self.rates[algorithm]).hashes_per_second)

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
            scores = tuple(_score(score) for score in self.scores)
            return Rate(scores, self.tolerance, t_min, t_max)
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
        content = read_json(file)
        wanted = {field.name for field in fields(Calibration)}
        if not isinstance(content, dict) or set(content) != wanted:
            raise ValueError("not a calibration of this version")
        calibration = Calibration(**content)
    except FileNotFoundError as error:
        raise CalibrationError(f"{file} is missing; run `python -m server calibrate`") from error
    except (OSError, OverflowError, TypeError, ValueError) as error:
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


def _score(content: Mapping[str, Any]) -> Score:
    """Raises ValueError."""
    try:
        threshold = _number("threshold", content["threshold"], 0.0, MOST)
        honest = _number("honest", content["honest"], LEAST, MOST)
        kappa = _number("kappa", content["kappa"], 0.0, STEEPEST)
        images, limits = content["band"]["images"], content["band"]["limits"]
        band = Band(
            tuple(int(_number("images", count, 1, MOST)) for count in images),
            tuple(tuple(_number("limit", limit, 0.0, MOST) for limit in row) for row in limits),
        )
    except KeyError as error:
        raise ValueError(f"a score has no {error}") from error
    except TypeError as error:
        raise ValueError(f"a score is unreadable: {error}") from error
    return Score(threshold, honest, band, kappa)


def _number(name: str, value: object, least: float, most: float) -> float:
    """A number of a calibration. Raises ValueError for what is none, or out of bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {shown(value)}; expected a number")
    if not least <= value <= most or math.isinf(value):
        raise ValueError(
            f"{name} is {shown(value)}; expected a finite number from {least:g} to {most:g}"
        )
    return float(value)
