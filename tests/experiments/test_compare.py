"""Two runs side by side."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edits import edit
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.records import FolderError, read
from experiments.report.compare import SAME, Comparison, Flags, change, compare, run
from experiments.report.tables import COLUMNS, NOTHING, column
from experiments.summary import FORMAT, summarise

Runs = Callable[[Callable[[dict[str, Any]], object]], tuple[Path, Path]]


@pytest.fixture
def runs(folder: Path, tmp_path: Path) -> Runs:
    """Makes two published runs, the second of which was changed."""
    summary = json.loads(json.dumps(summarise(read(folder))))
    summary["provenance"] |= {"git_revision": "a" * 40, "cpu": "slow", "cores": 2}

    def make(edit: Callable[[dict[str, Any]], object]) -> tuple[Path, Path]:
        other = copy.deepcopy(summary)
        edit(other)
        for name, content in (("one", summary), ("two", other)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "summary.json").write_text(json.dumps(content))
        return tmp_path / "one", tmp_path / "two"

    return make


def line(found: Comparison, policy: str, name: str, quantity: str) -> tuple[str, str, str]:
    wanted = {"policy": policy, "client": name, "quantity": quantity}
    (row,) = (each for each in found.lines if wanted.items() <= each.items())
    return row["a"], row["b"], row["change"]


def test_each_quantity_has_both_values_and_what_became_of_it(runs: Runs) -> None:
    def edit(other: dict[str, Any]) -> None:
        attacker = other["arms"][1]["groups"][1]
        attacker["work"] *= 3
        attacker["accuracy"] -= 0.125
        attacker["status"] = "refused"
        attacker["price_ratio"] = None

    found = compare(*runs(edit))
    assert line(found, "rate", "bob", "work") == ("40,000", "120 k", "3.00×")  # noqa: RUF001
    assert line(found, "rate", "bob", "accuracy") == ("40.0 %", "27.5 %", "-12.5 points")
    assert line(found, "rate", "bob", "status")[1:] == ("refused", "–")  # noqa: RUF001
    assert line(found, "rate", "bob", "price ratio") == ("100×", "–", "–")  # noqa: RUF001
    assert line(found, "rate", "bob", "images") == ("20", "20", "same")
    assert "accuracy" not in {each["quantity"] for each in found.lines if each["client"] == "ann"}
    assert (found.remarks, found.settings) == ((SAME,), ())


def test_where_one_value_is_zero_there_is_no_ratio() -> None:
    assert change(column("solving (s)"), 0.0, 17.0) == "+17.0"
    assert change(column("solving (s)"), 17.0, 0.0) == "-17.0"
    assert change(column("solving (s)"), 0.001, 17.0) == "+17.0"  # shown as zero, and noise
    assert change(column("solving (s)"), 0.0, 0.001) == "same"
    assert change(column("solving (s)"), 0.5, 17.0) == "34.0×"  # noqa: RUF001
    assert change(column("solving (s)"), 17.0, 0.05) == "0.0029×"  # noqa: RUF001
    assert change(column("work"), 0, 4_200_000_000) == "+4.20 G"


AMOUNTS = st.just(0.0) | st.floats(1e-9, 1e12)


@settings(deadline=None)
@given(AMOUNTS, AMOUNTS)
def test_no_pair_of_numbers_is_without_an_answer(before: float, after: float) -> None:
    for each in COLUMNS[3:]:
        text = change(each, before, after)
        assert re.fullmatch(r"same|[+-].*\d.*|.*\d×", text), text  # noqa: RUF001
        assert (before == after) <= (text == "same")


@pytest.mark.parametrize(
    ("part", "key", "value", "remark", "setting"),
    [
        ("provenance", "cpu", "fast", "The machines differ", ("provenance.cpu", "slow", "fast")),
        ("provenance", "git_modified", True, "aaaaaaa and aaaaaaa with changes", None),
        ("provenance", "packages", {"numpy": "3"}, "Versions of Python or", None),
        ("calibration", "service", 0.02, "another price", ("calibration.service", "0.01", "0.02")),
        ("calibration", "fingerprint", "x", "no common scale", None),
        ("scenario", "seed", 8, "The scenarios differ", ("scenario.seed", "7", "8")),
    ],
)
def test_what_makes_a_comparison_doubtful_is_said_first(
    runs: Runs, part: str, key: str, value: Any, remark: str, setting: Any
) -> None:
    found = compare(*runs(lambda other: other[part].update({key: value})))
    assert len(found.remarks) == 1
    assert remark in found.remarks[0]
    if setting:
        assert found.settings == (dict(zip(("name", "a", "b"), setting, strict=True)),)
    assert len(found.settings) == 1


def test_dates_last_digits_and_what_an_older_revision_did_not_know_are_no_difference(
    runs: Runs,
) -> None:
    def older(other: dict[str, Any]) -> None:
        other["provenance"]["date"] = "2030-01-01"
        other["scenario"]["clients"][0]["inside"] = ""
        other["calibration"]["service"] += 1e-12
        other["arms"][0]["groups"][0]["seconds"]["total"] += 1e-12
        for arm in other["arms"]:
            for group in arm["groups"]:
                for key in ("latency", "overhead", "accounts"):
                    group.pop(key)

    found = compare(*runs(older))
    assert (found.remarks, found.settings) == ((SAME,), ())
    assert line(found, "none", "ann", "total (s)")[2] == "same"
    assert all(each["b"] == NOTHING or each["change"] == "same" for each in found.lines)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"git_revision": None}, "The revision of neither run is known."),
        ({"git_modified": True}, "Both runs are of a revision with changes"),
    ],
)
def test_runs_of_unknown_or_changed_revisions_say_so(
    runs: Runs, state: dict[str, Any], said: str
) -> None:
    paths = runs(lambda other: None)
    for path in paths:
        edit(path / "summary.json", lambda summary: summary["provenance"].update(state))
    assert compare(*paths).remarks[0].startswith(said)


def test_what_is_in_one_run_only_is_named(runs: Runs) -> None:
    def change(other: dict[str, Any]) -> None:
        other["arms"][1]["policy"] = "paper"
        other["arms"][0]["groups"][1]["name"] = "eve"

    found = compare(*runs(change))
    assert found.remarks == (
        "Only in A, under none: bob.",
        "Only in A: policy rate.",
        "Only in B, under none: eve.",
        "Only in B: policy paper.",
    )
    assert {(each["policy"], each["client"]) for each in found.lines} == {("none", "ann")}


def test_the_verb_shows_both_and_its_page_needs_nothing_else(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "<script>alert(1)</script>"
    one, two = runs(lambda other: other["provenance"].update({"cpu": evil}))
    run(Flags(one, two / "summary.json", tmp_path / "page.html"))
    shown = capsys.readouterr().out
    assert f"A  {one}: tiny, revision aaaaaaa" in shown
    assert "provenance.cpu" in shown
    text = (tmp_path / "page.html").read_text()
    assert "Two runs side by side" in text
    assert text.count("<script") == 1
    assert "&lt;script&gt;" in text
    assert not re.search(r"://|<(img|iframe)\b|@import|url\(", text)


def refused(left: Path, right: Path) -> str:
    with pytest.raises(FolderError) as error:
        compare(left, right)
    return str(error.value)


def test_bad_input_gets_one_clear_error(runs: Runs, folder: Path, tmp_path: Path) -> None:
    one, two = runs(lambda other: None)
    assert refused(one, tmp_path / "none") == (
        f"{tmp_path / 'none'} is not the folder of a run: no summary.json"
    )
    assert refused(one, one / ".." / "one") == f"{one} is given twice, expected two runs"
    assert refused(one, one / "summary.json") == f"{one} is given twice, expected two runs"
    assert "python -m experiments report" in refused(one, folder)  # has records, no summary

    for content, reason in (
        ("{", "not JSON"),
        ("[]", f"has format None and kind None, expected {FORMAT} and 'run'"),
        ('{"format": 99}', "has format 99 and"),
        ('{"format": 2, "kind": "sweep"}', "has format 2 and kind 'sweep', expected"),
        ('{"format": 1}', "has format 1 and"),
        ('{"format": 2, "kind": "run"}', "holds half a summary: KeyError('provenance')"),
    ):
        (two / "summary.json").write_text(content)
        assert reason in refused(one, two)
