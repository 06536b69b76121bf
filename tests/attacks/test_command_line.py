"""`python -m attacks`: its list, and what cannot be: one line, exit code 1 or 3, nothing paid."""

import sys

import numpy as np
import pytest

import attacks
from attacks.__main__ import main


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command; its exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["attacks", *arguments])
        return main(), *capsys.readouterr()

    return run


@pytest.mark.parametrize("width", [80, 140, None])
def test_the_list_fits_a_terminal(monkeypatch, command, width):
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, _ = command("--list")
    lines = out.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= (width or 160)
    names = [line.split()[0] for line in lines[1:] if line[0] != " "]
    assert names == list(attacks.REGISTRY) == sorted(attacks.REGISTRY)
    assert "Dziedzic et al., ICLR 2022" in [line.strip() for line in lines]
    assert sum(line.rstrip().endswith("pool, costs") for line in lines) == 1


@pytest.fixture
def attack(command, tmp_path):
    """Runs an attack; its exit code and its one line."""

    def run(address, name, *flags):
        given = ["--target", address, "--client-id", "mallory", "--home", str(tmp_path / "home")]
        given += ["--solver", "python", "--data", str(tmp_path), "--pool-size", "400"]
        given += ["--network", "lenet-thin"]
        code, out, err = command(name, *given, *flags)
        assert all("inputs answered" in line for line in out.splitlines()), out
        assert err.count("\n") == 1, err
        return code, err.strip()

    return run


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


POOLS = {
    "flat": {"x": pixels(50, 64)},
    "range": {"x": pixels(50, 8, 8).astype(np.float32) * 2},
    "holes": {"x": pixels(60, 8, 8), "y": np.arange(60) % 4 * 2},
    "below": {"x": pixels(60, 8, 8), "y": np.arange(60) % 4 - 1},
    "plain": {"x": pixels(60, 8, 8)},
}
ADAPTIVE = ("--attack.strategy", "adaptive")


def test_a_mistake_is_one_line_and_costs_nothing(gate_with, attack, tmp_path):
    for name, arrays in POOLS.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
    with gate_with(shape=(1, 8, 8)) as gate:
        for name, pool, flags, message in (
            ("random", "flat", (), "x has shape (50, 64), expected (n, h, w) or (n, h, w, 1 or 3)"),
            ("jacobian", "range", (), "x has dtype float32, expected uint8"),
            ("random", "nowhere", (), "npz:nowhere.npz: there is no file"),
            ("knockoff", "holes", ADAPTIVE, "the pool has no image of class 1; strategy adaptive"),
            ("knockoff", "below", ADAPTIVE, "the pool has a class -1; expected 0 or more"),
            ("knockoff", "plain", ADAPTIVE, "the pool has no classes; strategy adaptive"),
            ("random", "plain", ("--attack.budget", "9"), "is 9; expected at least one batch"),
            ("dfme", "plain", ("--attack.budget", "9"), "is 9; expected at least one batch of 256"),
            ("random", "plain", ("--network", "lenett"), "unknown network 'lenett', expected one"),
            ("randm", "plain", (), "unknown attack 'randm'; did you mean 'random'?"),
            ("zzz", "plain", (), f"unknown attack 'zzz'; expected {', '.join(attacks.REGISTRY)}"),
        ):
            code, line = attack(gate.address, name, "--pool", f"npz:{pool}.npz", *flags)
            assert code == 1
            assert line.startswith("error: ")
            assert message in line
        assert gate.ledger.account("mallory").result().charged == 0


def test_a_victim_that_the_surrogate_cannot_copy(gate_with, attack):
    with gate_with(shape=(1, 2, 2)) as gate:
        code, line = attack(gate.address, "random")
        assert gate.ledger.account("mallory").result().charged == 0
    assert code == 1
    assert "images are 2x2, expected at least 4x4" in line


def test_a_refusal_half_way_keeps_what_was_learnt(gate_with, attack, tmp_path):
    from server.refusals import TooManyUnpaid

    folder = tmp_path / "surrogates"
    with gate_with(shape=(1, 8, 8)) as gate:
        ask = gate.ledger.ask

        def grudging(*given):
            if gate.computed > 5:
                raise TooManyUnpaid("8 batches are unpaid; redeem one before asking for more")
            return ask(*given)

        gate.ledger.ask = grudging
        flags = ("--attack.budget", "400", "--attack.batch", "10", "--attack.rounds", "20")
        flags += ("--attack.epochs", "1", "--surrogates", str(folder))
        code, line = attack(gate.address, "random", *flags)
        account = gate.ledger.account("mallory").result()
    assert code == 3
    assert line.startswith("stopped: 8 batches are unpaid; redeem one before asking for more (TOO")
    assert (account.charged, account.unpaid) == (50, 0)
    assert (folder / "000040.safetensors").exists()
