"""Every refusal has its place on the wire."""

import pytest
from google.rpc import code_pb2

from pow import challenge
from server import refusals
from server.catalogue import CATALOGUE, status_of


def test_every_refusal_class_has_a_reason_of_its_own():
    known = [*refusals.Refusal.__subclasses__(), *challenge.ChallengeError.__subclasses__()]
    assert len(known) >= 15
    assert set(known) <= set(CATALOGUE)
    assert len({entry.reason for entry in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.parametrize("kind", CATALOGUE)
def test_the_text_of_a_refusal_reaches_the_caller(kind):
    status = status_of(kind("17 of these; expected 4"))
    assert status.message == "17 of these; expected 4"
    assert status.code == CATALOGUE[kind].status != code_pb2.INTERNAL


@pytest.mark.parametrize("error", [ValueError("secret"), KeyError("secret"), Exception("secret")])
def test_everything_else_is_an_internal_error(error):
    status = status_of(error)
    assert (status.code, status.message) == (code_pb2.INTERNAL, "internal error")
    assert not status.details
