"""docs/puzzles.md: its vectors hold when computed with other code, its figures are on file."""

import hashlib
import hmac
import json
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pow.challenge import Challenge, Keyring
from pow.hashcash import check
from pow.puzzle import puzzle_for

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "puzzles.md").read_text(encoding="utf-8")
VECTORS = json.loads(re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)[1])
SECRET = bytes.fromhex(VECTORS["secret"])


def hkdf(key, info):
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)


def test_keys():
    assert hkdf(SECRET, b"powgate/1 mac").hex() == VECTORS["mac_key"]
    assert hkdf(SECRET, b"powgate/1 seal").hex() == VECTORS["seal_key"]
    assert hashlib.sha256(hkdf(SECRET, b"powgate/1 key id")).hexdigest()[:8] == VECTORS["key_id"]


@pytest.mark.parametrize("case", VECTORS["challenges"], ids=lambda c: c["algorithm"])
def test_challenges(case):
    token = bytes.fromhex(case["token"])
    key = bytes.fromhex(VECTORS["mac_key"])
    assert hmac.digest(key, token[:-24], "sha256")[:24] == token[-24:]
    assert hkdf(bytes.fromhex(VECTORS["seal_key"]), token).hex() == case["sealing_key"]
    challenge = Challenge.parse(token)
    assert challenge.prefix == case["prefix"]
    assert challenge.puzzle == puzzle_for(case["work"], case["algorithm"])
    assert (challenge.puzzle.bits, challenge.puzzle.count) == (case["bits"], case["count"])
    assert challenge.expires == case["expires"]
    ring = Keyring([SECRET])
    assert ring.verify(token, client="ann", now=1_795_262_400) == challenge
    assert ring.sealing_key(challenge).hex() == case["sealing_key"]
    for counter, digest in zip(case["counters"], case["digests"], strict=True):
        stamp = case["prefix"] + counter
        assert check(stamp, case["bits"], "powgate", case["algorithm"])
        if case["algorithm"] != "argon2id":
            assert hashlib.new(case["algorithm"], stamp.encode()).hexdigest() == digest


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ("AVX-512", "kernels avx512"),
        ("portable vectors", "kernels portable"),
        ("two threads", "threads 2"),
        ("two threads, wall clock", "wall 2"),
        ("hashlib loop", "peers hashlib"),
        ("Debian hashcash", "peers hashcash"),
        ("openssl speed, 64 bytes", "peers openssl"),
    ],
)
def test_figures(row, path):
    rates = json.loads((DOCS / "results/puzzles.json").read_text(encoding="utf-8"))["rates"]
    shown = re.search(rf"^\| {re.escape(row)} \| ([\d.]*) \| ?([\d.]*) ?\|$", TEXT, re.MULTILINE)
    group, name = path.split()
    for algorithm, figure in zip(("sha1", "sha256"), shown.groups(), strict=True):
        if figure:
            assert float(figure) == pytest.approx(rates[algorithm][group][name] / 1e6, rel=0.01)
