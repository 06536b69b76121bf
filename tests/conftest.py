"""The environment of all tests, and a gate on loopback whose victim costs nothing."""

import os
import signal

import hypothesis
import pytest

from core import environment

environment.settle()  # tests run as commands do

# Small networks on two cores: a second thread of torch only waits. Set before torch is imported,
# and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts a background job with SIGINT ignored, which processes inherit. A handler that does
# nothing ignores it, too, and leaves those that tests start with their own.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda number, frame: None)

# The same examples every time: a test that fails fails for everybody.
hypothesis.settings.register_profile("powgate", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("powgate")


@pytest.fixture
def gate(gate_with):
    """An open gate that asks for 64 hashes a batch."""
    with gate_with() as running:
        yield running


@pytest.fixture
def gate_with():
    """Starts gates as asked."""
    from gates import running_gate  # after the environment is set

    return running_gate


@pytest.fixture(scope="session")
def digits_home(tmp_path_factory):
    """A home folder that tests share for what takes long to make; nobody removes anything in it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def stub(gate):
    """What asks `gate`."""
    return gate.stub
