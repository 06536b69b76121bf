"""The honest workload: in-distribution images, in batches, at a pace."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from client.options import Connection
from client.process import Pace, Recorder, connect, recorded
from core.home import default_home
from core.learning import datasets
from core.learning.drift import drifted


@dataclass(frozen=True, slots=True, kw_only=True)
class Honest:
    """An honest user: images like those the victim was trained on, at a given pace."""

    connection: Annotated[Connection, tyro.conf.arg(name="")]
    home: Path = field(default_factory=default_home)
    """Folder of cached datasets."""
    data: Path | None = None
    """Folder with image data that does not come with a package."""
    dataset: str = "mnist5k"
    images: int = 320
    """How many to ask, in total; the images repeat where there are fewer."""
    batch: int = 16
    """Images in one request."""
    pace: float = 0.0
    """Seconds between the starts of two requests; a late request is followed at once."""
    drift: Literal["none", "tilted", "dimmed", "blurred"] = "none"
    """What happened to the images, say in the camera."""
    drift_strength: float = 1.0
    """How far: 1 is what `calibrate` allows for, 2 goes twice as far."""
    record: Path | None = None
    """Write one JSON line a request to this new file."""
    seed: int = 0


def run(options: Honest) -> None:
    """Asks for predictions of the honest split as an honest user would, and records them.

    Raises client.errors.GateError, client.process.Interrupted, DatasetError, and ValueError for
    numbers out of range.
    """
    for name, least in (("images", 1), ("batch", 1), ("pace", 0), ("drift_strength", 0)):
        value = getattr(options, name)
        if not value >= least:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is {value}; expected at least {least}")
    (account,) = options.connection.accounts()
    split = datasets.load(options.dataset, home=options.home, data=options.data).splits["honest"]
    rng = np.random.default_rng(options.seed)
    session_rng, drifting = rng.spawn(2)
    order = repeated_order(len(split.images), options.images, rng)
    images, labels = split.images[order], split.labels[order]
    if options.drift != "none":
        images = drifted(options.drift, images, drifting, options.drift_strength)
    client = account.get("client_id", "owner of the key")
    recorder = Recorder(options.record, client=client, config=asdict(options), seed=options.seed)
    with (
        recorded(recorder),
        connect(options.connection, account, observe=recorder.observe, rng=session_rng) as session,
    ):
        pace = Pace(options.pace, clock=time.monotonic, sleep=time.sleep)
        answered = right = 0
        try:
            for start in range(0, len(images), options.batch):
                batch = slice(start, start + options.batch)
                pace.wait()
                best = session.predict(images[batch]).argmax(axis=1)
                right += int((best == labels[batch]).sum())
                answered += len(best)
        finally:
            if answered:
                recorder.write("answers", images=answered, right=right)


def repeated_order(available: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices (wanted,): every image once in random order before any comes again."""
    rounds = [rng.permutation(available) for _ in range(-(-wanted // available))]
    return np.concatenate(rounds)[:wanted]
