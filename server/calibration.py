"""Calibration: what honest clients cost, how fast this host answers and hashes, what to charge.

Fitted on held-out honest images that no client of an experiment ever sends: one half gives mean and
spread, the other, unseen, decides how steep the price may be. Stored as JSON beside the model.
"""

import asyncio
import json
import math
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from core import artifacts, records
from core.arrays import to_float
from core.datasets import Split
from pow.challenge import Keyring
from pow.rate import Rate as HashRate
from protos import codec, gate_pb2, gate_pb2_grpc
from server.authentication import OpenDoor
from server.ledger import NANO, Account
from server.ledger.sqlite import SqliteLedger
from server.measures import file_stem
from server.model import Model, folder
from server.pricing import BATCH, Free, Paper, Policy, PolicyTariff, Rate, work_for
from server.puzzles import Puzzles
from server.serve import Parts, running

SERVICE_SHARE = 0.25
"""Default t_min, as a share of the service time."""

CAP = 8_000
"""Default t_max, in t_min."""

KAPPAS = np.arange(12.0, 0.0, -0.25)
"""Steepnesses tried, from the largest."""

OVERHEAD_P99 = 2.0
"""Default overhead that 99 in 100 honest batches must stay under."""

TOLERANCE = 0.05
Z = 3.0
PAPER_BASE = 1.0075

FREE = PolicyTariff(Free(), rate=1.0, honest=0.0, puzzles=Puzzles("sha1"))
"""What the service time is measured under."""

LONGEST = 86_400.0
"""Largest t_max in seconds: a challenge stays open for a day at most."""

CLIENTS = 50
"""Simulated honest clients of each kind."""

CLIENT_IMAGES = 640
CLIENT_BATCHES = (1, 16, 64)
SKEW = 1.0
"""Dirichlet concentration of the class mix of a skewed client: 1 makes every mix equally likely."""


_NUMBERS = {
    "mean": 1e-12,
    "spread": 0.0,
    "slope": -math.inf,
    "intercept": -math.inf,
    "service": 1e-9,
    "t_min": 1e-12,
    "t_max": 1e-12,
    "kappa": 0.0,
    "tolerance": 0.0,
    "z": 0.0,
    "base": 1.0,
}
"""The constants of a calibration, and the least each can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What honest users may be asked to bear; the strictest holds. Raises ValueError."""

    median: float = 1 + SERVICE_SHARE  # overhead, (service + work) / service, of most batches
    p99: float = OVERHEAD_P99  # of 99 in 100 batches
    seconds: float | None = None  # of work per 64 images, for 99 in 100 batches

    def __post_init__(self) -> None:
        if not (math.isfinite(self.median) and self.median > 1):
            raise ValueError(f"the median overhead is {self.median}; expected more than 1")
        if not (math.isfinite(self.p99) and self.p99 >= self.median):
            raise ValueError(f"the p99 overhead is {self.p99}; expected the median's or more")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ValueError(f"the seconds allowed are {self.seconds}; expected more than 0")

    def t_min(self, service: float) -> float:
        """Seconds of work per 64 images that everyone can be asked."""
        return min((self.median - 1) * service, self.seconds or math.inf)

    def overhead(self, service: float) -> float:
        """Overhead that 99 in 100 batches may have."""
        return min(self.p99, 1 + (self.seconds or math.inf) / service)


