"""The benchmarks measure what they say they do; how fast it is depends on the machine."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments import bench, probes
from experiments.arm import RunError

COMPUTED = {
    "codec_uint8",
    "codec_float32",
    "pate",
    "victim",
    "heads",
    "teachers",
    "price",
    "counting",
    "seal",
    "redeem",
    "challenge",
}
DURABLE = {"disk", "ledger_1", "ledger_16", "ledger_64"}
LOOPBACK = {
    f"predict_{batch}{part}" for batch in (64, 1) for part in ("", "_network", "_server", "_own")
}
TINY = probes.Sizes(quick=2, slow=1, heads=10, teachers=2, spell=0.01, requests=3)


def silent() -> Console:
    return Console(file=io.StringIO())


def check(rows: Mapping[str, Mapping[str, Any]], rounds: int = 1) -> None:
    for name, row in rows.items():
        assert row["unit"] in ("us", "ms", "1/s"), name
        assert row["clock"] in ("cpu", "wall"), name
        assert len(row["rounds"]) == rounds, name
        numbers = [row["median"], *row["rounds"]]
        numbers += [row["p99"]] if row["p99"] is not None else []
        numbers += [row["ratio"]["median"]] if row["ratio"] is not None else []
        assert all(math.isfinite(number) and number > 0 for number in numbers), name


def test_computing() -> None:
    rows = bench.summarise(bench.take_turns([*probes.computing(TINY, 0)], 2, silent()))
    assert set(rows) == COMPUTED
    assert {row["clock"] for row in rows.values()} == {"cpu"}
    compared = {name: row["ratio"]["of"] for name, row in rows.items() if row["ratio"]}
    assert compared == {"heads": "victim", "teachers": "victim"}
    check(rows, rounds=2)


def test_durable(tmp_path: Path) -> None:
    with ExitStack() as stack:
        chosen = [*probes.durable(TINY, tmp_path, stack)]
        rows = bench.summarise(bench.take_turns(chosen, 1, silent()))
    assert set(rows) == DURABLE
    assert {row["clock"] for row in rows.values()} == {"wall"}
    check(rows)


def test_loopback(gate_with: Any) -> None:
    with gate_with(hashes=0) as gate, ExitStack() as stack:
        chosen = [*probes.loopback(gate.address, TINY, stack, 0)]
        rows = bench.summarise(bench.take_turns(chosen, 1, silent()))
    assert set(rows) == LOOPBACK
    assert all(row["p99"] >= row["median"] for row in rows.values())
    check(rows)
    # A warm-up and a round of each batch.
    assert [line["images"] for line in gate.records] == [64] * 3 + [1] * 3 + [64] * 3 + [1] * 3


def test_the_parts_of_a_query_add_up(gate_with: Any) -> None:
    with gate_with(hashes=0) as gate, ExitStack() as stack:
        for probe in probes.loopback(gate.address, TINY, stack, 0):
            for total, *parts in zip(*probe.once(), strict=True):
                assert sum(parts) == pytest.approx(total)


def test_a_summary_compares_within_a_round() -> None:
    base = probes.Row("base", "one", "ms", "cpu")
    row = probes.Row("row", "other", "ms", "cpu", "base")
    rows = bench.summarise({base: [[1.0], [10.0], [2.0]], row: [[3.0], [30.0], [8.0]]})
    assert rows["row"]["ratio"] == {"of": "base", "median": 3.0}
    assert (rows["base"]["median"], rows["row"]["median"]) == (2.0, 8.0)
    assert rows["base"]["ratio"] is rows["base"]["p99"] is None


def test_everything_with_a_server_of_its_own(tmp_path: Path) -> None:
    result = bench.bench(home=None, rounds=1, sizes=TINY, seed=3, console=silent())
    assert set(result["rows"]) == COMPUTED | DURABLE | LOOPBACK
    assert result["provenance"]["seed"] == 3
    check(result["rows"])
    bench.save(result, tmp_path / "bench.json")
    assert json.loads((tmp_path / "bench.json").read_text()) == result
    shown = Console(file=io.StringIO(), width=140)
    shown.print(bench.tabulate(result))
    text = shown.file.getvalue()
    assert all(row["what"] in text for row in result["rows"].values())


def test_a_home_without_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the server did not start: no artifact at"):
        bench.bench(home=tmp_path, rounds=1, sizes=TINY, seed=0, console=silent())
    assert not list(tmp_path.iterdir())


def test_no_round_is_refused() -> None:
    command = [sys.executable, "-m", "experiments", "bench", "--rounds", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: --rounds is 0; expected at least 1\n")
