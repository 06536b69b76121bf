"""A gate without a network: what a session is handed in place of a connection, to say anything."""

from collections import Counter, defaultdict

import grpc
import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

import client.solving
from client.session import Session
from core.arrays import digest
from pow.audience import Audience
from pow.challenge import Challenge, Keyring, verify_counters
from pow.puzzle import puzzle_for
from protos import codec
from protos import gate_pb2 as pb

SHAPE = (1, 4, 4)
CLASSES = 3
NOW = 1_790_000_000
IMAGES = np.linspace(0, 1, 2 * 16, dtype=np.float32).reshape(2, 1, 4, 4)
MINE = "00000000-0000-0000-0000-000000000007"  # a request id


class Failure(grpc.RpcError):
    """An RPC that failed, as grpc would say it."""

    def __init__(self, code, details="", metadata=()):
        self._said = code, details, metadata

    def code(self):
        return self._said[0]

    def details(self):
        return self._said[1]

    def trailing_metadata(self):
        return self._said[2]


def packed(detail, value=None):
    """A detail of a status, with other bytes than its own if given."""
    found = any_pb2.Any()
    found.Pack(detail)
    found.value = found.value if value is None else value
    return found


def status(code, *details, message="no"):
    """A google.rpc.Status as bytes."""
    said = status_pb2.Status(code=code.value[0], message=message, details=details)
    return said.SerializeToString()


def failed(code, details, message="no"):
    """An RPC that failed with these bytes as its status."""
    return Failure(code, message, (("grpc-status-details-bin", details),))


def refused(code, reason, retry=None):
    """A refusal with an ErrorInfo and, if `retry` is given, a RetryInfo of so many seconds."""
    details = [packed(error_details_pb2.ErrorInfo(reason=reason, domain="powgate"))]
    if retry is not None:
        delay = duration_pb2.Duration(seconds=int(retry), nanos=round(retry % 1 * 1e9))
        details.append(packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return failed(code, status(code, *details))


def uniform(images):
    return np.full((len(images), CLASSES), 1 / CLASSES, np.float32)


class FakeGate:
    """Answers honestly but for what a test changes.

    `failing[method]` are raised one after the other; `changed[method]` is handed each answer and
    gives back another. `asked` counts calls, `requests` keeps what Predict was sent.
    """

    def __init__(self, hashes=64, *, algorithm="sha1", hosts=(), client="anne", secret=b"s" * 32):
        self.hashes, self.algorithm, self.client = hashes, algorithm, client
        self.audience = str(
            Audience(
                fingerprint="f" * 16,
                ledger="0" * 16,
                books="0" * 16,
                calibration="0" * 16,
                hosts=tuple(hosts),
            )
        )
        self.keyring = Keyring([secret])
        self.now = NOW
        self.answers = uniform
        self.failing = defaultdict(list)
        self.changed = {}
        self.asked = Counter()
        self.requests = []
        self.max_unpaid = 8

    def Describe(self, request, **options):  # noqa: N802
        return self._said(
            "Describe",
            lambda: pb.Description(
                model="fake",
                input_shape=SHAPE,
                classes=CLASSES,
                max_batch=256,
                max_unpaid=self.max_unpaid,
                algorithm=self.algorithm,
                hash_rate=1e6,
                fingerprint="f" * 16,
                audience=self.audience,
                client=self.client,
            ),
        )

    def Predict(self, request, **options):  # noqa: N802
        self.requests.append(request)
        return self._said("Predict", lambda: self.sealed(request))

    def Redeem(self, request, **options):  # noqa: N802
        def key():
            challenge = self.keyring.verify(request.challenge, client=self.client, now=self.now)
            verify_counters(challenge, request.counters)
            return pb.Key(key=self.keyring.sealing_key(challenge))

        return self._said("Redeem", key)

    def GetAccount(self, request, **options):  # noqa: N802
        return self._said("GetAccount", pb.Account)

    def sealed(self, request, **changes):
        """The sealed answer to a request; `changes` are of the challenge."""
        images = codec.decode(request.inputs)
        terms = {
            "audience": self.audience,
            "client": self.client,
            "request_id": request.request_id,
            "digest": digest(images.dtype.name, images.shape, request.inputs.data),
            "now": self.now,
            "expires": self.now + 600,
            **changes,
        }
        puzzle = terms.pop("puzzle", None) or puzzle_for(self.hashes, self.algorithm)
        challenge = self.keyring.issue(puzzle, **terms)
        return self.under_seal(challenge, codec.dumps(self.answers(images)))

    def under_seal(self, challenge: Challenge, plain: bytes):
        key = self.keyring.sealing_key(challenge)
        return pb.SealedPrediction(
            challenge=challenge.token,
            ciphertext=AESGCM(key).encrypt(bytes(12), plain, challenge.token),
            receipt=pb.Receipt(queries_charged=1, work=self.hashes, server_seconds=0.001),
            key=None if challenge.puzzle.work else pb.Key(key=key),
        )

    def _said(self, method, answer):
        self.asked[method] += 1
        if self.failing[method]:
            raise self.failing[method].pop(0)
        said = answer()
        return self.changed.get(method, lambda same: same)(said)


def asking(gate, time=None, **options):
    """A session that is handed a gate; time passes only while it sleeps."""
    time = time or FakeTime()
    options = {"client_id": "anne", "solver": "python", **options}
    options = {"clock": time, "sleep": time.sleep, **options}
    return Session("gate.example:1", stub=gate, **options)


def counted(monkeypatch):
    """The list of offers whose puzzles are solved from now on."""
    solved, solve = [], client.solving.solve
    monkeypatch.setattr(client.solving, "solve", lambda *a, **k: solved.append(a) or solve(*a, **k))
    return solved


class FakeTime:
    """A clock that sleeping moves on."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
