"""A run folder as bytes, to send it from one machine to another.

A zip archive of plain files. What comes out of one is no more than plain files below one folder,
whatever the archive says.
"""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from core import private

LARGEST = 2 << 30
"""Bytes that the files of one folder may have in all."""


class ParcelError(ValueError):
    """A folder that cannot be sent, or an archive that must not be unpacked; one line."""


def pack(folder: Path) -> bytes:
    """The files of a folder as an archive. Raises ParcelError if they are too large."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    _bounded(sum(path.stat().st_size for path in files))
    buffer = io.BytesIO()
    with zipfile.ZipFile(
        buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False
    ) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder).as_posix())
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Makes `folder`, which must not exist, of an archive: whole or not at all.

    Raises ParcelError for an archive that is damaged, too large, or names anything but files in it.
    """
    draft = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            # A zip entry yields no more bytes than it declares: the sum of those bounds them all.
            _bounded(sum(entry.file_size for entry in entries))
            for entry in entries:
                _plain(entry)
            private.folder(draft, new=True)
            for entry in entries:
                archive.extract(entry, draft)
        draft.rename(folder)
    # zipfile raises RuntimeError for what is encrypted, or compressed in a way it does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ParcelError(f"the archive is damaged: {error}") from error
    except OSError as error:
        raise ParcelError(f"cannot unpack into {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _plain(entry: zipfile.ZipInfo) -> None:
    """Raises ParcelError for an entry that is not one file below the folder."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    name = PurePosixPath(entry.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or not name.parts:
        raise ParcelError(f"the archive names {entry.filename!r}, which is outside its folder")
    if entry.is_dir() or kind not in (0, stat.S_IFREG):
        raise ParcelError(f"the archive holds {entry.filename!r}, which is not a plain file")


def _bounded(size: int) -> None:
    if size > LARGEST:
        raise ParcelError(
            f"the run folder has {size / 1e9:.3g} GB, more than the {LARGEST / 1e9:.3g} GB"
            " that can be sent"
        )
