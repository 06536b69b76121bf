"""`python -m attacks` with what cannot be: one line, exit code 1 or 3, and nothing paid."""

import sys
import threading
import time

import numpy as np
import pytest

from attacks.__main__ import main


@pytest.fixture
def steal(monkeypatch, capsys, tmp_path):
    """Runs the command; its exit code and its one line."""

    def run(address, name, *flags):
        given = ["--target", address, "--client-id", "thief", "--home", str(tmp_path / "home")]
        given += ["--data", str(tmp_path), "--network", "lenet-thin", "--pool-size", "100"]
        monkeypatch.setattr(sys, "argv", ["attacks", name, *given, *flags])
        code = main()
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1, err
        return code, err.strip()

    return run


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


POOLS = {
    "flat": {"x": pixels(50, 64)},
    "deep": {"x": pixels(50, 8, 8, 5)},
    "range": {"x": pixels(50, 8, 8).astype(np.float32) * 2},
    "empty": {"x": pixels(0, 8, 8)},
    "holes": {"x": pixels(60, 8, 8), "y": np.arange(60) % 4 * 2},
    "below": {"x": pixels(60, 8, 8), "y": np.arange(60) % 4 - 1},
    "plain": {"x": pixels(60, 8, 8)},
}
ADAPTIVE = ("--attack.strategy", "adaptive")


@pytest.mark.parametrize(
    ("name", "pool", "flags", "message"),
    [
        ("random", "flat", (), "x has shape (50, 64), expected (n, h, w) or (n, h, w, 1 or 3)"),
        ("copycat", "deep", (), "x has shape (50, 8, 8, 5), expected (n, h, w)"),
        ("jacobian", "range", (), "x has dtype float32, expected uint8"),
        ("kcenter", "empty", (), "x has shape (0, 8, 8), expected at least one image"),
        ("random", "nowhere", (), "npz:nowhere.npz: there is no file"),
        ("knockoff", "holes", ADAPTIVE, "the pool has no image of class 1; strategy adaptive"),
        ("knockoff", "below", ADAPTIVE, "the pool has a class -1; expected 0 or more"),
        ("knockoff", "plain", ADAPTIVE, "the pool has no classes; strategy adaptive"),
        ("random", "plain", ("--attack.budget", "9"), "is 9; expected at least one batch of 64"),
        ("dfme", "plain", ("--attack.budget", "9"), "is 9; expected at least one batch of 256"),
        ("random", "plain", ("--network", "lenett"), "unknown network 'lenett', expected one of"),
        ("randm", "plain", (), "unknown attack 'randm'; did you mean random?"),
    ],
)
def test_a_mistake_is_one_line_and_costs_nothing(
    gate_with, steal, tmp_path, name, pool, flags, message
):
    if pool in POOLS:
        np.savez(tmp_path / f"{pool}.npz", **POOLS[pool])
    with gate_with(shape=(1, 8, 8)) as gate:
        code, line = steal(gate.address, name, "--pool", f"npz:{pool}.npz", *flags)
        assert gate.ledger.account("thief").result().charged == 0
    assert code == 1
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 8, 8), "the image shape is (2, 8, 8), expected (1 or 3, h, w)"),
        ((1, 2, 2), "images are 2x2, expected at least 4x4"),
    ],
)
def test_a_victim_that_the_surrogate_cannot_copy(gate_with, steal, shape, message):
    with gate_with(shape=shape) as gate:
        code, line = steal(gate.address, "random")
        assert gate.ledger.account("thief").result().charged == 0
    assert code == 1
    assert message in line


SHORT = ("--attack.budget", "400", "--attack.batch", "10", "--attack.rounds", "20")
SHORT += ("--attack.epochs", "1", "--pool-size", "400")


def test_a_gate_that_goes_away(gate_with, steal, tmp_path):
    up, gates = threading.Event(), []

    def host():
        with gate_with(shape=(1, 8, 8)) as gate:
            gates.append(gate)
            up.set()
            while gate.ledger.account("thief").result().charged < 50:
                time.sleep(0.001)

    thread = threading.Thread(target=host)
    thread.start()
    up.wait()
    loot = tmp_path / "loot"
    given = (*SHORT, "--timeout", "1", "--pace", "0.03", "--surrogates", str(loot))
    code, line = steal(gates[0].address, "random", *given)
    thread.join()
    assert code == 3
    assert line.startswith("stopped: no answer in 1 s: ")
    assert (loot / "000040.safetensors").exists()


def test_a_refusal_half_way(gate_with, steal, tmp_path):
    from server.refusals import TooManyUnpaid

    loot = tmp_path / "loot"
    with gate_with(shape=(1, 8, 8)) as gate:
        ask = gate.ledger.ask

        def grudging(*given):
            if gate.computed > 5:
                raise TooManyUnpaid("8 batches are unpaid; redeem one before asking for more")
            return ask(*given)

        gate.ledger.ask = grudging
        code, line = steal(gate.address, "random", *SHORT, "--surrogates", str(loot))
        account = gate.ledger.account("thief").result()
    assert code == 3
    assert line.startswith("stopped: 8 batches are unpaid; redeem one before asking for more (TOO")
    assert (account.charged, account.unpaid) == (50, 0)
    assert (loot / "000040.safetensors").exists()
