"""What an oracle knows: the privacy cost of each image of a thief's pool, for `worstcase`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attacks.process import COSTS
from core.home import default_home
from core.learning import artifacts, datasets
from server.measures import costs_of
from server.model import load
from server.options import DEFAULT_MEASURE


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


@dataclass(frozen=True, slots=True)
class Flags:
    """Write what each image of a thief's pool costs, for the attack worstcase (--costs)."""

    model: str
    """A prepared model."""
    pool: str
    """The thief's pool."""
    out: Path
    """The file to write."""
    size: int = 10_000
    """The thief's --pool-size."""
    seed: int = 0
    """The thief's --seed."""
    measure: str = DEFAULT_MEASURE
    home: Path | None = None
    """Where models are kept (default: the user's cache folder)."""
    data: Path | None = None
    """Folder with image data that does not come with a package."""


def run(flags: Flags) -> None:
    """Writes what the images of a pool cost."""
    written = write_costs(
        flags.out,
        home=flags.home or default_home(),
        model=flags.model,
        measure=flags.measure,
        pool=flags.pool,
        size=flags.size,
        seed=flags.seed,
        data=flags.data,
    )
    print(f"{flags.out}: costs of {written} images")
