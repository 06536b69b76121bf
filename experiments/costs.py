"""The verb `costs`: the privacy cost of each image of an attacker's pool, for `worstcase`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.home import default_home
from core.learning import artifacts, datasets
from server.options import DEFAULT_MEASURE


@dataclass(frozen=True, slots=True)
class Flags:
    """Write what each image of an attacker's pool costs, for the attack worstcase (--costs)."""

    model: str
    """A prepared model."""
    pool: str
    """The attacker's pool."""
    out: Path
    """The file to write."""
    size: int = 10_000
    """The attacker's --pool-size."""
    seed: int = 0
    """The attacker's --seed."""
    measure: str = DEFAULT_MEASURE
    home: Path | None = None
    """Where models are kept (default: the user's cache folder)."""
    data: Path | None = None
    """Folder with image data that does not come with a package."""


def run(flags: Flags) -> None:
    """Writes the costs of a pool. Raises ArtifactError for a model that is not prepared."""
    from attacks.process import COSTS  # with these comes torch
    from server.measures import costs_of
    from server.model import load

    home = flags.home or default_home()
    served = load(home, flags.model, flags.measure)
    images = datasets.load_pool(
        flags.pool,
        served.victim.shape,
        count=flags.size,
        seed=flags.seed,
        home=home,
        data=flags.data,
    )
    about = {
        "kind": COSTS,
        "model": served.fingerprint,
        "pool": flags.pool,
        "seed": flags.seed,
        "size": len(images),
        "images": artifacts.fingerprint({"pool": images}),
    }
    costs = costs_of(served.measure, served.victim, images)
    artifacts.save(flags.out, {"costs": costs}, about)
    print(f"{flags.out}: costs of {len(images)} images")
