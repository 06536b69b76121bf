"""What solving costs on average, and how much it varies: the price of an answer is fair."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pow.solver import search

CHALLENGES = 2_000


@pytest.mark.parametrize(
    ("algorithm", "bits", "count", "solver"),
    [
        ("sha1", 4, 16, "python"),
        ("sha1", 6, 16, "native"),
        ("sha1", 8, 24, "native"),
        ("sha1", 12, 17, "native"),
        ("sha1", 9, 1, "native"),
        ("sha256", 7, 31, "native"),
    ],
)
def test_work_and_its_spread(algorithm: str, bits: int, count: int, solver: str) -> None:
    hashes = np.empty(CHALLENGES)
    for i in range(CHALLENGES):
        seed = hashlib.sha256(f"{algorithm} {bits} {count} {i}".encode()).hexdigest()
        prefix = f"1:{bits}:261121120000:powgate::{seed[:32]}:"
        hashes[i] = search(prefix, bits, count, algorithm=algorithm, solver=solver).hashes
    work = count << bits
    spread = np.sqrt((1 - 2.0**-bits) / count)
    # 3 % where 2 000 draws can tell, four standard errors where they cannot (k = 1)
    assert abs(hashes.mean() / work - 1) < max(0.03, 4 * spread / np.sqrt(CHALLENGES))
    assert abs(hashes.std() / hashes.mean() / spread - 1) < 0.10