DEFAULT_TARGETS = Targets()


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
    kappa: float
    tolerance: float
    z: float
    base: float
    overhead: dict[str, dict[str, float]]  # kind of client -> median, p99 on unseen traffic
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        """Raises ValueError for a constant that no price can rest on."""
        for name in ("model", "measure", "fingerprint"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected text")
        for name, least in _NUMBERS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} is {value!r}; expected a number")
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"{name} is {value}; expected a finite number from {least:g}")
        if not self.t_min <= self.t_max <= LONGEST:
            raise ValueError(
                f"t_max is {self.t_max} s; expected from t_min, {self.t_min} s, to {LONGEST:g} s"
            )
        for name in ("rates", "overhead", "provenance"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected a table")
        for algorithm, rate in self.rates.items():
            if HashRate.from_json(rate).algorithm != algorithm:
                raise ValueError(f"the rate of {algorithm} is one of another algorithm")

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
            return Free()
        if name == "paper":
            return Paper(self.base, self.slope, self.intercept, t_min, t_max)
        if name == "rate":
            return Rate(self.mean, self.spread, self.kappa, self.tolerance, self.z, t_min, t_max)
        raise ValueError(f"policy {name!r} is unknown; expected none, paper or rate")

    def tariff(self, name: str, algorithm: str = "sha1") -> PolicyTariff:
        """What a ledger needs to price with policy `name` and puzzles of `algorithm`.

        Work is counted in hashes of SHA-1, under sha256 in those of SHA-256.
        """
        counted_in = "sha256" if algorithm == "sha256" else "sha1"
        ratio = 1.0
        if algorithm == "argon2id":
            ratio = self.hash_rate("argon2id") / self.hash_rate("sha1")
        return PolicyTariff(
            self.policy(name, counted_in),
            self.hash_rate(counted_in),
            self.mean,
            Puzzles(algorithm, ratio),
        )


def path(home: Path, name: str, measure: str) -> Path:
    """Where the calibration of a model is kept."""
    return folder(home, name) / f"calibration-{file_stem(measure)}.json"


def save(calibration: Calibration, file: Path) -> None:
    """Writes it whole or not at all."""
    text = json.dumps(asdict(calibration), indent=2, allow_nan=False)
    artifacts.write_atomically(file, text.encode())


def load(file: Path, fingerprint: str) -> Calibration:
    """A calibration made for exactly this model and measure. Raises CalibrationError."""
    try:
        content = json.loads(file.read_text())
        wanted = {field.name for field in fields(Calibration)}
        if not isinstance(content, dict) or set(content) != wanted:
            raise ValueError("not a calibration of this version")
        calibration = Calibration(**content)
    except FileNotFoundError as error:
        raise CalibrationError(f"{file} is missing; run `python -m server calibrate`") from error
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{file} cannot be read: {error}; calibrate again") from error
    if calibration.fingerprint != fingerprint:
        raise CalibrationError(
            f"{file} was made for fingerprint {calibration.fingerprint[:12]}, "
            f"but the model has {fingerprint[:12]}; calibrate again"
        )
    return calibration


def calibrate(
    model: Model,
    measure: str,
    honest: Split,
    *,
    seed: int,
    t_max: float | None,
    rates: Mapping[str, HashRate],
    targets: Targets = DEFAULT_TARGETS,
) -> Calibration:
    """Fits a calibration on held-out honest images. `t_max` in seconds, default CAP * t_min.

    Raises CalibrationError for too few images, or honest images that cost nothing.
    """
    if len(honest.images) < 4:
        raise CalibrationError(f"{len(honest.images)} calibration images; expected at least 4")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(honest.images))
    costs, labels = costs_of(model, honest)[order], honest.labels[order]
    seen, unseen = np.array_split(np.arange(len(costs)), 2)
    mean, spread = float(costs[seen].mean()), float(costs[seen].std())
    if not mean > 0:
        raise CalibrationError(f"honest images cost {mean} on average; expected more than 0")
    slope, intercept = _line(costs[seen])
    service = asyncio.run(measure_service(model, honest.images))
    t_min = targets.t_min(service)
    draft = Calibration(
        model=model.name,
        measure=measure,
        fingerprint=model.fingerprint,
        mean=mean,
        spread=spread,
        slope=slope,
        intercept=intercept,
        service=service,
        rates={algorithm: rate.to_json() for algorithm, rate in rates.items()},
        t_min=t_min,
        t_max=t_max or min(CAP * t_min, LONGEST),
        kappa=0.0,
        tolerance=TOLERANCE,
        z=Z,
        base=PAPER_BASE,
        overhead={},
        provenance=records.provenance(seed),
    )
    judge = draft.policy("rate")
    assert isinstance(judge, Rate)
    traffic = {}
    for kind, skew in (("iid", None), ("skewed", SKEW)):
        traffic[kind] = np.array(
            [
                (judge.excess(account), images)
                for size in CLIENT_BATCHES
                for history in histories(
                    costs[unseen], labels[unseen], size=size, skew=skew, rng=rng
                )
                for account, images in accounts(history)
            ]
        )
    return _steepest(draft, traffic, targets.overhead(service))


def costs_of(model: Model, split: Split) -> NDArray[np.float64]:
    """Privacy cost (n,) of every image of a split."""
    parts = []
    for start in range(0, len(split.images), BATCH):
        images = to_float(split.images[start : start + BATCH])
        parts.append(model.measure.cost(images, model.victim.answer(images)))
    return np.concatenate(parts)


def histories(
    costs: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    size: int,
    skew: float | None,
    rng: np.random.Generator,
) -> Iterator[NDArray[np.float64]]:
    """Costs (batches, size) of honest clients, drawn with replacement; `skew` = class mix."""
    for _ in range(CLIENTS):
        weights = np.ones(len(costs))
        if skew is not None:
            classes, index = np.unique(labels, return_inverse=True)
            mix = rng.dirichlet(np.full(len(classes), skew))
            weights = mix[index] / np.bincount(index)[index]
        picked = rng.choice(len(costs), size=CLIENT_IMAGES, p=weights / weights.sum())
        yield costs[picked].reshape(-1, size)


