"""Asks the gate for an attack: Driver -> Asking -> Accounts -> Session. Nothing is paid for twice.

A plan depends on its seed and on the answers alone: run again, it asks the same. What the
transcript holds is answered from there, and the gate is asked from where it ends. Request ids
follow from the transcript as well, so that a batch which was charged but not answered when the
process died is the same request to the gate, and is charged once. Prices that were only asked are
kept, too, and a batch whose price was asked is paid for as that same request.

Offers (answers under seal) are kept in a file until they are paid for, so that an attacker that was
stopped while it solved a puzzle goes on with that same puzzle. Asking again would be a retry, of
which a gate serves few.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from attacks.world import Answers, Images
from client.offer import Offer
from client.process import Pace
from client.session import GateError, Refused, Session
from core.arrays import digest
from core.records import RecordWriter, read

TRANSCRIPT = "transcript.jsonl"
OFFERS = "offers.jsonl"


class TranscriptError(ValueError):
    """A transcript that is there already, damaged, or of another attack; one line."""


class OtherVictim(GateError):
    """The gate serves another model now, whose answers do not go with those before."""


class Accounts:
    """Accounts of one attacker (Sybils): asked batch by batch in turn, or in series.

    In series, the next account is asked once `share` images were answered to one. Whose turn it is
    depends on what was answered before and on nothing else, so that an attack which is resumed asks
    each batch under the account it was charged to.
    """

    def __init__(self, sessions: Sequence[Session], *, share: int | None = None) -> None:
        self._sessions = sessions
        self._share = share
        self._batches, self._images = 0, 0  # answered

    def turn(self) -> Session:
        """The session of the account whose turn it is."""
        if self._share is None:
            return self._sessions[self._batches % len(self._sessions)]
        return self._sessions[min(self._images // self._share, len(self._sessions) - 1)]

    def answered(self, images: int) -> None:
        """Counts an answered batch."""
        self._batches += 1
        self._images += images


@dataclass(slots=True)
class _Request:
    """A batch that is not paid for: its id, its account, and its offer, if one was made."""

    id: str
    session: Session
    offer: Offer | None = None


class Asking:
    """Answers and prices for one attack, from its transcript first, then from the gate.

    `priced` is told of every price that the gate was asked. With a `folder`, the transcript and the
    open offers are kept there; `config` is what the queries depend on. Raises TranscriptError for
    a transcript that exists already (unless to be resumed) or was made with another config,
    core.records.RecordError for a damaged file. A last line that a killed process left unfinished
    is dropped.
    """

    def __init__(
        self,
        accounts: Accounts,
        *,
        pace: Pace,
        priced: Callable[[Offer], None],
        folder: Path | None = None,
        config: Mapping[str, Any] | None = None,
        resume: bool = False,
    ) -> None:
        self._accounts = accounts
        self._pace = pace
        self._tell = priced
        self._run = uuid.uuid4()
        self._asked = 0  # batches
        self._victim: str | None = None  # as challenges name it
        self._priced: dict[str, _Request] = {}  # by the digest of the batch
        self._kept: list[dict[str, Any]] = []  # lines of the transcript
        self._offers: dict[str, Mapping[str, Any]] = {}  # of a process before, by request id
        self._writers: dict[str, RecordWriter] = {}
        if folder is not None:
            self._resume(folder, json.loads(json.dumps(config or {})), resume)

    def _resume(self, folder: Path, config: dict[str, Any], resume: bool) -> None:
        """Reads what a process before has left in the folder, and opens the files to go on."""
        self._path, offers = folder / TRANSCRIPT, folder / OFFERS
        if self._path.exists():
            if not resume:
                raise TranscriptError(f"{self._path} exists already; give --resume to go on")
            header, self._kept = read(self._path)
            self._run = _same_run(self._path, header, config)
        if offers.exists():
            self._offers = {str(line.get("request_id")): line for line in read(offers)[1]}
        header = {"run": str(self._run), "config": config}
        for path, first in ((self._path, header), (offers, {})):
            known = path.exists()
            writer = RecordWriter.reopen(path) if known else RecordWriter(path, first)
            self._writers[path.name] = writer

    def predict(self, images: Images) -> Answers:
        """Probabilities (b, k) of images (b, c, h, w), paid for: at the price asked, if one was.

        Raises TranscriptError where the transcript holds the answer to other images, OtherVictim,
        ValueError for a kept offer that cannot be read, and as `Session.predict` does.
        """
        kept, mark, request = self._next(images)
        request = self._priced.pop(mark, request)
        if kept is not None:
            answers = self._read(kept, mark, len(images))
        else:
            answers = self._paid(request, images)
            little = answers.astype("<f4")
            data = base64.b64encode(little.tobytes()).decode()
            self._write(TRANSCRIPT, "answer", digest=mark, shape=list(little.shape), answers=data)
        self._accounts.answered(len(images))
        return answers

    def price(self, images: Images) -> int:
        """The work of an answer to images (b, c, h, w), in expected hashes. Pays nothing.

        Raises TranscriptError where the transcript holds something else, OtherVictim, and as
        `Session.offer` does.
        """
        kept, mark, request = self._next(images)
        self._priced[mark] = request
        if kept is not None:
            self._check(kept, mark, "price", {"work"})
            return int(kept["work"])
        request.offer = self._offered(request, images)
        self._tell(request.offer)
        self._write(TRANSCRIPT, "price", digest=mark, work=request.offer.work)
        return request.offer.work

    def close(self) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()

    def _next(self, images: Images) -> tuple[dict[str, Any] | None, str, _Request]:
        """What the transcript has of the next request, its digest, and the request."""
        mark = digest(images.dtype.str, images.shape, np.ascontiguousarray(images).data).hex()
        kept = self._kept[self._asked] if self._asked < len(self._kept) else None
        self._asked += 1
        request_id = str(uuid.uuid5(self._run, f"{self._asked} {mark}"))
        return kept, mark, _Request(request_id, self._accounts.turn())

    def _paid(self, request: _Request, images: Images) -> Answers:
        """The answer at the gate's open offer, at one of a process before, or at a new one."""
        if request.offer is None and request.id in self._offers:
            offer = Offer.from_json(images, self._offers.pop(request.id))
            try:
                if offer.until > monotonic():
                    return request.session.accept(offer)
            except Refused:
                pass  # of a gate with other secrets, say: it may still answer if asked again
        return request.session.accept(request.offer or self._offered(request, images))

    def _offered(self, request: _Request, images: Images) -> Offer:
        self._pace.wait()
        offer = request.session.offer(images, request_id=request.id)
        if self._victim not in (None, offer.victim):
            raise OtherVictim(
                f"the gate serves {offer.victim} now; expected {self._victim}, as before"
            )
        self._victim = offer.victim
        if offer.work:
            self._write(OFFERS, "offer", **offer.to_json())
        return offer

    def _write(self, file: str, kind: str, **fields: Any) -> None:
        if file in self._writers:
            self._writers[file].write(kind, **fields)

    def _check(self, kept: Mapping[str, Any], mark: str, kind: str, fields: set[str]) -> str:
        """Where the line is; raises TranscriptError if it is of another kind or request."""
        where = f"{self._path}, line {self._asked + 1}"
        if kept["kind"] != kind or not {"digest", *fields} <= kept.keys():
            raise TranscriptError(f"{where}: expected {'an' if kind == 'answer' else 'a'} {kind}")
        if kept["digest"] != mark:
            raise TranscriptError(
                f"{where} answers other queries; expected the same attack, seed, pool and config, "
                "on the same kind of machine"
            )
        return where

    def _read(self, kept: Mapping[str, Any], mark: str, count: int) -> Answers:
        where = self._check(kept, mark, "answer", {"shape", "answers"})
        try:
            data = base64.b64decode(kept["answers"], validate=True)
            answers = np.frombuffer(data, "<f4").astype(np.float32).reshape(kept["shape"])
            if answers.ndim != 2 or len(answers) != count:
                raise ValueError(f"shape {answers.shape}, expected {count} rows")
        except (TypeError, ValueError) as error:
            raise TranscriptError(f"{where}: its answers cannot be read ({error})") from error
        return answers


def _same_run(path: Path, header: Mapping[str, Any], config: Mapping[str, Any]) -> uuid.UUID:
    """The run that a transcript belongs to, if it was made with this config."""
    before = header.get("config")
    try:
        if not isinstance(before, dict):
            raise TypeError("no config")
        run = uuid.UUID(header.get("run"))
    except (AttributeError, TypeError, ValueError) as error:
        raise TranscriptError(f"{path} is not the transcript of an attack") from error
    for key in sorted(before.keys() | config.keys()):
        if before.get(key) != config.get(key):
            was = f"was made with {key} = {before.get(key)!r}, not"
            if key not in before:
                was = f"does not say {key}, which is now"
            raise TranscriptError(
                f"{path} {was} {config.get(key)!r}; expected the same victim, attack, seed, pool "
                "and config"
            )
    return run
