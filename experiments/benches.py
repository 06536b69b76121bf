"""Benches: what a study tries on one dataset, found by the dataset's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from experiments.checked import nearest


class Bench(Protocol):
    """Of a study: the dataset, and a short name of it for files."""

    @property
    def dataset(self) -> str: ...
    @property
    def short(self) -> str: ...


B = TypeVar("B", bound=Bench)


def find(benches: Sequence[B], dataset: str) -> B:
    """The bench of a dataset, by its name or the short one. Raises ValueError if there is none."""
    for each in benches:
        if dataset in (each.dataset, each.short):
            return each
    known = [each.dataset for each in benches]
    hint = nearest(dataset, known)
    raise ValueError(f"--dataset is {dataset!r}; expected one of {', '.join(known)}{hint}")
