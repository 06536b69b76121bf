"""Hashcash version 1 stamps: the format, how one is checked, and minting by counting up.

    1:bits:date:resource:ext:rand:counter

A stamp is worth `bits` when the digest of the whole string starts with that many zero bits
(http://www.hashcash.org/docs/hashcash.html, "stamp format (version 1)").  This module is the
specification: it needs the standard library alone (argon2-cffi for argon2id only), and the
compiled solvers are checked against it.

The format is SHA-1's.  The same stamp may be valued under SHA-256 or argon2id by parties that
agree on it beforehand; nothing in the stamp says which.
"""

from __future__ import annotations

import calendar
import hashlib
import itertools
import re
import secrets
import time
from typing import Any, Final

DIGEST_BITS: Final = {"sha1": 160, "sha256": 256, "argon2id": 256}
MAX_BITS: Final = 60  # the most expensive puzzle anybody issues; a million GPU years
MAX_RESOURCE: Final = 256  # characters
MAX_COUNTER: Final = 64  # characters
MAX_STAMP: Final = 1024  # characters
CLOCK_SKEW: Final = 60.0  # seconds two honest clocks may differ
BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

ARGON2_SALT: Final = b"powgate argon2id"  # the stamp is unique already; a salt has to be given
ARGON2_KIB: Final = 1024

_BASE64 = re.compile(r"[A-Za-z0-9+/=]+", re.ASCII)
_PRINTABLE = re.compile(r"[!-9;-~]*", re.ASCII)  # no space, no colon
_CLAIM = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)
_DATE = re.compile(r"(?:[0-9]{6}|[0-9]{10}|[0-9]{12})", re.ASCII)


def digest(stamp: bytes, algorithm: str = "sha1") -> bytes:
    """Digest of a stamp; ValueError for an algorithm that is not in DIGEST_BITS.

    argon2id: 1 MiB, one pass, one lane, 32 bytes (RFC 9106), the stamp as the password.
    """
    if algorithm == "sha1":
        return hashlib.sha1(stamp, usedforsecurity=False).digest()
    if algorithm == "sha256":
        return hashlib.sha256(stamp).digest()
    check_algorithm(algorithm)
    from argon2.low_level import Type, hash_secret_raw

    return hash_secret_raw(
        stamp,
        ARGON2_SALT,
        time_cost=1,
        memory_cost=ARGON2_KIB,
        parallelism=1,
        hash_len=32,
        type=Type.ID,
    )


def leading_zero_bits(data: bytes) -> int:
    """How many bits of `data` are zero before the first one."""
    return 8 * len(data) - int.from_bytes(data, "big").bit_length()


def value(stamp: str, algorithm: str = "sha1") -> int:
    """What a stamp is worth in bits, whatever it claims; the stamp must be ASCII."""
    return leading_zero_bits(digest(stamp.encode("ascii"), algorithm))


def check(stamp: str, bits: int, *arguments: Any, **options: Any) -> bool:
    """Whether a stamp is well formed, worth `bits`, for a resource, and of an acceptable date.

    The arguments are those of `refusal`, which gives the reason of a False.
    """
    return refusal(stamp, bits, *arguments, **options) is None


def refusal(
    stamp: str,
    bits: int,
    resource: str | None = None,
    algorithm: str = "sha1",
    now: float | None = None,
    max_age: float | None = None,
    *,
    grace: float = CLOCK_SKEW,
    any_case: bool = False,
) -> str | None:
    """Why a stamp is refused, or None when it is good.

    Without `now`, Unix seconds, the date only has to be a date. `max_age` is seconds, counted from
    the start of the day, minute or second that the date names; `grace` seconds more are allowed
    either way, for clocks that differ.  With `any_case` upper and lower case of the resource are
    the same.  Nothing a stamp may contain raises; a ValueError is the caller's own mistake (bits,
    algorithm, a max_age without a clock).
    """
    check_bits(bits)
    check_algorithm(algorithm)
    if max_age is not None and now is None:
        raise ValueError("max_age needs now: without a clock no stamp has an age")
    if now is not None and not abs(now) < float("inf"):
        raise ValueError(f"now must be Unix seconds, not {now!r}")
    for name, given in (("max_age", max_age or 0), ("grace", grace)):
        if not given >= 0:
            raise ValueError(f"{name} must be seconds, zero or more, not {given!r}")
    if not isinstance(stamp, str):
        return f"a stamp is text, not {type(stamp).__name__}"
    if len(stamp) > MAX_STAMP:
        return f"the stamp has {len(stamp)} characters, at most {MAX_STAMP} are read"
    fields = stamp.split(":")
    if len(fields) != 7 or fields[0] != "1":
        return "not a version 1 stamp (1:bits:date:resource:ext:rand:counter)"
    _, claim, date, for_whom, ext, rand, counter = fields
    if not _CLAIM.fullmatch(claim):
        return f"the claimed bits are {claim[:12]!r}, expected a whole number"
    if int(claim) > DIGEST_BITS[algorithm]:
        return f"the stamp claims {claim} bits, {algorithm} has {DIGEST_BITS[algorithm]}"
    if int(claim) < bits:
        return f"the stamp claims {claim} bits, {bits} are required"
    minted = parse_date(date)
    if minted is None:
        return f"the date is {date[:16]!r}, expected YYMMDD, YYMMDDhhmm or YYMMDDhhmmss"
    if (why := resource_fault(for_whom) or counter_fault(counter)) is not None:
        return why
    same = str.lower if any_case else str
    if resource is not None and same(for_whom) != same(resource):
        return f"the stamp is for {for_whom!r}, not for {resource!r}"
    if not _PRINTABLE.fullmatch(ext):
        return "the extension has characters other than printable ASCII"
    if rand and not _BASE64.fullmatch(rand):
        return "the random field has characters outside the base64 alphabet"
    if now is not None and minted > now + grace:
        return f"the date {date} lies in the future"
    if now is not None and max_age is not None and now - minted > max_age + grace:
        allowed = f"{max_age:.0f} s and {grace:.0f} s of grace"
        return f"the stamp of {date} is {now - minted:.0f} s old, at most {allowed}"
    worth = leading_zero_bits(digest(stamp.encode("ascii"), algorithm))
    return None if worth >= int(claim) else f"the stamp claims {claim} bits and is worth {worth}"


