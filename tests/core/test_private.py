"""What only its owner can read, under any umask and whatever was there before."""

import os
import stat

import numpy as np
import pytest

from core import private
from core.learning.artifacts import save, write_atomically
from core.records import RecordWriter


@pytest.fixture(params=[0o000, 0o022, 0o277], ids=oct, autouse=True)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def place(tmp_path):
    tmp_path.chmod(0o755)
    return tmp_path


def test_records_and_the_folders_made_for_them(place):
    file = place / "a" / "b" / "record.jsonl"
    RecordWriter(file, {}).close()
    assert mode(file) == 0o600
    assert mode(place / "a") == mode(place / "a" / "b") == 0o700
    assert mode(place) == 0o755  # somebody else's folder stays as it is
    file.chmod(0o644)
    RecordWriter.reopen(file).close()
    assert mode(file) == 0o600


def test_artifacts_are_private_also_where_they_replace_a_file_that_was_not(place):
    file = place / "models" / "m.safetensors"
    for _ in range(2):
        save(file, {"x": np.zeros(3)}, {})
        assert (mode(file), mode(file.parent)) == (0o600, 0o700)
        file.chmod(0o666)
    os.umask(0o022)
    write_atomically(place / "page.md", b"x")  # a page is as public as the umask says
    assert mode(place / "page.md") == 0o644


def test_a_folder_is_made_or_closed_to_others(place):
    private.folder(place / "x" / "y")
    assert mode(place / "x") == mode(place / "x" / "y") == 0o700
    (place / "x").chmod(0o775)
    private.folder(place / "x" / "y")
    assert mode(place / "x") == 0o775  # only the folder named
    private.folder(place / "x")
    assert mode(place / "x") == 0o700
    with pytest.raises(FileExistsError):
        private.folder(place / "x", new=True)
    (place / "file").touch()
    with pytest.raises(FileExistsError):
        private.folder(place / "file")
