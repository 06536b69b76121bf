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


def keys_file(folder, text, *, mode=0o600):
    path = folder / "keys.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mark", ["", "\N{BYTE ORDER MARK}"])
def test_keys_of_a_file(tmp_path, mark):
    path = keys_file(tmp_path, f'{mark}anne = "{digest("a-key")}"\n')
    assert ApiKeys.read(path).client([("authorization", "Bearer a-key")]) == "anne"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no keys"),
        ("anne = ", "keys.toml"),
        ('anne = "a-key"', "SHA-256"),
        ("anne = 7", "SHA-256"),
        (f'"an ne" = "{digest("a-key")}"', "an ne"),
        (f'anne = "{digest("k")}"\nbob = "{digest("k")}"', "same key"),
        (b'anne = "\xff"', "is not UTF-8 text"),
        (f"anne = {'[' * 50_000}", "nested too deeply"),
        (f"anne = {'7' * 5_000}", "keys.toml"),
        ('[anne]\nkey = "k"', "SHA-256"),
    ],
)
def test_a_bad_file_of_keys_is_named(tmp_path, text, message):
    path = keys_file(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        ApiKeys.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_keys_that_others_can_read_are_refused(tmp_path, mode):
    path = keys_file(tmp_path, f'anne = "{digest("a-key")}"', mode=mode)
    with pytest.raises(ValueError, match=rf"keys.toml: mode is {mode:o}; expected 600"):
        ApiKeys.read(path)


@pytest.mark.parametrize("name", ["", "a b", "../a", "-a", "a" * 65, "ü"])
def test_without_authentication_a_plain_name_is_believed(name):
    assert NoAuthentication().client([("client-id", "thief-1")]) == "thief-1"
    missing = (MissingKey, "client-id")
    kind, message = (BadClientId, "1 to 64") if name else missing
    with pytest.raises(kind, match=message):
        NoAuthentication().client([("client-id", name)])
