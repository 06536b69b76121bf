"""The secret file: made once, private, rotated."""

import pytest

from pow.challenge import ForgedChallenge
from pow.puzzle import Puzzle
from server.secret import SecretError, _create, keyring, noise_key


def issued(keys):
    about = {"audience": "a", "client": "c", "request_id": "r", "digest": b"d"}
    return keys.issue(Puzzle("sha1", 0, 1), **about, now=1e9, expires=2 * 10**9)


def accepts(keys, challenge) -> bool:
    try:
        keys.verify(challenge.token, client="c", now=1e9)
    except ForgedChallenge:
        return False
    return True


def test_a_secret_is_made_once_and_is_private(tmp_path):
    first = keyring(tmp_path)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert accepts(keyring(tmp_path), issued(first))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret"]
    for kind in (".virtual", ".open", ".open.virtual"):  # never pass for real work
        assert not accepts(keyring(tmp_path), issued(keyring(tmp_path, kind)))


def test_rotation_keeps_the_previous_secret(tmp_path):
    old = issued(keyring(tmp_path))
    (tmp_path / "secret").rename(tmp_path / "secret.previous")
    rotated = keyring(tmp_path)
    assert accepts(rotated, old)
    assert issued(rotated).key_id != old.key_id
    (tmp_path / "secret.previous").unlink()
    assert not accepts(keyring(tmp_path), old)


def test_a_secret_that_must_not_be_used_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"short")
    for mode, message in ((0o644, "mode 644; expected 600"), (0o600, "5 bytes; expected 32")):
        (tmp_path / "secret").chmod(mode)
        with pytest.raises(SecretError, match=message):
            keyring(tmp_path)


def test_the_key_of_noise_belongs_to_the_current_secret(tmp_path):
    key = noise_key(tmp_path)
    assert len(key) == 32
    assert key != (tmp_path / "secret").read_bytes()
    assert noise_key(tmp_path) == key
    assert noise_key(tmp_path, ".virtual") != key
    (tmp_path / "secret").rename(tmp_path / "secret.previous")
    assert noise_key(tmp_path) != key


def test_of_two_that_make_the_secret_the_first_wins_for_both(tmp_path):
    _create(tmp_path / "secret")
    first = (tmp_path / "secret").read_bytes()
    _create(tmp_path / "secret")
    assert (tmp_path / "secret").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]  # no draft is left
