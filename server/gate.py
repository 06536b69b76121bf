"""The use case: one query priced, charged, sealed; one challenge redeemed. No gRPC in here.

The order of `predict` is cheap before dear, and nothing is computed for free: validation, request
id, limits, victim, measure, ledger, sealing.
"""

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

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
from server.inference import Inference, Steps
from server.ledger import MAX_UNPAID, NANO, Account, Charge, Ledger, Payment
from server.model import Model
from server.puzzles import Puzzles, Strikes
from server.refusals import BadRequestId, TooManyInFlight, TooManyUnpaid

MAX_BATCH = 256
"""Images in one request."""

_LOG = logging.getLogger("powgate.server")

_T = TypeVar("_T")

_ZERO_NONCE = bytes(12)  # each challenge has a key of its own, so a fixed nonce never repeats


@dataclass(frozen=True, slots=True)
class Sealed:
    """An answer under seal. `key` comes with it where no work is asked, or was done before."""

    challenge: bytes
    ciphertext: bytes
    key: bytes | None
    charged: int  # images of this client so far
    work: int  # expected hashes
    seconds: float  # spent in the gate


class Gate:
    """Prices, charges and seals. `encode` turns a posterior (b, k) into the bytes to seal."""

    def __init__(
        self,
        *,
        model: Model,
        ledger: Ledger,
        keyring: Keyring,
        puzzles: Puzzles,
        audience: Audience,
        encode: Callable[[NDArray[np.float32]], bytes],
        record: Callable[..., None],
        clock: Callable[[], float],
        torch_pool: Executor,
        verify_pool: Executor,
        perturbation: Perturbation | None = None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self.audience = audience
        self.puzzles = puzzles
        self._ledger = ledger
        self._keyring = keyring
        self._encode = encode
        self._record = record
        self._clock = clock
        self._inference = Inference(model, perturbation, torch_pool)
        self._verify_pool = verify_pool
        self._verified = VerifiedDigests()
        self._strikes = Strikes(elapsed)
        self._in_flight: Counter[str] = Counter()  # predictions under way, by client
        self._redeeming: Counter[str] = Counter()  # redemptions under way, by client
        self._reserved: dict[tuple[str, str], asyncio.Future[None]] = {}  # request ids under way
        self._computing: Counter[str] = Counter()  # of those, not charged yet
        self._tasks: set[asyncio.Task[Any]] = set()
        self._begun = 0

    async def predict(self, client: str, request_id: str, images: NDArray[Any]) -> Sealed:
        """Answers a batch (b, c, h, w) under seal.

        Raises BadRequestId, RequestIdReused, RetriesExhausted, TooManyInFlight, TooManyUnpaid,
        core.arrays.InvalidInputs, LedgerUnavailable.
        """
        started = time.perf_counter()
        check_request_id(request_id)
        check_inputs(images, self.model.victim.shape, MAX_BATCH)  # cheaper than their digest
        return await self._to_its_end(
            self._in_flight, client, lambda: self._in_turn(client, request_id, images, started)
        )

    async def redeem(self, client: str, token: bytes, counters: Sequence[str]) -> bytes:
        """The key of a challenge whose stamps are all there; redeeming again gives it again.

        Raises the ChallengeErrors of pow.challenge, TooManyWrongCounters, TooManyInFlight,
        NothingToRedeem, LedgerUnavailable.
        """
        challenge = self._keyring.verify(token, client=client, now=self._clock())
        books = self._books(challenge)
        self._strikes.check(client)
        # Not counted with the predictions: work that is done must find room.
        await self._to_its_end(
            self._redeeming, client, lambda: self._settle(client, books, challenge, counters)
        )
        return self._keyring.sealing_key(challenge)

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
        return await asyncio.wrap_future(self._ledger.account(client))

    async def idle(self, *, for_seconds: float = 0.0) -> None:
        """Waits until all that was begun is done, and nothing has begun for so long."""
        while True:
            while self._tasks:
                await asyncio.wait(self._tasks)
            begun = self._begun
            await asyncio.sleep(for_seconds)
            if begun == self._begun and not self._tasks:
                return

    async def _to_its_end(
        self, under_way: Counter[str], client: str, work: Callable[[], Coroutine[Any, Any, _T]]
    ) -> _T:
        """Work for a client, finished even if the client hangs up.

        Otherwise whoever cancels in time has the victim computed, or counters checked, for nothing,
        and pays without a line in the record.
        """
        if under_way[client] >= MAX_UNPAID:
            raise TooManyInFlight(
                f"{under_way[client]} requests are under way; at most {MAX_UNPAID} at once"
            )
        under_way[client] += 1
        self._begun += 1
        task = asyncio.create_task(work())
        self._tasks.add(task)

        def done(task: "asyncio.Task[_T]") -> None:
            self._tasks.discard(task)
            _less(under_way, client)
            if not task.cancelled():
                task.exception()  # seen, even where nobody waits for it any more

        task.add_done_callback(done)
        return await asyncio.shield(task)

    async def _in_turn(
        self, client: str, request_id: str, images: NDArray[Any], started: float
    ) -> Sealed:
        """Predicts once no other request with this id is under way.

        Otherwise several at once, with different inputs, are all computed, and one is charged.
        """
        key = client, request_id
        while key in self._reserved:
            await asyncio.shield(self._reserved[key])
        self._reserved[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._predict(client, request_id, images, started)
        finally:
            self._reserved.pop(key).set_result(None)

    async def _predict(
        self, client: str, request_id: str, images: NDArray[Any], started: float
    ) -> Sealed:
        inputs = digest(images.dtype.name, images.shape, images.tobytes())
        known = await asyncio.wrap_future(self._ledger.recall(client, request_id, inputs))
        steps = Steps()
        if isinstance(known, Charge):
            charge, retry = known, True
            posterior = await self._inference.again(client, images, steps)
        else:
            retry = False
            self._check_room(client, known)
            self._computing[client] += 1
            try:
                posterior, batch = await self._inference.answer(client, images, steps)
                with steps.timed("ledger"):
                    charge = await asyncio.wrap_future(
                        self._ledger.ask(client, request_id, inputs, batch)
                    )
            finally:
                _less(self._computing, client)
        with steps.timed("seal"):
            sealed = self._seal(client, request_id, inputs, charge, posterior, started)
        account = charge.account
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

    def _check_room(self, client: str, account: Account) -> None:
        """Raises TooManyUnpaid where this batch, too, may end up as one too many.

        Refused again, atomically, when it is charged; here it saves the victim's time.
        """
        computing = self._computing[client]
        if account.unpaid + computing >= MAX_UNPAID:
            more = f" and {computing} are being answered" if computing else ""
            raise TooManyUnpaid(
                f"{account.unpaid} batches are unpaid{more}; redeem one before asking for more "
                f"(at most {MAX_UNPAID})"
            )

    async def _settle(
        self, client: str, books: str, challenge: Challenge, counters: Sequence[str]
    ) -> None:
        """Checks counters, marks the charge as paid, and records that once."""
        await self._verify(client, challenge, counters)
        payment = Payment(books, challenge.request_id, challenge.digest, challenge.puzzle)
        if await asyncio.wrap_future(self._ledger.settle(client, payment)):
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
            self._strikes.add(client)
            raise

    def _write(self, kind: str, /, **fields: Any) -> None:
        """One line of the record. A record that fails must not cost a client its answer."""
        try:
            self._record(kind, **fields)
        except OSError:
            _LOG.exception("a line of the record is lost")

    def _seal(
        self,
        client: str,
        request_id: str,
        inputs: bytes,
        charge: Charge,
        posterior: NDArray[np.float32],
        started: float,
    ) -> Sealed:
        open_now = charge.paid or charge.work == 0
        challenge = self._keyring.issue(
            Puzzle(charge.puzzle.algorithm, 0, 0) if open_now else charge.puzzle,
            audience=str(self.audience),
            client=client,
            request_id=request_id,
            digest=inputs,
            now=self._clock(),
            expires=charge.expires,
        )
        key = self._keyring.sealing_key(challenge)
        ciphertext = AESGCM(key).encrypt(_ZERO_NONCE, self._encode(posterior), challenge.token)
        return Sealed(
            challenge=challenge.token,
            ciphertext=ciphertext,
            key=key if open_now else None,
            charged=charge.account.charged,
            work=0 if open_now else charge.work,
            seconds=time.perf_counter() - started,
        )


def _less(counter: Counter[str], name: str) -> None:
    """One less, and nothing kept of those who are gone."""
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


def check_request_id(request_id: str) -> None:
    """Raises BadRequestId unless it is a UUID in its canonical form."""
    try:
        if str(uuid.UUID(request_id)) == request_id:
            return
    except ValueError:
        pass
    shown = request_id if len(request_id) <= 64 else f"{request_id[:64]}…"
    raise BadRequestId(f"request id {shown!r} is not a UUID such as {uuid.UUID(int=4)}")
