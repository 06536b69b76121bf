"""What a session and its requests are given, checked before anything is sent."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client.channel import Endpoint, read_roots, system_roots
from client.errors import GateError

SOLVERS = ("native", "python", "virtual")
MAX_THREADS = 1024
MAX_SECONDS = 1e9  # gRPC takes what ends after the year 2262 for what has passed
MAX_KEY = 4096  # characters of an API key or a client id


def check_solving(solver: str, threads: int, rng: object, max_work: int | None) -> None:
    """Raises ValueError for what no solver can do."""
    if solver not in SOLVERS:
        raise ValueError(f"solver is {solver!r}; expected one of {', '.join(SOLVERS)}")
    if type(threads) is not int or not 1 <= threads <= MAX_THREADS:
        raise ValueError(f"threads is {threads!r}; expected at least 1, at most {MAX_THREADS}")
    if solver == "virtual" and rng is None:
        raise ValueError("rng is None; expected a random generator, for the virtual solver")
    if max_work is not None and (type(max_work) is not int or max_work < 0):
        raise ValueError(f"max_work is {max_work!r}; expected hashes, a whole number from 0")


def check_seconds(name: str, seconds: float) -> None:
    """Raises ValueError for what is no time to wait."""
    if not isinstance(seconds, (int, float)) or not 0 < seconds <= MAX_SECONDS:
        raise ValueError(
            f"{name} is {seconds!r}; expected seconds, more than 0, at most {MAX_SECONDS:g}"
        )


def credentials(key: str | None, client_id: str | None) -> tuple[tuple[str, str], ...]:
    """Metadata of who is calling. Raises ValueError; the text never holds the key."""
    if (key is None) == (client_id is None):
        raise ValueError("give either an API key or a client id")
    name, given = ("key", key) if client_id is None else ("client_id", client_id)
    if not isinstance(given, str):
        raise ValueError(f"{name} is a {type(given).__name__}; expected text")
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", given) or len(given) > MAX_KEY:
        raise ValueError(
            f"{name} has {len(given)} characters, some of which no header carries; expected "
            f"1 to {MAX_KEY} of printable ASCII, without a newline or blanks around it"
        )
    if client_id is None:
        return (("authorization", f"Bearer {given}"),)
    return (("client-id", given),)


def endpoint(
    target: str,
    *,
    keyed: bool,
    ca: Path | str | None,
    tls: bool,
    insecure: bool,
    name: str | None,
) -> Endpoint:
    """Where the gate is, and whom to trust. Raises OSError, and ValueError.

    A key is sent in clear to this machine only, or where that is said to be meant.
    """
    if insecure and (tls or ca is not None):
        raise ValueError("insecure is given with tls or ca; expected one or the other")
    roots = None
    if ca is not None:
        roots = read_roots(ca)
    elif tls:
        roots = system_roots()
    found = Endpoint.parse(target, roots, name)
    if keyed and roots is None and not (insecure or found.loopback):
        raise ValueError(
            f"the API key would go to {found.host} in clear; expected tls=True, ca=… or, if that "
            "is meant, insecure=True"
        )
    return found


def request_uuid(request_id: str | uuid.UUID | None) -> str:
    """The id of a request as gates take it, a fresh one for None. Raises ValueError."""
    if request_id is None:
        return str(uuid.uuid4())
    if isinstance(request_id, uuid.UUID):
        return str(request_id)
    wrong = f"request id is {request_id!r:.80}; expected a UUID such as {uuid.UUID(int=4)}"
    if not isinstance(request_id, str):
        raise ValueError(wrong)
    try:
        canonical = str(uuid.UUID(request_id))
    except ValueError as error:
        raise ValueError(wrong) from error
    if canonical != request_id:
        raise ValueError(f"request id is {request_id!r:.80}; expected it written {canonical}")
    return request_id


@contextmanager
def about(request_id: str) -> Iterator[None]:
    """Says in every GateError which request it was."""
    try:
        yield
    except GateError as error:
        error.request_id = request_id
        raise
