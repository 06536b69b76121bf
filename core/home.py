"""Where powgate keeps what it makes, unless told otherwise.

A home is one user's: what is in it can be read by nobody else (`core.private`).
"""

from pathlib import Path


def default_home() -> Path:
    """The user's cache folder of powgate."""
    return Path.home() / ".cache" / "powgate"
