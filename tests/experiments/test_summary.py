"""The numbers of a summary, computed by hand, and the records it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edits import append, edit, swap, without

from experiments.records import FolderError, finished, read
from experiments.report.headlines import headlines
from experiments.summary import COURSE, COURSES, summarise


def clients(folder: Path, policy: str) -> dict[str, dict[str, Any]]:
    summary = summarise(read(folder))
    arm = next(arm for arm in summary["arms"] if arm["policy"] == policy)
    return {client["name"]: client for client in arm["clients"]}


def test_numbers_by_hand(folder: Path) -> None:
    summary = summarise(read(folder))
    assert [arm["policy"] for arm in summary["arms"]] == ["none", "rate"]
    assert summary["arms"][1]["honest_work_per_image"] == 20
    assert summary["arms"][1]["load"] == {"mean": 1.0, "max": 1.5}
    assert summary["victim"]["accuracy"] == 0.9

    ann, bob = clients(folder, "rate")["ann"], clients(folder, "rate")["bob"]
    assert (ann["images"], ann["work"], ann["hashes"]) == (20, 400, 400)
    assert ann["cost_per_image"] == pytest.approx(3.0 / 20)  # the retry is not charged again
    assert ann["slowdown"] == pytest.approx(0.9 / 0.6)
    assert ann["price_ratio"] == pytest.approx(1.0)
    assert ann["accuracy"] is None
    assert bob["label"] == "knockoff"
    assert bob["work_per_image"] == 2_000
    assert bob["price_ratio"] == pytest.approx(100)
    assert bob["cost_per_image"] == pytest.approx(12 / 20)
    assert bob["slowdown"] == pytest.approx((9.0 / 20) / (0.3 / 10))  # an image: it asked twice
    assert (bob["accuracy"], bob["fidelity"]) == (0.4, 0.45)
    assert bob["seconds"].pop("cpu") is None  # of records from before it was kept
    seconds = {"victim": 0.0, "defence": 0.0, "solve": 8.4, "server": 0.4, "network": 0.2}
    seconds |= {"open": 0.0, "total": 9.0, "training": 3.5, "wall": 8.0}
    assert bob["seconds"] == pytest.approx(seconds)
    assert [c["accuracy"] for c in bob["checkpoints"]] == [0.3, 0.4]


def test_an_attacker_is_one_client_whatever_its_accounts(folder: Path) -> None:
    before = clients(folder, "rate")["bob"]
    assert before["accounts"] == 1
    record, server = folder / "rate" / "clients" / "bob.jsonl", folder / "rate" / "server.jsonl"
    for request, account in (("b1", "bob-1"), ("b2", "bob-2")):
        for path in (record, server):
            of = f'"client": "bob", "request_id": "{request}"'
            swap(path, of, of.replace("bob", account))
    after = clients(folder, "rate")["bob"]
    assert after["accounts"] == 2
    assert after == {**before, "accounts": 2}
    swap(record, "bob-2", "bob-1")
    with pytest.raises(FolderError, match="request b2 of client 'bob-1' is not in"):
        read(folder)


def test_latency_and_overhead_by_hand(folder: Path) -> None:
    ann = clients(folder, "rate")["ann"]
    assert ann["latency"]["ask"] == pytest.approx({"p50": 0.3, "p99": 0.3})  # server and network
    assert ann["latency"]["total"] == pytest.approx({"p50": 0.45, "p99": 0.499})
    # 20 hashes an image at 1,000 a second, 0.03 s of predict() an image under none
    assert ann["overhead"] == pytest.approx((0.03 + 0.02) / 0.03)
    assert clients(folder, "none")["ann"]["overhead"] == 1.0
    assert ann["course"] == [[1.0, 10.0], [1.0, 30.0]]


def test_a_group_of_clients_by_hand(crowd: Path) -> None:
    summary = summarise(read(crowd))
    ann, bob, group = summary["arms"][1]["groups"]
    assert (ann["name"], ann["clients"], bob["clients"]) == ("ann", 1, 1)
    for key in ("images", "work", "accuracy", "slowdown", "price_ratio", "latency", "seconds"):
        assert bob[key] == summary["arms"][1]["clients"][1][key], key  # alone, it is its group
    assert (group["name"], group["clients"], group["status"]) == ("crowd", 5, "done")
    assert (group["images"], group["work"], group["accounts"]) == (50, 3_000, 5)
    assert group["work_per_image"] == 60
    # the median of honest requests is 40: 10, 20, 30, 40, 60, 80, 100
    assert group["price_ratio"] == pytest.approx(60 / 40)
    assert group["p99"]["price_ratio"] == pytest.approx((80 + 0.96 * 20) / 40)
    assert group["slowdown"] == pytest.approx(3.0 / 0.3)
    assert group["p99"]["slowdown"] == pytest.approx(4.96 / 0.3)
    assert group["latency"]["total"] == pytest.approx({"p50": 3.0, "p99": 4.96})
    assert group["seconds"]["total"] == 15.0
    assert group["quantiles"]["total"][::25] == [1, 2, 3, 4, 5]
    assert (ann["quantiles"], bob["quantiles"]) == (None, None)
    ends = '"crowd-2", "at": 9.0, "code": '
    swap(crowd / "rate" / "runner.jsonl", f"{ends}0", f"{ends}9")
    assert summarise(read(crowd))["arms"][1]["groups"][2]["status"] == "4 done, 1 crashed"


def test_a_long_course_is_thinned_and_a_large_group_has_few(folder: Path) -> None:
    ann = read(folder).policies[1].clients[0]
    many = tuple(replace(ann.requests[0], at=float(at)) for at in range(1_000))
    crowd = tuple(replace(ann, name=f"c{n}", group="c", requests=many) for n in range(COURSES + 1))
    run = read(folder)
    summary = summarise(replace(run, policies=(replace(run.policies[1], clients=crowd),)))
    *first, last = (client["course"] for client in summary["arms"][0]["clients"])
    assert all(len(course) == COURSE for course in first)
    assert (first[0][0][0], first[0][-1][0], last) == (0.0, 999.0, [])


def test_no_number_is_null_not_zero(folder: Path) -> None:
    free = clients(folder, "none")
    assert free["bob"]["price_ratio"] is None  # no honest work to compare with
    assert free["bob"]["slowdown"] == 1.0
    (folder / "none" / "runner.jsonl").unlink()  # an arm that never came to its clients
    assert clients(folder, "rate")["bob"]["slowdown"] is None
    (folder / "rate" / "evaluation.jsonl").unlink()
    assert clients(folder, "rate")["bob"]["accuracy"] is None
    json.dumps(summarise(read(folder)), allow_nan=False)


def test_virtual_solving_moves_the_clock(folder: Path) -> None:
    swap(folder / "rate" / "clients" / "bob.jsonl", '"virtual": false', '"virtual": true')
    bob = next(c for c in read(folder).policies[1].clients if c.name == "bob")
    assert [r.at for r in bob.requests] == pytest.approx([4.0 + 2.7, 14.0 + 8.4])
    assert [c.at for c in bob.checkpoints] == pytest.approx([6.0 + 2.7, 16.0 + 8.4])
    assert bob.seconds == pytest.approx(8.0 + 8.4)
    assert "virtual" in " ".join(headlines(summarise(read(folder))))


def test_a_price_that_was_asked_is_not_an_answer(folder: Path) -> None:
    before = clients(folder, "rate")["bob"]
    path = folder / "rate" / "clients" / "bob.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    price = {"kind": "price", "request_id": "b9", "images": 10, "work": 10_000, "at": 5.0}
    path.write_text(f"{first}{json.dumps(price)}\n{''.join(others)}")
    assert clients(folder, "rate")["bob"] == before


def test_a_crashed_client_is_reported(folder: Path) -> None:
    path = folder / "rate" / "clients" / "bob.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:3]) + '\n{"kind": "pre')
    runner = folder / "rate" / "runner.jsonl"
    swap(runner, '"bob", "at": 9.0, "code": 0', '"bob", "at": 9.0, "code": -9')
    append(runner, {"kind": "start", "client": "bob", "at": 0.0})
    bob = clients(folder, "rate")["bob"]
    assert (bob["status"], bob["images"], bob["seconds"]["wall"]) == ("crashed", 10, 9.0)
    path.write_text('{"kind": "hea')  # dead before its first line
    assert clients(folder, "rate")["bob"]["status"] == "crashed"
    path.unlink()
    assert clients(folder, "rate")["bob"]["images"] == 0
    assert clients(folder, "rate")["bob"]["cost_per_image"] is None


def test_who_is_in_the_background_may_be_stopped(folder: Path) -> None:
    ends = '"bob", "at": 9.0, "code": 0, "stopped": false'
    swap(
        folder / "rate" / "runner.jsonl",
        ends,
        ends.replace(": 0,", ": -15,").replace("false", "true"),
    )
    trouble = "Not every client finished: bob under rate (stopped)."
    assert trouble in headlines(summarise(read(folder)))
    behind = {"background": True}
    edit(folder / "scenario.json", lambda about: about["resolved"]["clients"][1].update(behind))
    assert clients(folder, "rate")["bob"]["status"] == "stopped"
    assert trouble not in headlines(summarise(read(folder)))


def test_a_run_cut_short_is_reported(folder: Path) -> None:
    (folder / "rate" / "runner.jsonl").write_text('{"kind": "header"}\n')
    ends = '"{}", "reason": "{}"'
    ann, bob = (folder / "rate" / "clients" / f"{name}.jsonl" for name in ("ann", "bob"))
    swap(ann, ends.format("done", ""), ends.format("interrupted", "-"))
    without(bob)
    rate = clients(folder, "rate")
    assert (rate["ann"]["status"], rate["bob"]["status"]) == ("interrupted", "stopped")
    assert rate["bob"]["reason"] == "the run ended before this client did"


END = {"kind": "end", "status": "done", "reason": "", "at": 8.0}
LOAD = {"kind": "load", "at": "soon", "one_minute": 1}


@pytest.mark.parametrize(
    ("file", "record", "complaint"),
    [
        ("clients/ann.jsonl", {"kind": "predikt"}, r"ann.jsonl:5: unknown record kind 'predikt'"),
        ("clients/ann.jsonl", {"kind": "end", "at": 1.0}, r"ann.jsonl:5: .*no status"),
        ("clients/ann.jsonl", {**END, "status": "tired"}, r"ann.jsonl:5: unknown status 'tired'"),
        ("clients/ann.jsonl", {"images": 1}, r"ann.jsonl, line 5"),
        ("server.jsonl", {"kind": "predict", "client": "ann"}, r"server.jsonl:8: .*no request_id"),
        ("load.jsonl", LOAD, r"load.jsonl:4: .*at = 'soon', expected int or float"),
        ("runner.jsonl", {"kind": "exit", "client": "ann", "at": True}, r"runner.jsonl:4: .*at"),
    ],
)
def test_a_record_that_is_not_known_is_refused(
    folder: Path, file: str, record: dict[str, Any], complaint: str
) -> None:
    append(folder / "rate" / file, record)
    with pytest.raises(FolderError, match=complaint):
        read(folder)


@pytest.mark.parametrize(
    ("file", "words", "complaint"),
    [
        ("server.jsonl", "b2", r"bob.jsonl:4: request b2 of client 'bob' is not in"),
        ("clients/ann.jsonl", '"end"', "no 'end' record"),
    ],
)
def test_a_record_that_must_be_there(folder: Path, file: str, words: str, complaint: str) -> None:
    without(folder / "rate" / file, words)
    with pytest.raises(FolderError, match=complaint):
        read(folder)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"resolved": {}}'])
def test_a_folder_that_is_no_run_is_refused(folder: Path, text: str | None) -> None:
    about = folder / "scenario.json"
    for arm in ("none", "rate"):
        (folder / arm / "runner.jsonl").unlink()
    with pytest.raises(FolderError, match="no finished arm"):
        read(folder)
    about.unlink() if text is None else about.write_text(text)
    with pytest.raises(FolderError, match=r"scenario\.json"):
        read(folder)


@pytest.mark.parametrize(("budget", "said"), [(1000, True), (20, False)])
def test_a_pool_that_ended_before_the_budget_is_said(folder: Path, budget: int, said: bool) -> None:
    pool = {"kind": "pool", "images": 12, "budget": budget, "at": 0.0}
    append(folder / "rate" / "clients" / "bob.jsonl", pool)
    summary = summarise(read(folder))
    assert clients(folder, "rate")["bob"]["pool"] == {"images": 12, "budget": budget}
    assert "pool" not in clients(folder, "rate")["ann"]
    sentence = "bob asked 20 images of its budget of 1,000: its pool has 12."
    assert (sentence in headlines(summary)) is said


def test_a_run_that_goes_on_is_read_as_far_as_it_is(folder: Path) -> None:
    rate = folder / "rate"
    (rate / "runner.jsonl").write_text(
        '{"kind": "header"}\n{"kind": "start", "client": "bob", "at": 0.0}\n'
    )
    (rate / "clients" / "ann.jsonl").unlink()
    (rate / "evaluation.jsonl").unlink()
    bob = rate / "clients" / "bob.jsonl"
    without(bob)
    bob.write_text(bob.read_text() + '{"kind": "pre')
    without(rate / "server.jsonl", "b2")  # it was read before bob's
    ann, bob_run = read(folder, partial=True).policies[1].clients
    assert (ann.status, bob_run.status, len(bob_run.requests)) == ("waiting", "running", 1)
    json.dumps(summarise(read(folder, partial=True)), allow_nan=False)
    with pytest.raises(FolderError):
        read(folder)


def test_finished_is_a_run_whose_summary_knows_the_end_of_every_server(folder: Path) -> None:
    for codes, expected in (((0, 0), True), ((0, 5), True), ((0, None), False)):
        arms = [{"policy": p, "server_code": c} for p, c in zip(("a", "b"), codes, strict=True)]
        (folder / "summary.json").write_text(json.dumps({"arms": arms}))
        assert finished(folder, ["a", "b"]) is expected
        assert not finished(folder, ["a", "b", "c"])
    assert not finished(folder / "x", ["a"])
