"""`python -m experiments`: every verb says what it is for, quickly; a mistake is one line."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import VERBS, main


@pytest.mark.process
def test_help_reading_a_scenario_and_accounting_import_nothing_heavy(tmp_path: Path) -> None:
    np.save(tmp_path / "votes.npy", [[3, 1, 0]])
    code = (
        "import sys, runpy; from experiments.sweep import load; load('demo')\n"
        "def run(*words):\n"
        "  sys.argv = ['experiments', *words]\n"
        "  try: runpy.run_module('experiments', run_name='__main__', alter_sys=True)\n"
        "  except SystemExit: pass\n"
        "  print([m for m in ('torch', 'numba', 'sklearn', 'matplotlib', 'pandas', 'grpc', 'scipy')"
        " if m in sys.modules])\n"
        "run('run', '--help')\n"
        f"run('privacy', {str(tmp_path / 'votes.npy')!r}, '--sigma', '10')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.findall(r"^\[.*\]$", done.stdout, re.M) == ["[]", "['scipy']"]
    assert "--home" in done.stdout


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_every_verb_has_flags_and_a_line_of_help(
    verb: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["experiments", *([verb] if verb else []), "--help"])
    with contextlib.suppress(SystemExit):
        main()
    text = capsys.readouterr().out
    assert f"usage: python -m experiments {verb or 'VERB'}" in text
    if verb is None:
        assert all(line in text for _, line in VERBS.values())


def test_a_mistake_on_the_command_line_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = tmp_path / "deep.toml"
    deep.write_text("a = " + "[" * 50_000)
    for words, code, error in (
        (["rum"], 2, "error: unknown verb 'rum'; did you mean 'run'?"),
        (["run", "demmo", "--out", f"{tmp_path}/out"], 1, "error: scenario 'demmo': is neither"),
        (["run", "smoke", "--only", "x"], 1, "error: --only is 'x', but smoke is no sweep"),
        (["run", str(deep)], 1, f"error: scenario {deep}: is nested too deeply"),
    ):
        monkeypatch.setattr(sys, "argv", ["experiments", *words])
        assert main() == code
        found = capsys.readouterr().err
        assert found.startswith(error)
        assert found.count("\n") == 1
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(sys, "argv", ["experiments"])
    assert main() == 2
