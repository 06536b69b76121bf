"""The server's secret: 32 random bytes in a file that only its owner can read."""

import contextlib
import hmac
import os
import tempfile
from pathlib import Path

from pow.challenge import SECRET_BYTES, Keyring


class SecretError(Exception):
    """A secret file that must not be used; the text names it."""


def keyring(home: Path, kind: str = "") -> Keyring:
    """The keyring of `home`: the current secret, made on first use, and the previous one if any.

    To rotate, move `secret` to `secret.previous` and restart; remove it after a day, the longest
    expiry. A `kind` of gate has a secret of its own: what is virtual costs nothing, and on an open
    gate anybody may be anybody, so neither must be able to pay on another gate.
    Raises SecretError for a file of another size or one that others can read, and OSError.
    """
    path = _current(home, kind)
    previous = path.with_name(path.name + ".previous")
    return Keyring([_read(file) for file in (path, previous) if file.exists()])


def noise_key(home: Path, kind: str = "") -> bytes:
    """The key of the noise in perturbed answers (32 bytes), derived from the current secret.

    It changes when the secret is rotated: a client then gets other noise for the same image. Raises
    as `keyring` does.
    """
    secret = _read(_current(home, kind))
    return hmac.digest(secret, b"powgate/1 noise", "sha256")


def _current(home: Path, kind: str) -> Path:
    """The file of the current secret, made if it is not there."""
    path = home / f"secret{kind}"
    if not path.exists():
        _create(path)
    return path


def _create(path: Path) -> None:
    """Writes a new secret whole or not at all; of two processes that try, one wins for both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # mode 600
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _read(path: Path) -> bytes:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise SecretError(f"{path} has mode {mode:o}; expected 600: it must be its owner's alone")
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise SecretError(f"{path} holds {len(secret)} bytes; expected {SECRET_BYTES}")
    return secret