def accounts(history: NDArray[np.float64]) -> Iterator[tuple[Account, int]]:
    """The account after each batch of a client that pays for all of them, and the batch's size."""
    account = Account()
    for batch in history:
        account = account.counting(len(batch), round(float(batch.sum()) * NANO))
        yield account, len(batch)


def _steepest(
    draft: Calibration, traffic: dict[str, NDArray[np.float64]], bearable: float
) -> Calibration:
    """The draft with the largest kappa under which the p99 overhead is bearable.

    `traffic` holds (excess, images) of each batch of each kind of client. Overhead grows with
    kappa, so the largest bearable one is found by bisection.
    """
    found: tuple[float, dict[str, dict[str, float]]] | None = None
    low, high = 0, len(KAPPAS)  # everything from `high` on is bearable
    while low < high:
        middle = (low + high) // 2
        kappa = float(KAPPAS[middle])
        overhead = {kind: _overhead(draft, kappa, batches) for kind, batches in traffic.items()}
        if all(kind["p99"] <= bearable for kind in overhead.values()):
            found, high = (kappa, overhead), middle
        else:
            low = middle + 1
    if found is None:
        raise CalibrationError(
            f"honest clients would wait more than {bearable:.3g} times the service time even at "
            f"kappa {KAPPAS[-1]}: this measure is too noisy for this data"
        )
    return replace(draft, kappa=found[0], overhead=found[1])


def _overhead(draft: Calibration, kappa: float, batches: NDArray[np.float64]) -> dict[str, float]:
    """Median and p99 over batches of (service + work) / service."""
    policy, rate = replace(draft, kappa=kappa).policy("rate"), draft.hash_rate()
    assert isinstance(policy, Rate)
    distinct, which = np.unique(batches, axis=0, return_inverse=True)  # most have no excess
    overhead = [
        1 + work_for(policy.seconds(excess), int(n), rate) / rate / (draft.service * n / BATCH)
        for excess, n in distinct
    ]
    median, p99 = np.percentile(np.array(overhead)[which], (50, 99))
    return {"median": float(median), "p99": float(p99)}


def power_of_two_seconds(seconds: float, rate: float) -> float:
    """The longest time up to `seconds` whose work for 64 images is a power of two (at least 64).

    Prices are rounded up to powers of two; a floor and a cap that are powers already stay exact.
    """
    hashes = 1 << max(6, math.floor(math.log2(max(seconds * rate, 1.0))))
    return (hashes - 0.5) / rate


def _line(costs: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept of total cost against queries: least squares over ten stretches."""
    ends = np.unique(np.linspace(1, len(costs), 11).astype(int))[1:]
    slope, intercept = np.polyfit(ends, np.cumsum(costs)[ends - 1], 1)
    return float(slope), float(intercept)


async def measure_service(model: Model, images: NDArray[np.uint8], *, repeats: int = 30) -> float:
    """Seconds a client on loopback waits for 64 images under policy none: the median."""
    ledger = SqliteLedger(":memory:", fingerprint="service", tariff=FREE, clock=lambda: 0.0)
    parts = Parts(
        model=model,
        ledger=ledger,
        keyring=Keyring([bytes(32)]),
        puzzles=Puzzles("sha1"),
        authenticator=OpenDoor(),
        hash_rate=0.0,
        record=_no_record,
        clock=lambda: 0.0,
    )
    batch = np.resize(images, (BATCH, *images.shape[1:]))
    try:
        async with running(parts, "127.0.0.1:0") as address:
            seconds = await asyncio.to_thread(_ask, address, batch, repeats)
    finally:
        ledger.close()
    return float(np.median(seconds))


def _ask(address: str, batch: NDArray[np.uint8], repeats: int) -> list[float]:
    import time

    seconds = []
    with grpc.insecure_channel(address) as channel:
        stub = gate_pb2_grpc.GateStub(channel)
        for number in range(repeats + 3):
            start = time.perf_counter()
            request = gate_pb2.PredictRequest(
                request_id=str(uuid.UUID(int=number)), inputs=codec.encode(batch)
            )
            stub.Predict(request, metadata=(("client-id", "calibration"),))
            if number >= 3:  # the first ones open the channel
                seconds.append(time.perf_counter() - start)
    return seconds


def _no_record(kind: str, /, **fields: Any) -> None:
    """A measurement leaves no record."""
