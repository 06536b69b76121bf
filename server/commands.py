"""The commands: they wire flags, files and parts. Mistakes are exceptions of one line."""

import asyncio
import hashlib
import ipaddress
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from core import private, records
from core.learning.artifacts import ArtifactError
from core.learning.datasets import DatasetError
from pow import rate
from protos import codec
from server import calibration, logs, measures, model, secret, transport
from server.authentication import ApiKeys, Authenticator, NoAuthentication
from server.calibration import Calibration, CalibrationError, make
from server.calibration.make import Targets
from server.calibration.plot import draw
from server.defences import configured, trained
from server.gate import Gate, unrecorded
from server.ledger.sqlite import SqliteLedger
from server.model import Model
from server.options import Calibrate, Prepare, Serve
from server.pricing import PolicyTariff, no_price
from server.pricing.rate import Rate
from server.refusals import LedgerUnavailable
from server.secret import SecretError
from server.serve import ServeError, Tls, running
from server.victims import needed_network

CLIENT = 640
"""Images of the small client that a calibration speaks of."""

PRICED = ("sha1", "sha256", "argon2id")
"""Algorithms whose rate a calibration measures."""

_LOG = logging.getLogger("powgate.server")

EXPLAINED = (
    ArtifactError,
    CalibrationError,
    DatasetError,
    LedgerUnavailable,
    OSError,
    SecretError,
    ServeError,
    ValueError,
)
"""Errors whose text is meant for the operator."""


def prepare(options: Prepare) -> None:
    """Trains victim and measure where they are missing."""
    torch.set_num_threads(1)  # the same weights, and so the same fingerprint, on any machine size
    flags = asdict(options)
    made = model.prepare(flags.pop("home"), flags.pop("model"), **flags)
    files = model.folder(options.home, options.model)
    print(f"{files}: {'made ' + ' and '.join(made) if made else 'up to date'}")


def calibrate(options: Calibrate) -> None:
    """Fits and stores a calibration, and prints what it found."""
    if options.t_max is not None and not 0 < options.t_max <= calibration.LONGEST:
        raise ValueError(
            f"--t-max is {options.t_max}; expected seconds above 0, at most {calibration.LONGEST:g}"
        )
    targets = Targets(
        median=options.overhead_median, p99=options.overhead_p99, seconds=options.seconds
    )
    prepared = model.load(options.home, options.model, options.measure)
    loaded = model.data_of(prepared, home=options.home, data=options.data)
    _, unseen = measures.reserve(options.measure, loaded.splits["calibration"])
    found = make.calibrate(
        prepared,
        options.measure,
        unseen,
        seed=options.seed,
        t_max=options.t_max,
        rates={algorithm: rate.measure(algorithm) for algorithm in PRICED},
        targets=targets,
        drifts=options.drifts,
        entry=options.entry,
    )
    file = calibration.path(options.home, options.model, options.measure)
    for each in (file, options.copy):
        if each is not None:
            calibration.save(found, each)
    figure = draw(found, file.with_suffix(".svg"))
    print(file.read_text() if options.json else _summary(found, file, figure))


def _summary(found: Calibration, file: Path, figure: Path) -> str:
    """What a calibration found, for people."""
    policy = found.policy("rate")
    assert isinstance(policy, Rate)
    floor, cap = policy.t_min * 1e3, policy.t_max
    lines = [
        f"{file}: honest cost {found.mean:.4f} (sd {found.spread:.4f}) per image",
        f"service {found.service * 1e3:.1f} ms per 64 images, {found.hash_rate() / 1e6:.1f} MH/s "
        f"SHA-1, work from {floor:.2f} ms to {cap:.3g} s, entry {found.entry:g} queries",
        *(
            f"above {score.threshold:.3g}: honest {score.honest:.4f}, kappa {score.kappa:g}"
            for score in found.scores
        ),
        f"images: {', '.join(f'{count} {what}' for what, count in found.images.items())}",
        "honest overhead on images it had not seen, median and p99:",
    ]
    for kind, overhead in found.overhead.items():
        beyond = f"  more than {found.bearable:g}" if overhead.p99 > found.bearable else ""
        lines.append(f"  {kind:16}{overhead.median:6.2f}{overhead.p99:6.2f}{beyond}")
    alone = policy.t_min * (1 + found.entry / CLIENT) / found.service
    lines.append(f"with its entry, a client of {CLIENT} images waits {1 + alone:.2f} in all")
    return "\n".join([*lines, f"drawn in {figure}"])


def serve(options: Serve) -> None:
    """Serves until SIGTERM or SIGINT, then lets requests under way finish."""
    logs.configure()
    with assembled(options) as served:
        stopped = asyncio.run(_until_stopped(*served))
    if stopped is signal.SIGINT:
        raise KeyboardInterrupt


Served = tuple[Gate, Authenticator, str, Tls | None]
"""What `server.serve.running` takes."""


