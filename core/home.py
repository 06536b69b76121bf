"""Where powgate keeps what it makes, unless told otherwise."""

from pathlib import Path


def default_home() -> Path:
    """The user's cache folder of powgate."""
    return Path.home() / ".cache" / "powgate"
