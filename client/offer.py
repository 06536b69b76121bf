"""An offer: an answer under seal and its price; it can be kept while the process comes and goes."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from pow.audience import Audience
from pow.challenge import Challenge, ChallengeError
from protos import gate_pb2 as pb


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A sealed answer and its price; `Session.accept` pays for it."""

    request_id: str
    images: NDArray[Any]
    work: int  # asked, in expected hashes
    until: float  # when it runs out, on the clock of time.monotonic
    seconds: float  # it took
    cpu: float  # seconds of this process
    sent: int  # bytes
    sealed: pb.SealedPrediction
    challenge: Challenge

    @property
    def victim(self) -> str:
        """Fingerprint of the model and its measure, as the challenge names it."""
        return Audience.parse(self.challenge.audience).fingerprint

    def to_json(self) -> dict[str, Any]:
        """The offer but for its images; it runs out at a time of the clock on the wall."""
        return {
            "request_id": self.request_id,
            "until": time.time() + self.until - time.monotonic(),
            "seconds": self.seconds,
            "cpu": self.cpu,
            "sent": self.sent,
            "sealed": base64.b64encode(self.sealed.SerializeToString()).decode(),
        }

    @classmethod
    def from_json(cls, images: NDArray[Any], kept: Mapping[str, Any]) -> Offer:
        """The offer of an answer to images that `to_json` wrote. Raises ValueError."""
        try:
            sealed = pb.SealedPrediction.FromString(base64.b64decode(kept["sealed"], validate=True))
            return cls(
                request_id=str(kept["request_id"]),
                images=images,
                work=sealed.receipt.work,
                until=time.monotonic() + float(kept["until"]) - time.time(),
                seconds=float(kept["seconds"]),
                cpu=float(kept["cpu"]),
                sent=int(kept["sent"]),
                sealed=sealed,
                challenge=Challenge.parse(sealed.challenge),
            )
        except (ChallengeError, DecodeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"an offer that cannot be read: {error!r}") from error
