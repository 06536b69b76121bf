"""The stopwatch's laws, and one run of each benchmark; how fast it is depends on the machine."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import puzzles, turns
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.turns import Probe, Row

ROOT = Path(__file__).parents[2]


def test_probes_take_turns_and_what_is_slow_sits_out() -> None:
    said: list[str] = []

    def probe(name: str, every: int = 1, *, warm: bool = True) -> Probe:
        return Probe((Row(name),), lambda: said.append(name) or [[1.0]], every, warm)

    rows = turns.measure([probe("a"), probe("b"), probe("slow", 2, warm=False)], 3)
    assert " ".join(said) == "a b a b slow a b a b slow"
    assert [len(row["rounds"]) for row in rows.values()] == [3, 3, 2]


def test_a_summary_compares_within_a_round() -> None:
    base, row = Row("base"), Row("row", against="base", goal=2.5)
    rows = turns.summarise({base: [[1.0], [10.0], [2.0]], row: [[3.0], [30.0], [8.0]]})
    assert rows["row"]["ratio"] == {"of": "base", "median": 3.0}
    assert (rows["base"]["median"], rows["row"]["median"]) == (2.0, 8.0)
    assert rows["base"]["ratio"] is rows["base"]["p99"] is None
    several = turns.summarise({base: [[1.0, 2.0, 3.0], [4.0, 5.0, 90.0]]})["base"]
    assert several["rounds"] == [2.0, 5.0]
    assert 5 < several["p99"] <= 90


def test_a_part_is_multiplied() -> None:
    probe = turns.timed(Row("x"), lambda: sum(range(1000)), factor=1e6)
    assert probe.once()[0][0] > 1e3  # more than a millionth of a second


def test_a_missed_goal_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    base = Row("base", goal=1.0)
    late = Row("late", against="base", goal=4.0)
    turns.show(turns.summarise({base: [[0.5]], late: [[2.25]]}))
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "4.5 of base" in lines["late"]
    assert "4 (missed)" in lines["late"]
    assert "(missed)" not in lines["base"]


def check(rows: dict[str, Any]) -> None:
    for name, row in rows.items():
        numbers = [row["median"], *row["rounds"], row["p99"] or 1.0]
        numbers.append(row["ratio"]["median"] if row["ratio"] else 1.0)
        assert all(math.isfinite(number) and number > 0 for number in numbers), name


TINY = {
    "puzzles": ["--algorithms", "sha1", "argon2id", "--threads", "2"],
    "gate": [],
    "measures": ["--images", "6000"],
    "defences": [],
    "flood": ["--seconds", "1"],
}


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "result.json"
    assert main([name, "--rounds", "1", *TINY[name], "--json", str(file)]) == 0
    shown, content = capsys.readouterr().out, json.loads(file.read_text())
    assert content["command"].startswith(f"python -m benchmarks {name} --rounds 1")
    assert content["provenance"]["python"]
    assert all(row in shown for row in content["rows"])
    if name == "puzzles":
        rates = content["rates"]
        assert rates["sha1"]["rate"] == rates["sha1"]["kernels"][rates["sha1"]["kernel"]]
        assert rates["sha1"]["rate"] > rates["sha1"]["peers"]["hashlib"]
        assert rates["argon2id"]["rate"] > 0
        assert set(rates["sha1"]["wall"]) == {"2"}
    if name == "flood":  # what a flood gets past the door is bounded, however fast it asks
        done = {kind: row["median"] for kind, row in content["rows"].items() if "unread" in kind}
        looked_at = {kind.partition(":")[0]: count for kind, count in done.items()}
        assert looked_at["new wrong counters"] == looked_at["the same wrong counters"] == 16
        assert looked_at["questions without a key"] == 0
        content["rows"] = {kind: row for kind, row in content["rows"].items() if row["median"]}
    check(content["rows"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gates"], "no benchmark 'gates'; expected one of puzzles, gate, "),
        (["defences", "--rounds", "0"], "--rounds is 0; expected 1 to 1000"),
        (["puzzles", "--threads", "0"], "--threads is (0,); expected numbers from 1 to 256"),
        (["flood", "--seconds", "-1"], "--seconds is -1.0; expected above 0"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_peers_that_say_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puzzles, "_spent", lambda command: ("nothing of use", 1.0))
    with pytest.raises(ValueError, match=r"expected a line like .*tries.* not 'nothing of use'"):
        puzzles.hashcash()
    with pytest.raises(ValueError, match="expected a line like"):
        puzzles.openssl("sha1")


def test_the_documentation_quotes_the_committed_flood() -> None:
    text = " ".join((ROOT / "docs/puzzles.md").read_text().split())
    rows = json.loads((ROOT / "docs/results/redeem-flood.json").read_text())["rows"]
    quiet, wrong = rows[0], rows[1]
    assert f"of {sum(wrong['answers'].values()):,} wrong Redeems in 10 s" in text
    waits = [f"{row['honest_ms']['p50']:.1f} ms" for row in (wrong, quiet)]
    assert f"waited {waits[0]} for the gate (median) instead of {waits[1]}" in text
