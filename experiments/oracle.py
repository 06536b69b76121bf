"""What an oracle knows: the privacy cost of each image of a thief's pool, for `worstcase`."""

from __future__ import annotations

from pathlib import Path

from attacks.process import COSTS
from core.learning import artifacts, datasets
from experiments.measures import costs_of
from server.model import load
from server.victim import TorchVictim


def write_costs(
    file: Path,
    *,
    home: Path,
    model: str,
    measure: str,
    pool: str,
    size: int,
    seed: int,
    data: Path | None = None,
) -> int:
    """Writes the costs of a pool as `python -m attacks --costs` takes them; how many there are.

    Pool, size and seed are the thief's. Raises ArtifactError for a model that is not prepared, and
    DatasetError.
    """
    served = load(home, model, measure)
    assert isinstance(served.victim, TorchVictim)
    images = datasets.load_pool(
        pool, served.victim.shape, count=size, seed=seed, home=home, data=data
    )
    about = {
        "kind": COSTS,
        "model": served.fingerprint,
        "pool": pool,
        "seed": seed,
        "size": len(images),
        "images": artifacts.fingerprint({"pool": images}),
    }
    artifacts.save(file, {"costs": costs_of(served.measure, served.victim, images)}, about)
    return len(images)
