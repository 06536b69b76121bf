"""Reading a table of a scenario: every mistake is collected, none stops the reading."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from core.documents import SHOWN, shown

T = TypeVar("T")


def nearest(name: str, names: Sequence[str]) -> str:
    """A suggestion to append to a message, e.g. `", did you mean 'rate'?"`; empty if none fits."""
    close = get_close_matches(name[:SHOWN], names, n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


class Table:
    """One TOML table. Each getter names its key; `close` then refuses the keys nobody asked for.

    A getter that finds a mistake notes it and returns the default or `fallback`, so that reading
    goes on: the caller must look at `mistakes` before it uses what it read.
    """

    def __init__(self, raw: object, where: str, mistakes: list[str]) -> None:
        self.where = where
        self.mistakes = mistakes
        self._known: list[str] = []
        self._raw: Mapping[str, Any] = {}
        self.sound = isinstance(raw, Mapping)  # if not, its keys need not be missed one by one
        if isinstance(raw, Mapping):
            self._raw = raw
        else:
            self.mistake("", f"is {shown(raw)}, expected a table")

    def path(self, key: str) -> str:
        """The key as a reader of the file would look for it."""
        return ".".join(part[:SHOWN] for part in (self.where, key) if part)

    def mistake(self, key: str, text: str) -> None:
        """Notes what is wrong with a key."""
        self.mistakes.append(f"{self.path(key)} {text}".strip())

    def known(self, *keys: str) -> None:
        """Keys that are read elsewhere, or not read because of another mistake."""
        self._known.extend(keys)

    def raw(self, key: str) -> Any:
        """The value as it stands in the file, None if it is not there."""
        self.known(key)
        return self._raw.get(key)

    def has(self, key: str) -> bool:
        """Whether the file gives this key."""
        return key in self._raw

    def _take(
        self, key: str, default: T | None, fallback: T, check: Callable[[Any], str | None]
    ) -> T:
        self.known(key)
        if key not in self._raw:
            if default is None:
                if self.sound:
                    self.mistake(key, "is missing")
                return fallback
            return default
        value = self._raw[key]
        complaint = check(value)
        if complaint:
            self.mistake(key, complaint)
            return fallback if default is None else default
        return value  # type: ignore[no-any-return]

    def text(
        self,
        key: str,
        default: str | None = None,
        *,
        choices: Sequence[str] = (),
        pattern: str = "",
        meaning: str = "",
        also: Callable[[str], bool] = lambda _: False,
    ) -> str:
        """A string; one of `choices` (or one that `also` accepts), or matching `pattern`."""

        def check(value: Any) -> str | None:
            if not isinstance(value, str):
                return f"is {shown(value)}, expected a string"
            if choices and value not in choices and not also(value):
                known = ", ".join(choices)
                return f"is {shown(value)}, expected one of {known}{nearest(value, choices)}"
            if pattern and not re.fullmatch(pattern, value):
                return f"is {shown(value)}, expected {meaning}"
            return None

        return self._take(key, default, "", check)

    def whole(self, key: str, default: int | None = None, *, low: int, high: int) -> int:
        """An integer in [low, high]."""

        def check(value: Any) -> str | None:
            if isinstance(value, bool) or not isinstance(value, int):
                return f"is {shown(value)}, expected a whole number"
            return None if low <= value <= high else f"is {shown(value)}, expected {low} to {high}"

        return self._take(key, default, low, check)

    def number(self, key: str, default: float | None = None, *, low: float, high: float) -> float:
        """A finite number in [low, high]."""

        def check(value: Any) -> str | None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return f"is {shown(value)}, expected a number"
            if not math.isfinite(value) or not low <= value <= high:
                return f"is {value}, expected {low:g} to {high:g}"
            return None

        return float(self._take(key, default, low, check))

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""

        def check(value: Any) -> str | None:
            return None if isinstance(value, bool) else f"is {shown(value)}, expected true or false"

        return self._take(key, default, default, check)

    def names(
        self, key: str, default: tuple[str, ...], *, choices: Sequence[str]
    ) -> tuple[str, ...]:
        """A list of at least one of `choices`, none of them twice."""
        self.known(key)
        if key not in self._raw:
            return default
        value = self._raw[key]
        if not isinstance(value, list) or not value:
            self.mistake(key, f"is {shown(value)}, expected a list of {', '.join(choices)}")
            return default
        for index, name in enumerate(value):
            if name not in choices:
                hint = nearest(name, choices) if isinstance(name, str) else ""
                self.mistake(
                    f"{key}[{index}]",
                    f"is {shown(name)}, expected one of {', '.join(choices)}{hint}",
                )
            elif name in value[:index]:
                self.mistake(f"{key}[{index}]", f"is {shown(name)} a second time")
        return tuple(name for name in value if name in choices)

    def wholes(self, key: str, *, low: int, high: int) -> tuple[int, ...]:
        """A list of at least one integer in [low, high], none of them twice; () if not there."""
        value = self.raw(key)
        if not self.has(key):
            return ()
        if not isinstance(value, list) or not value:
            self.mistake(key, f"is {shown(value)}, expected a list of whole numbers")
            return ()
        for index, number in enumerate(value):
            if isinstance(number, bool) or not isinstance(number, int):
                self.mistake(f"{key}[{index}]", f"is {shown(number)}, expected a whole number")
                return ()
            if not low <= number <= high:
                self.mistake(f"{key}[{index}]", f"is {shown(number)}, expected {low} to {high}")
                return ()
            if number in value[:index]:
                self.mistake(f"{key}[{index}]", f"is {number} a second time")
                return ()
        return tuple(value)

    def close(self) -> None:
        """Refuses the keys that nobody asked for."""
        for key in self._raw:
            if key not in self._known:
                known = f", known here: {', '.join(self._known)}"
                self.mistake(key, f"is not a known key{nearest(key, self._known) or known}")
