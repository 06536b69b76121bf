"""Checks what a gate says: nothing that comes off the wire is believed.

A gate may be wrong, and it may be hostile: it may pass on the challenge of another gate, so that
its users solve what that one asks of it. So a challenge must be about the request that was made, of
this gate, for this account, and ask for the work that the receipt names. `BadAnswer` otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from client.channel import Endpoint, plain_name
from client.errors import BadAnswer, as_gate_errors
from client.inputs import MAX_RANK
from core.arrays import digest
from pow.audience import Audience
from pow.challenge import Challenge
from pow.puzzle import ALGORITHMS, Puzzle
from protos import codec
from protos import gate_pb2 as pb

SUM_TOLERANCE = 1e-3
"""How far probabilities may be from summing to 1: rounded ones, and those of many classes, are."""

MAX_VALUES = 1 << 24  # of one input
MAX_SECONDS = 86_400.0
MAX_TEXT = 256

_BOUNDS = {
    "classes": (2, 1 << 20),
    "max_batch": (1, 1 << 20),
    "max_unpaid": (1, 1 << 20),
    "hash_rate": (0.0, 1e18),
}
_TEXTS = ("model", "fingerprint", "audience", "client", "algorithm")
_KEY_BYTES = 32
_TAG_BYTES = 16
_SEALED_BYTES = 4096  # of a sealed answer besides its ciphertext, at most
_HEADER_BYTES = 64  # of a serialized tensor, at most, besides its data
_ZERO_NONCE = bytes(12)  # the gate seals every answer under a key of its own


@dataclass(frozen=True, slots=True)
class Service:
    """What the gate serves."""

    shape: tuple[int, ...]  # of one input, (c, h, w) of images
    classes: int
    max_batch: int
    max_unpaid: int
    hash_rate: float  # hashes per second on which prices in seconds rest
    model: str
    fingerprint: str  # of the model and its measure; empty from a gate that does not tell
    audience: str  # the gate, as its challenges name it (pow.audience)
    client: str  # this account, as challenges name it
    algorithm: str


@dataclass(frozen=True, slots=True)
class Account:
    """What this client has asked."""

    queries: int  # images
    unpaid_batches: int


def read_service(said: pb.Description, endpoint: Endpoint, client_id: str | None) -> Service:
    """What a gate serves, as it describes itself to the caller `client_id` (None: a key's owner).

    Raises BadAnswer for what no gate serves, and for a gate that is not the one that was dialled.
    """
    shape = tuple(said.input_shape)
    if not 1 <= len(shape) < MAX_RANK or min(shape) < 1 or math.prod(shape) > MAX_VALUES:
        raise BadAnswer(
            f"the gate serves inputs of shape {shape[:MAX_RANK]}; expected at most "
            f"{MAX_RANK - 1} axes and {MAX_VALUES} values"
        )
    for name, (least, most) in _BOUNDS.items():
        value = getattr(said, name)
        if not least <= value <= most:
            raise BadAnswer(f"the gate says {name} is {value:g}; expected {least:g} to {most:g}")
    for name in _TEXTS:
        text = getattr(said, name)
        if len(text) > MAX_TEXT or not text.isprintable():
            raise BadAnswer(f"the gate says {name} is {text[:80]!r}; expected a line of text")
    if said.algorithm not in ALGORITHMS:
        raise BadAnswer(
            f"the gate's puzzles are {said.algorithm!r}; expected {', '.join(ALGORITHMS)}"
        )
    if not said.client or client_id not in (None, said.client):
        raise BadAnswer(f"the gate takes this client for {said.client!r}; expected {client_id!r}")
    _check_audience(said.audience, endpoint)
    told: dict[str, Any] = {name: getattr(said, name) for name in (*_BOUNDS, *_TEXTS)}
    return Service(shape=shape, **told)


def _check_audience(text: str, endpoint: Endpoint) -> None:
    """Raises BadAnswer unless the gate calls itself what was dialled.

    Under TLS the name that was dialled is the gate's for sure: one that passes on another gate's
    challenges would have to name that one here. Without TLS a public name is compared, too, if
    there is one; on this machine only where a name was given.
    """
    try:
        hosts = Audience.parse(text).hosts
    except ValueError as error:
        raise BadAnswer(f"the gate does not say who it is: {error}") from error
    if endpoint.name is None and (endpoint.loopback or not (hosts or endpoint.roots)):
        return
    expected = endpoint.name or endpoint.host
    if not hosts:
        raise BadAnswer(
            f"the gate has no public name; expected {expected} (its certificate names no host, "
            "and serve was not given --name)"
        )
    if plain_name(expected) not in map(plain_name, hosts):
        raise BadAnswer(
            f"the gate calls itself {', '.join(hosts[:8])}; expected {expected}, which was "
            "dialled: it may pass on another gate's puzzles (give name=… for a gate that is "
            "dialled under another name)"
        )


def read_account(said: pb.Account) -> Account:
    """What a client has asked. Raises BadAnswer."""
    if min(said.queries, said.unpaid_batches) < 0:
        raise BadAnswer(
            f"the gate says {said.queries} queries, {said.unpaid_batches} unpaid; "
            "expected 0 or more"
        )
    return Account(said.queries, said.unpaid_batches)


class ForeignPuzzle(BadAnswer):
    """A challenge that was set for another request, account or gate; it was not solved."""


def read_challenge(
    sealed: pb.SealedPrediction, request: pb.PredictRequest, batch: NDArray[Any], service: Service
) -> Challenge:
    """The challenge of a sealed answer, which is about this request. Raises BadAnswer.

    What cannot be compared exactly is bounded: a puzzle is rounded (docs/puzzles.md), and tries of
    argon2id are fewer than the hashes that a receipt counts.
    """
    besides = sealed.ByteSize() - len(sealed.ciphertext)
    if besides > _SEALED_BYTES:  # also fields that nobody knows: solved, they may be kept for long
        raise BadAnswer(
            f"the answer has {besides} bytes besides what is sealed; expected at most "
            f"{_SEALED_BYTES}"
        )
    with as_gate_errors():
        challenge = Challenge.parse(sealed.challenge)
    for name, mine, theirs in (
        ("request id", request.request_id, challenge.request_id),
        (
            "digest",
            digest(batch.dtype.name, batch.shape, request.inputs.data).hex(),
            challenge.digest.hex(),
        ),
        ("client", service.client, challenge.client),
        ("audience", service.audience, challenge.audience),
    ):
        if mine != theirs:
            raise ForeignPuzzle(
                f"the challenge is for {name} {theirs[:80]!r}; expected {mine[:80]!r}, its own"
            )
    receipt = sealed.receipt
    if not 0 <= receipt.server_seconds <= MAX_SECONDS:
        raise BadAnswer(
            f"the receipt says {receipt.server_seconds:g} s; expected 0 to {MAX_SECONDS:g}"
        )
    if min(receipt.work, receipt.queries_charged) < 0:
        raise BadAnswer(
            f"the receipt says {receipt.work} hashes, {receipt.queries_charged} queries charged; "
            "expected 0 or more"
        )
    if not sealed.HasField("key"):  # with it there is nothing to solve
        _check_puzzle(challenge.puzzle, receipt.work, service.algorithm)
    least = 4 * len(batch) * service.classes + _TAG_BYTES
    if not least <= len(sealed.ciphertext) <= least + _HEADER_BYTES:
        raise BadAnswer(
            f"the sealed answer has {len(sealed.ciphertext)} bytes; expected about {least}, "
            f"float32 for {len(batch)} images in {service.classes} classes"
        )
    return challenge


def _check_puzzle(puzzle: Puzzle, work: int, algorithm: str) -> None:
    allowed = ("argon2id", "sha1") if algorithm == "argon2id" else (algorithm,)
    if puzzle.algorithm not in allowed:
        raise BadAnswer(
            f"the puzzle is {puzzle.algorithm}; expected {' or '.join(allowed)}, as described"
        )
    if puzzle.algorithm == "argon2id":
        right = 0 < 4 * puzzle.work <= 5 * work + 4 and work > 0
    else:
        right = 32 * abs(puzzle.work - work) <= work
    if not right:
        raise BadAnswer(
            f"the puzzle is {puzzle.work} expected tries ({puzzle.algorithm}), the receipt says "
            f"{work} hashes; expected the same work"
        )


def open_answer(
    sealed: pb.SealedPrediction, key: bytes, *, images: int, classes: int
) -> NDArray[np.float32]:
    """Class probabilities (b, k) under seal, as an array of one's own. Raises BadAnswer."""
    if len(key) != _KEY_BYTES:
        raise BadAnswer(f"the gate's key has {len(key)} bytes; expected {_KEY_BYTES}")
    with as_gate_errors():
        plain = AESGCM(key).decrypt(_ZERO_NONCE, sealed.ciphertext, sealed.challenge)
        answer = codec.loads(plain)
    if answer.shape != (images, classes) or answer.dtype != np.float32:
        raise BadAnswer(
            f"the answer has shape {answer.shape} of {answer.dtype}; "
            f"expected {(images, classes)} of float32"
        )
    low, high = float(answer.min()), float(answer.max())  # NaN if there is one
    if not (low >= -SUM_TOLERANCE and high <= 1 + SUM_TOLERANCE):
        raise BadAnswer(f"the answer holds {low:g} to {high:g}; expected probabilities")
    sums = answer.sum(axis=1, dtype=np.float64)
    off = int(np.abs(sums - 1).argmax())
    if abs(sums[off] - 1) > SUM_TOLERANCE:
        raise BadAnswer(f"the answer of image {off} sums to {sums[off]:g}; expected 1")
    return answer.astype(np.float32)  # native, writable