def check_bits(bits: int) -> None:
    """Raise ValueError unless `bits` is a whole number from 0 to MAX_BITS."""
    if not isinstance(bits, int) or isinstance(bits, bool) or not 0 <= bits <= MAX_BITS:
        raise ValueError(f"bits must be a whole number from 0 to {MAX_BITS}, not {bits!r}")


def check_algorithm(algorithm: str) -> None:
    """Raise ValueError unless stamps can be valued under `algorithm`."""
    if algorithm not in DIGEST_BITS:
        raise ValueError(f"algorithm must be one of {', '.join(DIGEST_BITS)}, not {algorithm!r}")


def counter_fault(counter: str) -> str | None:
    """What is wrong with a counter field, or None."""
    if not 0 < len(counter) <= MAX_COUNTER:
        return f"the counter has {len(counter)} characters, expected 1 to {MAX_COUNTER}"
    if not _BASE64.fullmatch(counter):
        return "the counter has characters outside the base64 alphabet"
    return None


def resource_fault(resource: str) -> str | None:
    """What is wrong with a resource, or None."""
    if not 0 < len(resource) <= MAX_RESOURCE:
        return f"the resource has {len(resource)} characters, expected 1 to {MAX_RESOURCE}"
    if not _PRINTABLE.fullmatch(resource):
        return "the resource must be printable ASCII without spaces and colons"
    return None


def format_date(now: float, width: int = 12) -> str:
    """Date field (UTC) of 6, 10 or 12 digits for a time in Unix seconds."""
    if width not in (6, 10, 12):
        raise ValueError(f"the date has 6, 10 or 12 digits, not {width!r}")
    try:
        return time.strftime("%y%m%d%H%M%S", time.gmtime(now))[:width]
    except (OverflowError, ValueError, OSError) as error:
        raise ValueError(f"the time {now!r} is not a date") from error


def parse_date(date: str) -> float | None:
    """Unix seconds of the start of what a date field names, or None; 69 to 99 are 19xx (POSIX)."""
    if not _DATE.fullmatch(date):
        return None
    try:
        return calendar.timegm(time.strptime(date.ljust(12, "0"), "%y%m%d%H%M%S"))
    except ValueError:
        return None


def stamp_prefix(
    resource: str, bits: int, *, now: float, rand: str = "", ext: str = "", date_width: int = 12
) -> str:
    """Everything of a stamp before its counter; ValueError names what cannot be written."""
    check_bits(bits)
    if (why := resource_fault(resource)) is not None:
        raise ValueError(why)
    if not _PRINTABLE.fullmatch(ext) or len(ext) > MAX_RESOURCE:
        raise ValueError(
            f"the extension must be printable ASCII without colons, at most {MAX_RESOURCE} long"
        )
    if rand and not _BASE64.fullmatch(rand):
        raise ValueError(f"the random field {rand!r} has characters outside base64")
    return f"1:{bits}:{format_date(now, date_width)}:{resource}:{ext}:{rand}:"


def mint_reference(
    resource: str,
    bits: int,
    algorithm: str = "sha1",
    *,
    now: float | None = None,
    rand: str | None = None,
    ext: str = "",
    date_width: int = 12,
) -> str:
    """A stamp found the plain way: count up in hexadecimal until the digest fits."""
    prefix = stamp_prefix(
        resource,
        bits,
        now=time.time() if now is None else now,
        rand="".join(secrets.choice(BASE64) for _ in range(16)) if rand is None else rand,
        ext=ext,
        date_width=date_width,
    ).encode("ascii")
    stamps = (prefix + b"%x" % counter for counter in itertools.count())
    return next(s for s in stamps if leading_zero_bits(digest(s, algorithm)) >= bits).decode()
