"""Authentication: API keys, or, on an open gate, the name that a caller gives."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

from core.documents import read_toml
from server.refusals import BadClientId, MissingKey, UnknownKey

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Metadata = Iterable[tuple[str, str | bytes]]

CALLER: ContextVar[str] = ContextVar("caller")
"""The client of the call being served; set before anything else happens to it."""


class Authenticator(Protocol):
    """Names the client of a call."""

    def client(self, metadata: Metadata) -> str:
        """The ledger's client. Raises MissingKey, UnknownKey or BadClientId."""
        ...


class ApiKeys:
    """`authorization: Bearer KEY`; `owners` maps an owner to the SHA-256 (hex) of its key.

    Raises ValueError for an owner or a digest that is none.
    """

    def __init__(self, owners: Mapping[str, str]) -> None:
        for owner, digest in owners.items():
            if not _NAME.fullmatch(owner):
                raise ValueError(f"owner {owner!r} must be 1 to 64 letters, digits, '.', '_', '-'")
            if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
                raise ValueError(f"key of {owner} must be a SHA-256 in 64 lower-case hex digits")
        if len(set(owners.values())) < len(owners):
            raise ValueError("two owners have the same key; expected one key for each")
        self._owners = {bytes.fromhex(digest): owner for owner, digest in owners.items()}

    @classmethod
    def read(cls, path: Path) -> "ApiKeys":
        """Keys of a TOML file. Raises OSError, ValueError (which names the file).

        The file is the owner's alone, as the secret is: who can guess at digests of keys, can try
        them without asking anybody.
        """
        mode = path.stat().st_mode & 0o777
        try:
            if mode & 0o077:
                raise ValueError(f"mode is {mode:o}; expected 600: it must be its owner's alone")
            owners = read_toml(path)
            if not owners:
                raise ValueError("no keys in it")
            return cls(owners)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def client(self, metadata: Metadata) -> str:
        given = _value(metadata, "authorization")
        scheme, _, key = given.partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise MissingKey("no API key; expected metadata authorization: Bearer KEY")
        digest = hashlib.sha256(key.encode()).digest()
        found = None
        for known, owner in self._owners.items():
            if hmac.compare_digest(known, digest):
                found = owner
        if found is None:
            raise UnknownKey("the API key is not known here")
        return found


class NoAuthentication:
    """Believes the metadata `client-id`: for experiments on loopback only."""

    def client(self, metadata: Metadata) -> str:
        name = _value(metadata, "client-id")
        if not name:
            raise MissingKey("no client id; expected metadata client-id: NAME")
        if not _NAME.fullmatch(name):
            raise BadClientId(
                f"client id {name[:80]!r} must be 1 to 64 letters, digits, '.', '_', '-'"
            )
        return name


def _value(metadata: Metadata, wanted: str) -> str:
    for name, value in metadata:
        if name == wanted:
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return ""
