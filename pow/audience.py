"""Audience: which gate, and which of its price lists, a challenge was issued by.

A token settles only what it was issued for. Two gates may share a secret, and one gate may be
restarted with other prices: the audience tells their challenges apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_ID: Final = re.compile(r"[0-9a-f]{16}")
MAX_HOSTS: Final = 180  # bytes of all host names: an audience has at most 256
_IDS: Final = ("fingerprint", "ledger", "books", "calibration")
_HOST: Final = re.compile(r"[A-Za-z0-9.:_-]{1,253}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """A gate as its challenges name it; ids are 16 hex digits. ValueError for a bad field.

    Written `FINGERPRINT LEDGER BOOKS CALIBRATION HOST,HOST`; `-` where there is no public name.
    """

    fingerprint: str  # of the model and its measure
    ledger: str  # a random id, kept in the ledger
    books: str  # which accounts in that ledger: model, policy, virtual or open
    calibration: str  # of the prices
    hosts: tuple[str, ...] = ()  # public names of the gate, as its users dial it

    def __post_init__(self) -> None:
        for name in _IDS:
            if not _ID.fullmatch(getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)[:80]!r} must be 16 hex digits")
        for host in self.hosts:
            if not _HOST.fullmatch(host) or host == "-":
                raise ValueError(
                    f"host name {host[:80]!r} must be letters, digits, '.', ':', '_', '-'"
                )
        names = ",".join(self.hosts)
        if len(names) > MAX_HOSTS:
            raise ValueError(f"host names have {len(names)} bytes, expected at most {MAX_HOSTS}")

    def __str__(self) -> str:
        hosts = ",".join(self.hosts) or "-"
        return f"{self.fingerprint} {self.ledger} {self.books} {self.calibration} {hosts}"

    @classmethod
    def parse(cls, text: str) -> Audience:
        """The audience written as `text`; ValueError when it is none."""
        fields = text.split(" ")
        if len(fields) != 5:
            raise ValueError(f"audience {text[:80]!r} has {len(fields)} fields, expected 5")
        hosts = () if fields[4] == "-" else tuple(fields[4].split(","))
        return cls(**dict(zip(_IDS, fields, strict=False)), hosts=hosts)
