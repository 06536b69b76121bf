"""What a command line, and a program that asks a gate, need not wait for."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "numba", "scipy", "sklearn", "mlxtend", "pandas", "rich", "matplotlib"}
CORE = """
import core.arrays, core.records, core.learning.artifacts, core.learning.datasets
import core.learning.drift, core.learning.training
"""
ATTACKS = "import attacks; [attacks.load(name) for name in attacks.REGISTRY]"
HELP = """
import runpy; sys.argv = ['pow', '--help']
try: runpy.run_module('pow', run_name='__main__')
except SystemExit: pass
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "absent"),
    [
        (CORE, HEAVY),
        (ATTACKS, HEAVY),
        ("import client.session", HEAVY | {"pydantic", "safetensors", "core.learning"}),
        (HELP, HEAVY - {"rich"} | {"numpy", "argon2"}),
    ],
)
def test_imports_are_quick(code, absent):
    code = f"import sys\n{code}\nprint('\\nbesides', {absent} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.endswith("\nbesides set()\n")
