"""The use case: one query priced, charged, sealed; one challenge redeemed. No gRPC in here.

The order of `predict` is cheap before expensive, and nothing is computed for free: validation,
request id, limits, victim, measure, ledger, sealing.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from core.arrays import check_inputs, digest
from pow.audience import Audience
from pow.challenge import (
    Challenge,
    ForeignChallenge,
    Keyring,
    VerifiedDigests,
    WrongCounters,
    verify_counters,
)
from pow.puzzle import Puzzle
from server.defences import Perturbation
from server.fair import FairExecutor
from server.inference import Inference, Steps
from server.ledger import NANO, Account, Charge, Ledger, Payment
from server.limits import UnderWay, WrongAnswerLimiter
from server.model import Model
from server.refusals import BadRequestId

MAX_BATCH = 256
"""Inputs in one request."""

_LOG = logging.getLogger("powgate.server")

_ZERO_NONCE = bytes(12)  # each challenge has a key of its own, so a fixed nonce never repeats


@dataclass(frozen=True, slots=True)
class Sealed:
    """An answer under seal. `key` comes with it where no work is asked, or was done before."""

    challenge: bytes
    ciphertext: bytes
    key: bytes | None
    charged: int  # inputs of this client so far
    work: int  # expected hashes
    seconds: float  # spent in the gate


def unrecorded(kind: str, /, **fields: Any) -> None:
    """Keeps no record."""


@dataclass(kw_only=True)
class Gate:
    """Prices, charges and seals. `encode` turns probabilities (b, k) into the bytes to seal."""

    model: Model
    ledger: Ledger
    keyring: Keyring
    encode: Callable[[NDArray[np.float32]], bytes]
    algorithm: str = "sha1"  # of the puzzles
    hash_rate: float = 0.0  # on which prices rest, as clients are told it
    calibration: str = "0" * 16  # 16 hex digits of what the prices rest on
    hosts: tuple[str, ...] = ()  # public names of the gate
    perturbation: Perturbation | None = None
    record: Callable[..., None] = unrecorded
    clock: Callable[[], float] = time.time
    elapsed: Callable[[], float] = time.monotonic  # for durations; the clock may be set

    def __post_init__(self) -> None:
        self.audience = Audience(
            fingerprint=self.model.public_fingerprint,
            ledger=self.ledger.id,
            books=self.ledger.books,
            calibration=self.calibration,
            hosts=self.hosts,
        )
        self.under_way = UnderWay()
        self._torch_pool, self._verify_pool = FairExecutor("torch"), FairExecutor("verify")
        self._inference = Inference(self.model, self.perturbation, self._torch_pool)
        self._verified = VerifiedDigests()
        self._wrong = WrongAnswerLimiter(self.elapsed)

    def close(self) -> None:
        """Ends the gate's threads. The ledger stays open."""
        self._torch_pool.shutdown()
        self._verify_pool.shutdown()

    def warm_up(self) -> None:
        """Runs one batch through victim, measure and defence: no client waits for a first time.

        Raises ValueError for a defence that cannot work with this victim.
        """
        self._inference.warm_up(MAX_BATCH)

    async def predict(self, client: str, request_id: str, inputs: NDArray[Any]) -> Sealed:
        """Answers a batch (b, *shape) under seal.

        Raises BadRequestId, RequestIdReused, RetriesExhausted, TooManyInFlight, TooManyUnpaid,
        core.arrays.InvalidInputs, LedgerUnavailable.
        """
        started = time.perf_counter()
        check_request_id(request_id)
        victim = self.model.victim  # checking is cheaper than the digest
        check_inputs(inputs, victim.shape, MAX_BATCH, victim.dtypes)

        async def predicted() -> Sealed:
            async with self.under_way.alone(client, request_id):
                return await self._predict(client, request_id, inputs, started)

        return await self.under_way.finish("predict", client, predicted)

    async def redeem(self, client: str, token: bytes, counters: Sequence[str]) -> bytes:
        """The key of a challenge whose stamps are all there; redeeming again gives it again.

        Raises the ChallengeErrors of pow.challenge, TooManyWrongCounters, TooManyInFlight,
        NothingToRedeem, LedgerUnavailable.
        """
        challenge = self.keyring.verify(token, client=client, now=self.clock())
        books = self._books(challenge)
        self._wrong.check(client)
        # Not counted with the predictions: work that is done must find room.
        await self.under_way.finish(
            "redeem", client, lambda: self._settle(client, books, challenge, counters)
        )
        return self.keyring.sealing_key(challenge)

    def _books(self, challenge: Challenge) -> str:
        """The books of this ledger that a challenge was charged in.

        They may be those of an earlier start with other prices: what was solved for them is not
        lost. Raises ForeignChallenge for one of another ledger.
        """
        try:
            audience = Audience.parse(challenge.audience)
        except ValueError as error:
            raise ForeignChallenge("the challenge was issued by another version") from error
        if audience.ledger != self.audience.ledger:
            raise ForeignChallenge("the challenge was issued from another ledger")
        return audience.books

    async def account(self, client: str) -> Account:
        """What the client has asked so far. Raises LedgerUnavailable."""
        return await asyncio.wrap_future(self.ledger.account(client))

    async def _predict(
        self, client: str, request_id: str, inputs: NDArray[Any], started: float
    ) -> Sealed:
        identity = digest(inputs.dtype.name, inputs.shape, inputs.tobytes())
        known = await asyncio.wrap_future(self.ledger.recall(client, request_id, identity))
        steps, retry = Steps(), isinstance(known, Charge)
        if isinstance(known, Charge):
            charge = known
            answer, _ = await self._inference.answer(client, inputs, steps, measured=False)
        else:
            with self.under_way.room(client, known):
                answer, batch = await self._inference.answer(client, inputs, steps)
                with steps.timed("ledger"):
                    charge = await asyncio.wrap_future(
                        self.ledger.ask(client, request_id, identity, batch)
                    )
        with steps.timed("seal"):
            open_now = charge.paid or charge.work == 0
            challenge = self.keyring.issue(
                Puzzle(charge.puzzle.algorithm, 0, 0) if open_now else charge.puzzle,
                audience=str(self.audience),
                client=client,
                request_id=request_id,
                digest=identity,
                now=self.clock(),
                expires=charge.expires,
            )
            key = self.keyring.sealing_key(challenge)
            ciphertext = AESGCM(key).encrypt(_ZERO_NONCE, self.encode(answer), challenge.token)
        account = charge.account
        sealed = Sealed(
            challenge=challenge.token,
            ciphertext=ciphertext,
            key=key if open_now else None,
            charged=account.charged,
            work=0 if open_now else charge.work,
            seconds=time.perf_counter() - started,
        )
        self._write(
            "predict",
            client=client,
            request_id=request_id,
            images=charge.images,
            cost=charge.cost / NANO,
            work=charge.work,
            retry=retry,
            account={
                "images": account.charged,
                "cost": account.cost / NANO,
                "unpaid": account.unpaid,
            },
            seconds=steps.seconds,
            **steps.distance(),
        )
        return sealed

    async def _settle(
        self, client: str, books: str, challenge: Challenge, counters: Sequence[str]
    ) -> None:
        """Checks counters, marks the charge as paid, and records that once."""
        await self._verify(client, challenge, counters)
        payment = Payment(books, challenge.request_id, challenge.digest, challenge.puzzle)
        if await asyncio.wrap_future(self.ledger.settle(client, payment)):
            self._write("redeem", client=client, request_id=challenge.request_id)

    async def _verify(self, client: str, challenge: Challenge, counters: Sequence[str]) -> None:
        """Raises WrongCounters, and remembers that the client sent them."""
        try:
            if challenge.puzzle.algorithm == "argon2id":  # a millisecond a stamp: not in the loop
                await asyncio.get_running_loop().run_in_executor(
                    self._verify_pool, verify_counters, challenge, counters, self._verified
                )
            else:
                verify_counters(challenge, counters)
        except WrongCounters:
            self._wrong.add(client)
            raise

    def _write(self, kind: str, /, **fields: Any) -> None:
        """One line of the record. A record that fails must not cost a client its answer."""
        try:
            self.record(kind, **fields)
        except OSError:
            _LOG.exception("a line of the record is lost")


def check_request_id(request_id: str) -> None:
    """Raises BadRequestId unless it is a UUID in its canonical form."""
    try:
        if str(uuid.UUID(request_id)) == request_id:
            return
    except ValueError:
        pass
    shown = request_id if len(request_id) <= 64 else f"{request_id[:64]}…"
    raise BadRequestId(f"request id {shown!r} is not a UUID such as {uuid.UUID(int=4)}")
