"""Who calls: API keys, or a name that is believed."""

import hashlib

import pytest

from server.authentication import ApiKeys, NoAuthentication
from server.refusals import BadClientId, MissingKey, UnknownKey


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = ApiKeys({"anne": digest("a-key"), "bob": digest("b-key")})


def test_the_owner_of_a_key_is_the_client():
    assert KEYS.client([("authorization", "Bearer a-key")]) == "anne"
    assert KEYS.client([("x", "y"), ("authorization", "bearer b-key")]) == "bob"


@pytest.mark.parametrize("given", ["", "a-key", "Basic a-key", "Bearer", "Bearer "])
def test_no_key_or_an_unknown_one(given):
    with pytest.raises(MissingKey, match="Bearer KEY"):
        KEYS.client([("authorization", given), ("client-id", "anne")])
    with pytest.raises(UnknownKey) as caught:
        KEYS.client([("authorization", "Bearer guess")])
    assert "guess" not in str(caught.value)


def keys_file(folder, text):
    path = folder / "keys.toml"
    path.touch(0o600)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no keys"),
        ("anne = ", "keys.toml"),
        ('anne = "a-key"', "SHA-256"),
        (f'"an ne" = "{digest("a-key")}"', "an ne"),
        (f'anne = "{digest("k")}"\nbob = "{digest("k")}"', "same key"),
        (b'anne = "\xff"', "is not UTF-8 text"),
        ('[anne]\nkey = "k"', "SHA-256"),
    ],
)
def test_a_bad_file_of_keys_is_named(tmp_path, text, message):
    path = keys_file(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        ApiKeys.read(path)
    assert str(path) in str(caught.value)


def test_keys_are_read_from_a_file_that_nobody_else_can_read(tmp_path):
    path = keys_file(tmp_path, f'anne = "{digest("a-key")}"')
    assert ApiKeys.read(path).client([("authorization", "Bearer a-key")]) == "anne"
    for mode in (0o640, 0o604, 0o601):
        path.chmod(mode)
        with pytest.raises(ValueError, match=rf"keys.toml: mode is {mode:o}; expected 600"):
            ApiKeys.read(path)


def test_without_authentication_a_plain_name_is_believed():
    assert NoAuthentication().client([("client-id", "attacker-1")]) == "attacker-1"
    with pytest.raises(MissingKey, match="client-id"):
        NoAuthentication().client([("client-id", "")])
    for name in ("a b", "../a", "-a", "a" * 65, "ü"):
        with pytest.raises(BadClientId, match="1 to 64"):
            NoAuthentication().client([("client-id", name)])
