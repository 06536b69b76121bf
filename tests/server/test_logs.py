"""What callers cause again and again is written a few times only."""

import io
import logging

import pytest

from server.logs import OFTEN, PERIOD, Sparse


@pytest.fixture
def log():
    """A logger, what it has written, and its clock."""
    clock = [0.0]
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.addFilter(Sparse(lambda: clock[0]))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, text, clock


def test_the_same_thing_is_written_a_few_times_a_minute(log):
    logger, text, clock = log
    for period in range(3):
        for number in range(1_000):
            logger.error("refused %d", number)
        clock[0] += PERIOD
        assert text.getvalue().count("\n") == OFTEN * (period + 1)
    assert f"({1_000 - OFTEN} more were not written)" in text.getvalue()


def test_a_flood_of_one_kind_hides_no_other_and_has_few_tracebacks(log):
    logger, text, _ = log
    for _ in range(1_000):
        try:
            raise RuntimeError("boom")
        except RuntimeError:
            logger.exception("uncaught in %s", "Predict")
    logger.error("the disk is full")
    assert text.getvalue().count("Traceback") == OFTEN
    assert "the disk is full" in text.getvalue()
