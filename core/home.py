"""Where powgate keeps what it makes, unless told otherwise.

A home is one user's: what is in it can be read by nobody else (`core.private`).
"""

import os
from pathlib import Path


def default_home() -> Path:
    """The user's cache folder of powgate."""
    return Path.home() / ".cache" / "powgate"


def default_data() -> Path | None:
    """The folder of image archives that POWGATE_DATA names."""
    named = os.environ.get("POWGATE_DATA")
    return Path(named) if named is not None else None
