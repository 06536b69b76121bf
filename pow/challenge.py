"""Challenges: what a gate asks a client to solve, as one authenticated token.

A challenge is a puzzle (pow.puzzle), k hashcash stamps of b bits, and the client and query it was
set for. The token holds everything the gate has to know to redeem it, so no store of issued
challenges is needed. Its bytes, all integers big-endian:

    token = body || MAC
    body  = for each field: uint16 length || bytes
            version "powgate/2", key id (8 hex), algorithm, bits (uint8), count (uint8),
            issued, expires (uint64 each), audience, client, request id, digest, nonce (16)
    MAC   = HMAC-SHA256(HKDF(secret, info "powgate/1 mac"), body)[:24]

The stamps name the whole token, not the MAC alone: otherwise a relay could put another gate's MAC
under a text of its own. They share the prefix

    1:b:YYMMDDhhmmss:powgate::<base64 of SHA-256(token)[:24]>:

24 bytes are 32 base64 characters: it has 59 or 60 characters, and the counter straddles the first
64-byte block (see pow.native).
Standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from pow.hashcash import CLOCK_SKEW, counter_fault, digest, format_date, leading_zero_bits
from pow.puzzle import Puzzle

RESOURCE: Final = "powgate"

MAC_BYTES: Final = 24
NAME_BYTES: Final = 24  # of the token, in its stamps
NONCE_BYTES: Final = 16
SECRET_BYTES: Final = 32
MAX_TEXT: Final = 256  # bytes of an audience, a client or a request id
MAX_DIGEST: Final = 64  # bytes
MAX_TOKEN: Final = 1024  # bytes

_VERSION = b"powgate/2"
_FIELDS = 12


class ChallengeError(Exception):
    """A challenge or an answer to one is refused; the text says why and may be shown."""


class MalformedChallenge(ChallengeError):
    """The bytes are not a challenge token."""


class ForgedChallenge(ChallengeError):
    """The token was not made with a secret of this gate."""


class ExpiredChallenge(ChallengeError):
    """The token is too old, or dated in the future."""


class ForeignChallenge(ChallengeError):
    """The token was issued to another client or by another gate."""


class WrongCounters(ChallengeError):
    """The counters do not solve the challenge."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A token and what it says; times in whole Unix seconds."""

    key_id: str
    puzzle: Puzzle
    issued: int
    expires: int
    audience: str
    client: str
    request_id: str
    digest: bytes
    nonce: bytes
    token: bytes

    @property
    def prefix(self) -> str:
        """Every stamp of the challenge up to its counter (59 or 60 characters)."""
        name = hashlib.sha256(self.token).digest()[:NAME_BYTES]
        named = base64.b64encode(name).decode("ascii")
        return f"1:{self.puzzle.bits}:{format_date(self.issued)}:{RESOURCE}::{named}:"

    @classmethod
    def parse(cls, token: bytes) -> Challenge:
        """Read a token without checking its MAC; MalformedChallenge when it is not one."""
        if not isinstance(token, bytes) or len(token) > MAX_TOKEN:
            raise MalformedChallenge(f"a challenge is at most {MAX_TOKEN} bytes")
        version, key_id, algorithm, bits, count, issued, expires, *rest = _split(token[:-MAC_BYTES])
        audience, client, request_id, digest, nonce = rest
        if version != _VERSION:
            raise MalformedChallenge(f"challenge version {version[:16]!r}, expected {_VERSION!r}")
        number = int.from_bytes  # big-endian; a number too wide is not written the one way
        try:
            puzzle = Puzzle(algorithm.decode("ascii"), number(bits, "big"), number(count, "big"))
            challenge = cls(
                key_id=key_id.decode("ascii"),
                puzzle=puzzle,
                issued=number(issued, "big"),
                expires=number(expires, "big"),
                audience=audience.decode(),
                client=client.decode(),
                request_id=request_id.decode(),
                digest=digest,
                nonce=nonce,
                token=token,
            )
            if _body(challenge) != token[:-MAC_BYTES]:
                raise ValueError("not written the one way a challenge is written")
            challenge.prefix  # noqa: B018  (a date that cannot be written is refused here)
        except ValueError as error:
            raise MalformedChallenge(f"not a challenge: {error}") from error
        return challenge


