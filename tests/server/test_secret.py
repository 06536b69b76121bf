"""The secret file: made once, private, rotated."""

import pytest

from pow.puzzle import Puzzle
from server.secret import SecretError, keyring, noise_key


def issued(keys):
    return keys.issue(
        Puzzle("sha1", 0, 1),
        audience="a",
        client="c",
        request_id="r",
        digest=b"d",
        now=1e9,
        expires=2 * 10**9,
    )


def accepts(keys, challenge) -> bool:
    from pow.challenge import ForgedChallenge

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


@pytest.mark.parametrize("kind", [".virtual", ".open", ".open.virtual"])
def test_what_is_virtual_or_open_never_passes_for_real_work(tmp_path, kind):
    assert not accepts(keyring(tmp_path), issued(keyring(tmp_path, kind)))


def test_rotation_keeps_the_previous_secret(tmp_path):
    old = issued(keyring(tmp_path))
    (tmp_path / "secret").rename(tmp_path / "secret.previous")
    rotated = keyring(tmp_path)
    assert accepts(rotated, old)
    assert issued(rotated).key_id != old.key_id
    (tmp_path / "secret.previous").unlink()
    assert not accepts(keyring(tmp_path), old)


def test_a_secret_that_others_can_read_is_refused(tmp_path):
    keyring(tmp_path)
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(SecretError, match="mode 644; expected 600"):
        keyring(tmp_path)


def test_a_secret_of_another_size_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"short")
    (tmp_path / "secret").chmod(0o600)
    with pytest.raises(SecretError, match="5 bytes; expected 32"):
        keyring(tmp_path)


def test_the_key_of_noise_belongs_to_the_current_secret(tmp_path):
    key = noise_key(tmp_path)
    assert len(key) == 32
    assert key != (tmp_path / "secret").read_bytes()
    assert noise_key(tmp_path) == key
    assert noise_key(tmp_path, ".virtual") != key
    (tmp_path / "secret").rename(tmp_path / "secret.previous")
    assert noise_key(tmp_path) != key


def test_of_two_who_make_the_secret_the_first_wins_for_both(tmp_path):
    from server.secret import _create

    _create(tmp_path / "secret")
    first = (tmp_path / "secret").read_bytes()
    _create(tmp_path / "secret")
    assert (tmp_path / "secret").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]  # no draft is left
