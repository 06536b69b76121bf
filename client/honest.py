"""The honest workload: in-distribution images, in batches, at a pace."""

import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from client.options import Honest
from client.pace import Pace
from client.recording import Recorder, recorded_session
from core.learning import datasets
from core.learning.drift import drifted


def run(options: Honest) -> None:
    """Asks for predictions of the honest split as an honest user would, and records them.

    Raises client.session.GateError, client.recording.Interrupted, DatasetError,
    ValueError for numbers out of range.
    """
    for name, value, least in (
        ("images", options.images, 1),
        ("batch", options.batch, 1),
        ("pace", options.pace, 0),
        ("drift-strength", options.drift_strength, 0),
    ):
        if not value >= least:
            raise ValueError(f"--{name} is {value}; expected at least {least}")
    connection = options.connection
    credentials = connection.credentials()
    split = datasets.load(options.dataset, home=options.home, data=options.data).splits["honest"]
    rng = np.random.default_rng(options.seed)
    session_rng, drifting = rng.spawn(2)
    order = repeated_order(len(split.images), options.images, rng)
    images, labels = split.images[order], split.labels[order]
    if options.drift != "none":
        images = drifted(options.drift, images, drifting, options.drift_strength)
    recorder = Recorder(
        options.record,
        client=credentials.get("client_id", "owner of the key"),
        config=asdict(options),
        seed=options.seed,
    )
    with recorded_session(connection, recorder, rng=session_rng) as session:
        answered = right = 0

        def ask(batch: NDArray[np.uint8]) -> None:
            nonlocal answered, right
            best = session.predict(batch).argmax(axis=1)
            right += int((best == labels[answered : answered + len(batch)]).sum())
            answered += len(batch)

        try:
            ask_at_pace(
                ask,
                images,
                batch=options.batch,
                pace=options.pace,
                clock=time.monotonic,
                sleep=time.sleep,
            )
        finally:
            if answered:
                recorder.write("answers", images=answered, right=right)


def repeated_order(available: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices (wanted,): every image once in random order before any comes again."""
    rounds = [rng.permutation(available) for _ in range(-(-wanted // available))]
    return np.concatenate(rounds)[:wanted]


def ask_at_pace(
    predict: Callable[[NDArray[np.uint8]], object],
    images: NDArray[np.uint8],
    *,
    batch: int,
    pace: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Asks batch after batch, one start every `pace` seconds; a late one is followed at once."""
    due = Pace(pace, clock=clock, sleep=sleep)
    for start in range(0, len(images), batch):
        due.wait()
        predict(images[start : start + batch])