class VerifiedDigests:
    """Bits of recently verified argon2id stamps, so that repeating one costs no second digest.

    Bounded (least recently used goes first) and safe to share between threads.  It remembers
    wrong counters too: sending the same ones again must not be a lever against the gate.
    """

    def __init__(self, capacity: int = 65_536) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity!r}")
        self.computed = 0  # digests that had to be computed
        self._capacity = capacity
        self._bits: OrderedDict[bytes, int] = OrderedDict()
        self._lock = Lock()

    def value(self, stamp: bytes) -> int:
        """What a stamp is worth in bits."""
        key = hashlib.blake2b(stamp, digest_size=16).digest()  # a stamp is up to 124 bytes
        with self._lock:
            known = self._bits.get(key)
            if known is not None:
                self._bits.move_to_end(key)
                return known
        worth = leading_zero_bits(digest(stamp, "argon2id"))
        with self._lock:
            self.computed += 1
            self._bits[key] = worth
            while len(self._bits) > self._capacity:
                self._bits.popitem(last=False)
        return worth


def verify_counters(
    challenge: Challenge, counters: Sequence[str], verified: VerifiedDigests | None = None
) -> None:
    """Raise WrongCounters unless the counters solve the challenge.

    As many as the puzzle asks, each 1 to 64 base64 characters, strictly increasing: a shorter
    counter comes before a longer one, equal lengths in ASCII order (so plain hexadecimal numbers
    and fixed-length counters both sort by value).  Everything cheap is checked before any digest,
    and the first wrong stamp ends the check.  A virtual challenge takes no counters.
    """
    puzzle = challenge.puzzle
    wanted = 0 if puzzle.algorithm == "virtual" else puzzle.count
    if len(counters) != wanted:
        raise WrongCounters(f"{len(counters)} counters, expected {wanted}")
    before: tuple[int, str] = (0, "")
    for i, counter in enumerate(counters):
        if not isinstance(counter, str):
            raise WrongCounters(f"counter {i}: text expected, not {type(counter).__name__}")
        if (why := counter_fault(counter)) is not None:
            raise WrongCounters(f"counter {i}: {why}")
        if (len(counter), counter) <= before:
            raise WrongCounters(f"counter {i} does not come after the one before it")
        before = len(counter), counter
    prefix = challenge.prefix
    for i, counter in enumerate(counters):
        stamp = (prefix + counter).encode("ascii")
        if puzzle.algorithm == "argon2id" and verified is not None:
            worth = verified.value(stamp)
        else:
            worth = leading_zero_bits(digest(stamp, puzzle.algorithm))
        if worth < puzzle.bits:
            raise WrongCounters(f"counter {i}: worth {worth} bits, expected {puzzle.bits}")


