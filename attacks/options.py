"""Flags of `python -m attacks`, besides those of the attack itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from client.options import Connection
from core.home import default_home


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacker:
    """Flags of an attacker process: gate, query pool, output folder."""

    connection: Annotated[Connection, tyro.conf.arg(name="")]
    accounts: int = 1
    """Accounts that ask in turn (Sybils): CLIENT-ID-1 to CLIENT-ID-k, or the keys in the key file,
    one a line."""
    deal: Literal["parallel", "series"] = "parallel"
    """Batch by batch, or one account after the other."""
    pace: float = 0.0
    """Seconds between the starts of two requests; a late request is followed at once."""
    home: Path = field(default_factory=default_home)
    """Folder of cached datasets."""
    data: Path | None = None
    """Folder with image data that does not come with a package."""
    pool: str = "photos"
    """Dataset to take queries from: its pool split, or generated images."""
    pool_size: int = 10_000
    """Images in the pool, at most."""
    inside: str | None = None
    """A second pool, of images like the victim's training data."""
    costs: Path | None = None
    """File with the privacy cost of each image of the pool (`python -m experiments costs`), which
    no real attacker has."""
    network: str = "lenet"
    """Network of the surrogate."""
    surrogates: Path | None = None
    """Folder for the surrogate's checkpoints and the transcript of paid answers."""
    resume: bool = False
    """Go on after a crash: what the transcript holds is not asked again."""
    record: Path | None = None
    """Write one JSON line a request to this new file."""
    seed: int = 0
