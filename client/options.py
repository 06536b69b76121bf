"""Flags of every client process: gate, account, solver, bounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from client.solving import DEADLINE, MAX_WORK


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Flags of a connection: all but the key file are arguments of client.session.Session."""

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

    def accounts(self, count: int = 1) -> list[dict[str, str]]:
        """Session arguments of several accounts: CLIENT_ID-1 to CLIENT_ID-k, or a key a line.

        One account is CLIENT_ID itself. Raises ValueError unless either is given, and for a key
        file that does not hold `count`.
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
