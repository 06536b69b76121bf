"""The transcript of an attack: every paid answer, kept so that a thief that crashed pays once.

A plan depends on its seed and on the answers alone. Run again, it asks the same: what the
transcript holds is answered from there, and the gate is asked from where it ends. The ids of
requests follow from the transcript as well, so that a batch which was charged but not answered when
the process died is the same request to the gate, and is charged once. Prices that were only asked
are kept, too, and a batch whose price was asked is paid for as that same request.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attacks.world import Answers, Images
from core import records
from core.arrays import digest

Ask = Callable[[Images, str], Answers]
"""Asks the gate, under a request id."""

AskPrice = Callable[[Images, str], int]
"""Asks the gate for the work of an answer, under a request id."""


_KINDS = {"answer": "an answer", "price": "a price"}


class TranscriptError(ValueError):
    """A transcript that is there already, damaged, or of another attack; one line."""


class Transcript:
    """Paid answers in a file, in order; one that is resumed answers from the file first.

    `config` is what the queries depend on. Raises TranscriptError for a file that exists already
    (unless to be resumed) or was made with another config, RecordError for a damaged one. A last
    line that a killed process left unfinished is dropped.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], *, resume: bool) -> None:
        self._path = path
        known = json.loads(json.dumps(config))
        kept: list[dict[str, Any]] = []
        if not path.exists():
            self._run = uuid.uuid4()
            self._writer = records.RecordWriter(path, {"run": str(self._run), "config": known})
        elif resume:
            header, kept = records.read(path)
            self._run = _same(path, header, known)
            self._writer = records.RecordWriter.reopen(path)
        else:
            raise TranscriptError(f"{path} exists already; give --resume to go on from it")
        self._kept: Iterator[dict[str, Any]] = iter(kept)
        self._asked = 0  # batches
        self._priced: dict[str, str] = {}  # digest of a batch that is not paid for -> request id

    def predict(self, images: Images, ask: Ask) -> Answers:
        """The kept answers (b, k) to these images, or the gate's, which is then kept.

        Raises TranscriptError where the transcript holds the answer to other images.
        """
        kept, mark, request_id = self._next(images)
        request_id = self._priced.pop(mark, request_id)
        if kept is not None:
            return self._read(kept, mark, len(images))
        answers = ask(images, request_id)
        little = answers.astype("<f4")
        self._writer.write(
            "answer",
            digest=mark,
            shape=list(little.shape),
            answers=base64.b64encode(little.tobytes()).decode(),
        )
        return answers

    def price(self, images: Images, ask: AskPrice) -> int:
        """The kept price of an answer to these images, in expected hashes, or the gate's.

        Raises TranscriptError where the transcript holds something else.
        """
        kept, mark, request_id = self._next(images)
        self._priced[mark] = request_id
        if kept is not None:
            self._check(kept, mark, "price", {"work"})
            return int(kept["work"])
        work = ask(images, request_id)
        self._writer.write("price", digest=mark, work=work)
        return work

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _next(self, images: Images) -> tuple[dict[str, Any] | None, str, str]:
        """What is kept of the next request, if it is; its digest, and its id."""
        mark = digest(images.dtype.str, images.shape, np.ascontiguousarray(images).data).hex()
        self._asked += 1
        request_id = str(uuid.uuid5(self._run, f"{self._asked} {mark}"))
        return next(self._kept, None), mark, request_id

    def _check(self, kept: Mapping[str, Any], mark: str, kind: str, fields: set[str]) -> str:
        """Where the line is; raises TranscriptError if it is of another kind or request."""
        where = f"{self._path}, line {self._asked + 1}"
        if kept["kind"] != kind or not {"digest", *fields} <= kept.keys():
            raise TranscriptError(f"{where}: expected {_KINDS[kind]}")
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
        except (TypeError, ValueError) as error:
            raise TranscriptError(f"{where}: its answers cannot be read ({error})") from error
        if answers.ndim != 2 or len(answers) != count:
            raise TranscriptError(
                f"{where}: its answers are {answers.shape}, expected {count} rows"
            )
        return answers


def _same(path: Path, header: Mapping[str, Any], config: Mapping[str, Any]) -> uuid.UUID:
    """The run that a transcript belongs to, if it was made with this config."""
    before = header.get("config")
    if not isinstance(before, dict):
        raise TranscriptError(f"{path} is not the transcript of an attack")
    for key in sorted(before.keys() | config.keys()):
        if before.get(key) != config.get(key):
            was = (
                f"was made with {key} = {before[key]!r}, not"
                if key in before
                else (f"does not say {key}, which is now")
            )
            raise TranscriptError(
                f"{path} {was} {config.get(key)!r}; expected the same victim, attack, seed, pool "
                "and config"
            )
    try:
        return uuid.UUID(header.get("run"))
    except (AttributeError, TypeError, ValueError) as error:
        raise TranscriptError(f"{path} is not the transcript of an attack") from error
