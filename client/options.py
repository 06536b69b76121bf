"""The flags that every client process has: whom to ask, as whom, how to solve, what to record."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from client.bounds import DEADLINE, MAX_WORK
from core.home import default_home


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Whom to ask, as whom, and how to solve."""

    target: str
    """HOST:PORT of the gate."""
    key_file: Path | None = None
    """File with the API key."""
    client_id: str | None = None
    """Name to give to an open gate."""
    ca: Path | None = None
    """PEM certificate to trust; with it the connection is TLS."""
    tls: bool = False
    """TLS, trusting the certificates that this system trusts."""
    insecure: bool = False
    """Send the API key in clear to another machine."""
    name: str | None = None
    """Public name of the gate, where it is dialled under another."""
    solver: Literal["native", "python", "virtual"] = "native"
    threads: int = 1
    """Threads of the native solver."""
    timeout: float = 60.0
    """Seconds to wait for each answer of the gate, and for one that is away or full."""
    deadline: float = DEADLINE
    """Seconds that one prediction may take, solving included."""
    max_work: int = MAX_WORK
    """Expected hashes that are solved for one prediction, at most."""

    def credentials(self) -> dict[str, str]:
        """Session arguments of who is calling. Raises ValueError unless exactly one is given."""
        return self.accounts(1)[0]

    def accounts(self, count: int) -> list[dict[str, str]]:
        """Session arguments of several accounts: CLIENT_ID-1 to CLIENT_ID-k, or a key a line.

        Raises ValueError unless either is given, and for a key file that does not hold `count`.
        """
        if (self.key_file is None) == (self.client_id is None):
            raise ValueError("give either --key-file or --client-id")
        if self.key_file is None:
            if count == 1:
                return [{"client_id": str(self.client_id)}]
            return [{"client_id": f"{self.client_id}-{n}"} for n in range(1, count + 1)]
        keys = self.key_file.read_text(encoding="utf-8-sig").split()
        if not keys:
            raise ValueError(f"{self.key_file} is empty; expected an API key")
        if len(keys) != count:
            raise ValueError(f"{self.key_file} holds {len(keys)} keys; expected {count}")
        return [{"key": key} for key in keys]


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
