"""What arrives in a parcel is what was sent; nothing else gets out of one."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import parcel
from experiments.parcel import ParcelError

NAMES = st.text("abc.", min_size=1, max_size=5).filter(lambda name: name.strip("."))
FILES = st.dictionaries(NAMES, st.binary(max_size=99), max_size=4)


@settings(deadline=None, max_examples=25)
@given(files=FILES, below=FILES)
def test_what_is_sent_arrives(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], below: dict[str, bytes]
) -> None:
    place = tmp_path_factory.mktemp("parcel")
    sent = {f"top-{k}": v for k, v in files.items()} | {f"none/x/{k}": v for k, v in below.items()}
    (place / "run" / "none" / "x").mkdir(parents=True)
    for name, content in sent.items():
        (place / "run" / name).write_bytes(content)
    (place / "run" / "link").symlink_to("/etc/passwd")  # what is no plain file stays behind
    parcel.unpack(parcel.pack(place / "run"), place / "back")
    back = place / "back"
    found = {
        path.relative_to(back).as_posix(): path.read_bytes()
        for path in back.rglob("*")
        if path.is_file()
    }
    assert found == sent
    assert {entry.name for entry in place.iterdir()} == {"run", "back"}


def archive(*entries: tuple[str, int, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, mode, content in entries:
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is: the constructor would tidy it
            info.external_attr = mode << 16
            made.writestr(info, content, compression)
    return buffer.getvalue()


FINE = ("fine.txt", stat.S_IFREG | 0o644, b"fine")


@pytest.mark.parametrize(
    ("name", "mode", "complaint"),
    [
        ("/tmp/evil", 0, r"names '/tmp/evil', which is outside its folder"),
        ("../evil", 0, r"names '\.\./evil', which is outside"),
        ("a/../../evil", 0, r"which is outside"),
        ("..\\evil", 0, r"which is outside"),
        (".", 0, r"which is outside"),
        ("link", stat.S_IFLNK | 0o777, r"holds 'link', which is not a plain file"),
        ("pipe", stat.S_IFIFO | 0o777, r"not a plain file"),
        ("folder/", stat.S_IFDIR | 0o777, r"not a plain file"),
    ],
)
def test_a_hostile_archive_is_refused_whole(
    tmp_path: Path, name: str, mode: int, complaint: str
) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ParcelError, match=complaint):
        parcel.unpack(archive(FINE, (name, mode, b"/etc")), tmp_path / "out" / "cell")
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_too_much_is_refused_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcel, "LARGEST", 1000)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a").write_bytes(bytes(600))
    whole = parcel.pack(tmp_path / "run")
    (tmp_path / "run" / "b").write_bytes(bytes(401))
    with pytest.raises(ParcelError, match=r"has 1e-06 GB, more than the 1e-06 GB that can be sent"):
        parcel.pack(tmp_path / "run")
    parcel.unpack(whole, tmp_path / "back")
    bomb = archive(FINE, ("bomb", 0, bytes(1001)))
    with pytest.raises(ParcelError, match="more than"):
        parcel.unpack(bomb, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    whole = archive(FINE, ("second.txt", 0, b"content"))
    packed = archive(("x", 0, bytes(1000)), compression=zipfile.ZIP_DEFLATED)
    garbled = packed[:32] + b"\xff" * 8 + packed[40:]
    listed = whole.index(b"PK\x01\x02")  # the directory says of its first file how it was packed
    locked = whole[: listed + 8] + b"\x01\x00" + whole[listed + 10 :]
    foreign = whole[: listed + 10] + b"\x63\x00" + whole[listed + 12 :]
    wrong = whole.replace(b"content", b"CONTENT")
    for broken in (b"", whole[:40], wrong, garbled, locked, foreign):
        with pytest.raises(ParcelError, match="damaged"):
            parcel.unpack(broken, tmp_path / "cell")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "precious").touch()
    with pytest.raises(ParcelError, match=r"cannot unpack into .*cell"):
        parcel.unpack(archive(FINE), tmp_path / "cell")
    assert [path.name for path in tmp_path.rglob("*")] == ["cell", "precious"]
