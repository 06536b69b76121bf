"""Every refusal has its place on the wire."""

import inspect

import pytest
from google.rpc import code_pb2

from pow import challenge
from server import refusals
from server.catalogue import CATALOGUE, status_of


def subclasses(module, base):
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base) and kind is not base
    ]


def test_every_refusal_class_is_in_the_catalogue():
    known = subclasses(refusals, refusals.Refusal) + subclasses(challenge, challenge.ChallengeError)
    assert len(known) >= 15
    assert [kind for kind in known if kind not in CATALOGUE] == []


def test_reasons_are_unique():
    reasons = [entry.reason for entry in CATALOGUE.values()]
    assert len(set(reasons)) == len(reasons)


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
