"""The use case: one query priced, charged, sealed; one challenge redeemed. No gRPC in here.

The order of `predict` is cheap before dear, and nothing is computed for free: request id, limits,
validation, victim, measure, ledger, sealing.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from core.arrays import check_images, digest, to_float
from pow.challenge import Challenge, Keyring, VerifiedDigests, WrongCounters, verify_counters
from server.ledger import MAX_UNPAID, NANO, Account, Charge, Ledger
from server.model import Model
from server.puzzles import Puzzles, Strikes
from server.refusals import BadRequestId, TooManyInFlight

MAX_BATCH = 256
"""Images in one request."""

_ZERO_NONCE = bytes(12)  # each challenge has a key of its own, so a fixed nonce never repeats


@dataclass(frozen=True, slots=True)
class Sealed:
    """An answer under seal. `key` is given at once where no work is asked."""

    challenge: bytes
    ciphertext: bytes
    key: bytes | None
    charged: int  # images of this client so far
    work: int  # expected hashes
    seconds: float  # spent in the gate


@dataclass(slots=True)
class _Steps:
    """Seconds spent in each step of one request."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - start


class Gate:
    """Prices, charges and seals. `encode` turns a posterior (b, k) into the bytes to seal."""

    def __init__(
        self,
        *,
        model: Model,
        ledger: Ledger,
        keyring: Keyring,
        puzzles: Puzzles,
        audience: str,
        encode: Callable[[NDArray[np.float32]], bytes],
        record: Callable[..., None],
        clock: Callable[[], float],
        torch_pool: Executor,
        verify_pool: Executor,
    ) -> None:
        self.model = model
        self.puzzles = puzzles
        self._ledger = ledger
        self._keyring = keyring
        self._audience = audience
        self._encode = encode
        self._record = record
        self._clock = clock
        self._torch_pool = torch_pool
        self._verify_pool = verify_pool
        self._verified = VerifiedDigests()
        self._strikes = Strikes(clock)
        self._in_flight: Counter[str] = Counter()

    async def predict(self, client: str, request_id: str, images: NDArray[Any]) -> Sealed:
        """Answers a batch (b, c, h, w) under seal.

        Raises BadRequestId, RequestIdReused, RetriesExhausted, TooManyInFlight, TooManyUnpaid,
        core.arrays.InvalidImages, LedgerUnavailable.
        """
        started = time.perf_counter()
        check_request_id(request_id)
        with self._under_way(client):
            inputs = digest(images.dtype.name, images.shape, images.tobytes())
            charge = await asyncio.wrap_future(self._ledger.recall(client, request_id, inputs))
            check_images(images, self.model.victim.shape, MAX_BATCH)
            retry = charge is not None
            steps = _Steps()
            pixels = to_float(images)
            posterior, costs = await asyncio.get_running_loop().run_in_executor(
                self._torch_pool, self._answer, pixels, retry, steps
            )
            if charge is None:
                with steps.timed("ledger"):
                    cost = round(float(costs.sum()) * NANO)
                    charge = await asyncio.wrap_future(
                        self._ledger.ask(client, request_id, inputs, len(images), cost)
                    )
            with steps.timed("seal"):
                sealed = self._seal(client, request_id, inputs, charge, posterior, started)
        account = charge.account
        self._record(
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
        )
        return sealed

    async def redeem(self, client: str, token: bytes, counters: Sequence[str]) -> bytes:
        """The key of a challenge whose stamps are all there; redeeming again gives it again.

        Raises the ChallengeErrors of pow.challenge, TooManyWrongCounters, TooManyInFlight,
        NothingToRedeem, LedgerUnavailable.
        """
        challenge = self._keyring.verify(
            token, audience=self._audience, client=client, now=self._clock()
        )
        self._strikes.check(client)
        with self._under_way(client):
            await self._verify(client, challenge, counters)
        await asyncio.wrap_future(self._ledger.settle(client, challenge.request_id))
        self._record("redeem", client=client, request_id=challenge.request_id)
        return self._keyring.sealing_key(challenge)

    async def account(self, client: str) -> Account:
        """What the client has asked so far. Raises LedgerUnavailable."""
        return await asyncio.wrap_future(self._ledger.account(client))

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
            self._strikes.add(client)
            raise

    @contextmanager
    def _under_way(self, client: str) -> Iterator[None]:
        if self._in_flight[client] >= MAX_UNPAID:
            raise TooManyInFlight(
                f"{self._in_flight[client]} requests are under way; at most {MAX_UNPAID} at once"
            )
        self._in_flight[client] += 1
        try:
            yield
        finally:
            self._in_flight[client] -= 1
            if not self._in_flight[client]:
                del self._in_flight[client]

    def _answer(
        self, pixels: NDArray[np.float32], retry: bool, steps: _Steps
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Posterior (b, k) and privacy cost (b,); a retry is never measured again."""
        with steps.timed("victim"):
            answer = self.model.victim.answer(pixels)
            posterior = answer.posterior()
        if retry:
            return posterior, np.zeros(len(pixels))
        with steps.timed("measure"):
            costs = self.model.measure.cost(pixels, answer)
        return posterior, costs

    def _seal(
        self,
        client: str,
        request_id: str,
        inputs: bytes,
        charge: Charge,
        posterior: NDArray[np.float32],
        started: float,
    ) -> Sealed:
        algorithm, tries = self.puzzles.choose(charge.work)
        challenge = self._keyring.issue(
            tries,
            algorithm=algorithm,
            audience=self._audience,
            client=client,
            request_id=request_id,
            digest=inputs,
            now=self._clock(),
        )
        key = self._keyring.sealing_key(challenge)
        ciphertext = AESGCM(key).encrypt(_ZERO_NONCE, self._encode(posterior), challenge.token)
        return Sealed(
            challenge=challenge.token,
            ciphertext=ciphertext,
            key=key if charge.work == 0 else None,
            charged=charge.account.charged,
            work=charge.work,
            seconds=time.perf_counter() - started,
        )


def check_request_id(request_id: str) -> None:
    """Raises BadRequestId unless it is a UUID in its canonical form."""
    try:
        if str(uuid.UUID(request_id)) == request_id:
            return
    except ValueError:
        pass
    shown = request_id if len(request_id) <= 64 else f"{request_id[:64]}…"
    raise BadRequestId(f"request id {shown!r} is not a UUID such as {uuid.UUID(int=4)}")
