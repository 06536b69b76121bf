"""`python -m server` as processes: prepare, calibrate, serve, and every way it can go wrong."""

import json
import shutil
import socket
import subprocess
import sys

import pytest
from commands import MEASURE, refused, run, serving
from meaning import assert_same_answers, assert_same_weights

from core.learning.datasets import load
from server import model


def test_a_port_that_is_taken(home, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = ("--open", "--home", home, "--model", "m", "--ledger", tmp_path / "l.db")
        assert f"127.0.0.1:{port}" in refused("serve", "--port", port, *flags)


SERVE = ("serve", "--open", "--port", 0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("serve", "--port", 0), "--keys FILE, or --open"),
        ((*SERVE, "--host", "0.0.0.0"), "loopback only"),
        ((*SERVE, "--host", "192.0.2.1"), "loopback only"),
        ((*SERVE, "--host", "example.com"), "loopback only"),
        (("calibrate", "--t-max", "inf"), "--t-max is inf"),
        (("calibrate", "--overhead-median", "1"), "median overhead is 1.0"),
        (("calibrate", "--overhead-p99", "1.1"), "p99 overhead is 1.1"),
        (("calibrate", "--entry", "-1"), "the entry is -1.0 queries"),
        (("calibrate", "--seconds", "0"), "seconds allowed are 0.0"),
        ((*SERVE, "--keys", "k.toml"), "cannot go with --keys"),
        (("serve", "--keys", "/nowhere/k.toml"), "/nowhere/k.toml"),
        ((*SERVE, "--tls-cert", "c.pem"), "go together"),
        ((*SERVE, "--tls-cert", "c.pem", "--tls-key", "k.pem"), "c.pem and k.pem are not"),
        ((*SERVE, "--ledger", "/nowhere/l.db"), "/nowhere/l.db cannot be opened"),
        ((*SERVE, "--model", "nobody"), "models/nobody/victim.safetensors"),
        ((*SERVE, "--model", "../m"), "plain file name"),
        ((*SERVE, "--measure", "teachers"), "teachers.safetensors"),
        (("calibrate", "--t-max", "-1"), "--t-max is -1"),
        (("prepare", "--dataset", "mnist5"), "mnist5k"),
        (("prepare", "--model", "n", "--dataset", "digits", "--network", "lenett"), "lenet-thin"),
        (("prepare", "--dataset", "digits", "--network", "lenet"), "choose another name"),
    ],
)
def test_mistakes_are_one_line(home, tmp_path, flags, message):
    command, *rest = flags
    model_flag = () if "--model" in flags else ("--model", "m")
    assert message in refused(command, *rest, "--home", home, *model_flag)


@pytest.mark.parametrize("name", ["victim.safetensors", "surprisal-typicality.safetensors"])
def test_corrupt_artifacts_are_named(copied, name):
    file = copied / "models" / "m" / name
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    assert name in refused(*SERVE, "--home", copied, "--model", "m")


def test_a_measure_of_another_victim_is_refused(copied):
    model.prepare(copied, "n", dataset="digits", network="lenet-thin", measure=MEASURE, seed=1)
    shutil.copy(
        copied / "models/n/surprisal-typicality.safetensors",
        copied / "models/m/surprisal-typicality.safetensors",
    )
    assert "not measure surprisal:typicality of this victim" in refused(
        *SERVE, "--home", copied, "--model", "m"
    )
    flags = ("--model", "m", "--dataset", "digits", "--network", "lenet-thin")
    assert f"made {MEASURE}" in run("prepare", "--home", copied, *flags).stdout  # as it said
    assert model.load(copied, "m", MEASURE)


def test_a_calibration_of_another_fingerprint_is_refused(copied):
    model.prepare(copied, "n", dataset="digits", network="lenet-thin", measure=MEASURE, seed=1)
    shutil.copy(
        copied / "models/m/calibration-surprisal-typicality.json",
        copied / "models/n/calibration-surprisal-typicality.json",
    )
    assert "calibrate again" in refused(*SERVE, "--home", copied, "--model", "n")


def test_an_uncalibrated_model_can_only_be_served_free(copied):
    (copied / "models/m/calibration-surprisal-typicality.json").unlink()
    assert "calibrate" in refused(*SERVE, "--home", copied, "--model", "m")
    with serving(copied, "--open", "--policy", "none") as (_, address):
        assert address


def test_calibrating_for_programs(copied):
    load("digits", home=copied)
    done = run("calibrate", "--home", copied, "--model", "m", "--t-max", "0.01", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    file = copied / "models/m/calibration-surprisal-typicality.json"
    assert found == json.loads(file.read_text())
    assert found["scores"][0]["kappa"] > 0
    assert file.with_suffix(".svg").read_text().startswith("<svg ")


def test_calibrating_for_people(copied):
    load("digits", home=copied)
    flags = ("--t-max", "0.01", "--drifts", "tilted", "--entry", "640")
    done = run("calibrate", "--home", copied, "--model", "m", *flags)
    assert done.returncode == 0, done.stderr
    file = copied / "models/m/calibration-surprisal-typicality.json"
    found = json.loads(file.read_text())
    assert [name for name in found["overhead"] if ", long" not in name][3:] == ["tilted"]
    floor = found["overhead"]["iid"]["median"]
    assert f"a client of 640 images waits {1 + 2 * (floor - 1):.2f} in all" in done.stdout
    assert f"drawn in {file.with_suffix('.svg')}" in done.stdout


def test_preparing_again_changes_nothing(copied):
    before = {path: path.stat().st_mtime_ns for path in (copied / "models/m").iterdir()}
    done = run(
        *("prepare", "--home", copied, "--model", "m", "--dataset", "digits"),
        *("--network", "lenet-thin"),
    )
    assert (done.returncode, done.stdout.split(": ")[1]) == (0, "up to date\n")
    assert before == {path: path.stat().st_mtime_ns for path in (copied / "models/m").iterdir()}


def test_help_imports_nothing_heavy():
    code = (
        "import sys, contextlib\n"
        "sys.argv = ['server', 'serve', '--help']\n"
        "import runpy\n"
        "with contextlib.suppress(SystemExit):\n"
        "    runpy.run_module('server', run_name='__main__')\n"
        "heavy = {'torch', 'numba', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_same_seed_makes_the_same_model(home, tmp_path):
    model.prepare(tmp_path, "x", dataset="digits", network="lenet-thin", measure=MEASURE, seed=0)
    here, there = model.load(tmp_path, "x", MEASURE), model.load(home, "m", MEASURE)
    assert_same_weights(here.victim.network, there.victim.network)
    mine, theirs = here.measure.arrays(), there.measure.arrays()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert_same_answers(array, theirs[name])


def test_another_host_is_warned_of(copied):
    file = copied / "models/m/calibration-surprisal-typicality.json"
    calibrated = json.loads(file.read_text())
    calibrated["provenance"]["host"] = "elsewhere"
    file.write_text(json.dumps(calibrated))
    with serving(copied, "--open") as (process, _):
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert "calibrated on host elsewhere" in said
