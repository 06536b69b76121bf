"""Files and folders that only their owner can read, whatever the umask.

Records, artifacts and calibrations hold privacy costs and the model itself. A folder is made with
mode 700, a file with mode 600.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

FOLDER = 0o700
FILE = 0o600
OTHERS = 0o077
UMASK = OTHERS  # of processes that write nothing that others should read


def parents(path: Path | str) -> None:
    """Makes the folders above `path` that are missing. Those that are there stay as they are.

    Raises OSError.
    """
    missing = [folder for folder in Path(path).parents if not folder.exists()]
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was faster
            each.mkdir(mode=FOLDER)
            each.chmod(FOLDER)  # the umask may have taken the owner's own rights


def folder(path: Path | str, *, new: bool = False) -> None:
    """Makes a folder and those above it that are missing; one that is there is closed to others.

    With `new` it must not be there: FileExistsError. Raises OSError.
    """
    path = Path(path)
    parents(path)
    try:
        path.mkdir(mode=FOLDER)
    except FileExistsError:
        if new or not path.is_dir():
            raise
        found = path.stat()
        if found.st_uid != os.geteuid() or not found.st_mode & OTHERS:
            return  # not ours to change, or nothing to change
        path.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)
    else:
        path.chmod(FOLDER)


def opener(path: str, flags: int) -> int:
    """For `open(..., opener=opener)`: the file has mode 600, also if it was there before."""
    handle = os.open(path, flags, FILE)
    try:
        found = os.fstat(handle)
        if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) != FILE:
            # A file of somebody else, or a file system without modes, stays as it is.
            with contextlib.suppress(PermissionError):
                os.fchmod(handle, FILE)
    except BaseException:
        os.close(handle)
        raise
    return handle
