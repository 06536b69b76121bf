"""What a command line, and a program that asks a gate, need not wait for."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "numba", "scipy", "sklearn", "mlxtend", "pandas", "rich", "matplotlib"}
QUICK = (
    "core.arrays",
    "core.records",
    "core.learning.artifacts",
    "core.learning.datasets",
    "core.learning.drift",
    "core.learning.training",
)


@pytest.mark.process
@pytest.mark.parametrize(
    ("modules", "absent"),
    [(QUICK, HEAVY), (["client.session"], HEAVY | {"pydantic", "safetensors"})],
)
def test_imports_are_quick(modules, absent):
    code = f"import sys, {', '.join(modules)}; print({absent} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "set()\n"