class Keyring:
    """The secrets of a gate: the first one issues, the others are still accepted.

    ValueError unless each is 32 bytes.  `entropy(n)` gives n random bytes.
    """

    def __init__(
        self, secrets: Sequence[bytes], *, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        if not secrets:
            raise ValueError("a keyring needs at least one secret")
        for i, secret in enumerate(secrets):
            if not isinstance(secret, bytes) or len(secret) != SECRET_BYTES:
                raise ValueError(f"secret {i} must be {SECRET_BYTES} bytes")
        self._entropy = entropy
        self._current = _key_id(secrets[0])
        self._keys = {  # of MACs and of seals
            _key_id(s): (hkdf(s, b"powgate/1 mac"), hkdf(s, b"powgate/1 seal")) for s in secrets
        }

    def issue(
        self,
        puzzle: Puzzle,
        *,
        audience: str,
        client: str,
        request_id: str,
        digest: bytes,
        now: float,
        expires: int,
    ) -> Challenge:
        """A fresh challenge, open until `expires`; ValueError names a field out of range."""
        draft = Challenge(
            key_id=self._current,
            puzzle=puzzle,
            issued=int(now),
            expires=expires,
            audience=audience,
            client=client,
            request_id=request_id,
            digest=digest,
            nonce=self._entropy(NONCE_BYTES),
            token=b"",
        )
        body = _body(draft)
        return Challenge.parse(body + self._mac(draft, body))

    def verify(self, token: bytes, *, client: str, now: float) -> Challenge:
        """The challenge of a token made with these secrets, for this client, still open.

        Its audience is for the caller to look at. Raises Malformed-, Forged-, Expired- or
        ForeignChallenge, in that order.
        """
        challenge = Challenge.parse(token)
        if not hmac.compare_digest(self._mac(challenge, token[:-MAC_BYTES]), token[-MAC_BYTES:]):
            raise ForgedChallenge("the challenge was not issued by this gate")
        if not now <= challenge.expires + CLOCK_SKEW:  # a clock that is not a number is refused
            raise ExpiredChallenge(f"the challenge expired {now - challenge.expires:.0f} s ago")
        if now < challenge.issued - CLOCK_SKEW:
            raise ExpiredChallenge("the challenge is dated in the future")
        if challenge.client != client:
            raise ForeignChallenge("the challenge was issued to another client")
        return challenge

    def sealing_key(self, challenge: Challenge) -> bytes:
        """Key (32 bytes) of the answer sealed with a challenge; HKDF, info = token."""
        return hkdf(self._keys_of(challenge)[1], challenge.token)

    def _mac(self, challenge: Challenge, body: bytes) -> bytes:
        return hmac.digest(self._keys_of(challenge)[0], body, "sha256")[:MAC_BYTES]

    def _keys_of(self, challenge: Challenge) -> tuple[bytes, bytes]:
        if challenge.key_id not in self._keys:
            raise ForgedChallenge("the challenge names a key this gate does not have")
        return self._keys[challenge.key_id]


def hkdf(secret: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) without salt, 32 bytes: one round of expand."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def _key_id(secret: bytes) -> str:
    return hashlib.sha256(hkdf(secret, b"powgate/1 key id")).hexdigest()[:8]


def _body(challenge: Challenge) -> bytes:
    """The authenticated bytes of a challenge; ValueError names a field out of range."""
    for name in ("audience", "client", "request_id"):
        length = len(getattr(challenge, name).encode())
        if not 0 < length <= MAX_TEXT:
            raise ValueError(f"{name} has {length} bytes, expected 1 to {MAX_TEXT}")
    if len(challenge.digest) > MAX_DIGEST:
        raise ValueError(f"digest has {len(challenge.digest)} bytes, at most {MAX_DIGEST}")
    if len(challenge.nonce) != NONCE_BYTES:
        raise ValueError(f"nonce has {len(challenge.nonce)} bytes, expected {NONCE_BYTES}")
    if not 0 <= challenge.issued <= challenge.expires < 1 << 40:
        raise ValueError(f"issued {challenge.issued} and expires {challenge.expires} are no period")
    puzzle = challenge.puzzle
    numbers = ((puzzle.bits, 1), (puzzle.count, 1), (challenge.issued, 8), (challenge.expires, 8))
    fields = (
        _VERSION,
        challenge.key_id.encode("ascii"),
        puzzle.algorithm.encode("ascii"),
        *(number.to_bytes(width, "big") for number, width in numbers),
        challenge.audience.encode(),
        challenge.client.encode(),
        challenge.request_id.encode(),
        challenge.digest,
        challenge.nonce,
    )
    return b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def _split(body: bytes) -> list[bytes]:
    """The fields of a body; MalformedChallenge unless they fill it exactly."""
    fields: list[bytes] = []
    at = 0
    while at < len(body):
        start, length = at + 2, int.from_bytes(body[at : at + 2], "big")
        fields.append(body[start : start + length])
        at = start + length
    if at != len(body) or len(fields) != _FIELDS:
        raise MalformedChallenge("a challenge is cut short or has bytes to spare")
    return fields
