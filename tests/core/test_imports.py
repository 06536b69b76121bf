import subprocess
import sys

import pytest

HEAVY = ("torch", "numba", "scipy", "sklearn", "mlxtend", "pandas", "rich", "matplotlib")


@pytest.mark.parametrize(
    "module",
    [
        "core.arrays",
        "core.learning.artifacts",
        "core.learning.datasets",
        "core.learning.drift",
        "core.learning.images",
        "core.records",
        "core.learning.training",
    ],
)
def test_a_command_line_can_import_it_and_stay_quick(module):
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