@contextmanager
def assembled(options: Serve) -> Iterator[Served]:
    """A gate with its ledger and record, which are closed at the end, and how it is served."""
    authenticator, tls = _authenticator(options), _tls(options)
    given: Any = options.defence_config
    config = configured(options.defence, {} if given is None else asdict(given), "--defence")
    served = model.load(options.home, options.model, options.measure)
    files = model.folder(options.home, options.model)
    if options.ledger is None:  # it goes beside the model
        private.folder(files)
    # What is virtual costs nothing, and on an open gate anybody may be anybody: neither shares a
    # secret or a ledger with a gate that asks for keys and work.
    kind = ".open" * options.open + ".virtual" * options.virtual
    perturbation = None
    if config is not None:
        network = needed_network(served.victim, f"defence {options.defence}")
        key = secret.noise_key(options.home, kind)
        perturbation = trained.ready(files, options.defence, config, network, key)
    algorithm = "virtual" if options.virtual else options.puzzle
    tariff, prices = _prices(options, served, algorithm)
    hosts = options.name or (tls.hosts() if tls is not None else ())
    if tls is not None and not hosts:
        _LOG.warning(
            "%s names no host (subjectAltName): clients elsewhere refuse the gate; give --name",
            options.tls_cert,
        )
    with ExitStack() as stack:
        ledger = SqliteLedger(
            options.ledger or files / f"ledger{kind}.db",
            # An account under one policy says nothing under another: free or virtual answers must
            # not dilute what was paid for, nor may callers of an open gate spend in others' names.
            # The same goes for accounts whose tails began elsewhere.
            fingerprint="/".join(
                [
                    served.fingerprint,
                    options.policy,
                    *(f"{threshold}" for threshold in tariff.thresholds),
                    *kind.split(".")[1:],
                ]
            ),
            tariff=tariff,
            clock=time.time,
            retention=options.retention * 86_400,
        )
        stack.callback(ledger.close)
        record: Callable[..., None] = unrecorded
        if options.record is not None:
            header = {"config": asdict(options), "provenance": records.provenance(None)}
            record = stack.enter_context(records.RecordWriter(options.record, header)).write
        gate = Gate(
            model=served,
            ledger=ledger,
            keyring=secret.keyring(options.home, kind),
            encode=codec.dumps,
            algorithm=algorithm,
            hash_rate=tariff.rate if prices else 0.0,
            record=record,
            perturbation=perturbation,
            calibration=hashlib.sha256(f"{algorithm} ".encode() + prices).hexdigest()[:16],
            hosts=hosts,
        )
        host = options.host.strip("[]")
        address = f"[{host}]:{options.port}" if ":" in host else f"{host}:{options.port}"
        yield gate, authenticator, address, tls


def _prices(options: Serve, served: Model, algorithm: str) -> tuple[PolicyTariff, bytes]:
    """What is charged, and the calibration it rests on, as it was read: its file may change."""
    if options.policy == "none":
        return no_price(algorithm), b""
    beside = calibration.path(options.home, options.model, options.measure)
    calibrated = calibration.load(options.calibration or beside, served.fingerprint)
    made, here = calibrated.provenance.get("host"), socket.gethostname()
    if made != here:
        _LOG.warning("calibrated on host %s, serving on %s: seconds of work may be off", made, here)
    return calibrated.tariff(options.policy, algorithm), repr(calibrated).encode()


async def _until_stopped(
    gate: Gate, authenticator: Authenticator, address: str, tls: Tls | None
) -> signal.Signals:
    """Serves, and lets requests under way finish; the signal that ended it."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[signal.Signals] = loop.create_future()

    def end(number: signal.Signals) -> None:
        if not stop.done():
            stop.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    transport.raise_file_limit()
    async with running(gate, authenticator, address, tls) as listening:
        print(f"listening on {listening}", flush=True)
        return await stop


def _authenticator(options: Serve) -> Authenticator:
    if not options.open:
        if options.keys is None:
            raise ServeError(
                "no way to tell callers apart: give --keys FILE, or --open on loopback"
            )
        return ApiKeys.read(options.keys)
    if options.keys is not None:
        raise ServeError("--open believes every caller: it cannot go with --keys")
    if not _is_loopback(options.host):
        raise ServeError(f"--open listens on loopback only, not on {options.host}")
    return NoAuthentication()


def _tls(options: Serve) -> Tls | None:
    if options.tls_cert is not None and options.tls_key is not None:
        return Tls.read(options.tls_cert, options.tls_key)
    if options.tls_cert is not None or options.tls_key is not None:
        raise ServeError("--tls-cert and --tls-key go together: one of them is missing")
    if options.insecure or _is_loopback(options.host):
        return None
    raise ServeError(
        f"API keys would travel in clear to {options.host}: give --tls-cert and --tls-key, "
        "or --insecure where a proxy in front speaks TLS"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
