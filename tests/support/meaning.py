"""Comparing what was made here with what was made on another processor: by meaning.

The last bit of a float differs between processors, and with it a rounded digit, a hash, a file.
Numbers agree within a tolerance, pages in their words and within one unit of each last digit
shown, figures in their elements, words, styles and coordinates.
"""

import re
from itertools import zip_longest
from xml.etree import ElementTree

import numpy as np

RELATIVE = 1e-9
"""Of numbers computed in double precision."""
SINGLE = 1e-5
"""Of numbers computed in single precision by a network: relative, and absolute around 1."""
POINTS = 0.05
"""Of coordinates in a figure, in 1/72 of an inch: a tenth of the thinnest line."""

PLACED = ("d", "height", "points", "transform", "viewBox", "width", "x", "y")
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
GENERATED = re.compile(r"\b[a-zA-Z][0-9a-f]{10}\b")


def assert_close(found, expected, rtol=RELATIVE, atol=0.0):
    """Numbers agree within a relative and an absolute tolerance."""
    np.testing.assert_allclose(found, np.asarray(expected, float), rtol=rtol, atol=atol)


def assert_same_answers(found, expected):
    """What networks of the same weights say, or what was computed from it: float32."""
    np.testing.assert_allclose(found, expected, rtol=SINGLE, atol=SINGLE)


def assert_same_weights(found, expected):
    """Two networks have learnt the same: all their tensors agree as `assert_same_answers` says."""
    assert weights_apart(found, expected) <= 1.0


def weights_apart(found, expected):
    """The largest difference between weights of two networks, in tolerances; above 1 is another."""
    one, other = found.state_dict(), expected.state_dict()
    assert one.keys() == other.keys()
    pairs = ((one[name].double().numpy(), other[name].double().numpy()) for name in one)
    return max(float(np.max(np.abs(a - b) / (SINGLE + SINGLE * np.abs(b)))) for a, b in pairs)


def assert_same_page(found, expected, name=""):
    """Two texts have the same words and whole numbers; others differ by one last digit at most."""
    for here, there in zip_longest(found.splitlines(), expected.splitlines(), fillvalue=""):
        assert NUMBER.sub("#", here) == NUMBER.sub("#", there), name
        for mine, yours in zip(NUMBER.findall(here), NUMBER.findall(there), strict=True):
            apart = abs(float(mine.replace(",", "")) - float(yours.replace(",", "")))
            places = min(_decimals(mine), _decimals(yours))
            assert apart <= (1.001 * 10.0**-places if places else 0), f"{name}: {here} | {there}"


def _decimals(number):
    return len(number.partition(".")[2])


def assert_same_figure(found, expected, name=""):
    """Two SVGs draw the same: elements, words and styles are equal, coordinates within POINTS."""
    for mine, yours in zip_longest(_elements(found), _elements(expected)):
        assert mine is not None, f"{name}: elements are missing"
        assert yours is not None, f"{name}: there are more elements"
        assert mine[:2] == yours[:2], name
        assert mine[2].keys() == yours[2].keys(), f"{name}: {mine[0]}"
        for key, value in mine[2].items():
            _same_value(key, value, yours[2][key], f"{name}: {key} of {mine[0]}")


def _elements(text):
    """(tag, words, attributes) of all elements; generated ids are numbered as they come."""
    ids = {}
    for each in ElementTree.fromstring(text).iter():
        attributes = {
            key: GENERATED.sub(lambda old: f"id-{ids.setdefault(old[0], len(ids))}", value)
            for key, value in each.attrib.items()
        }
        yield each.tag, (each.text or "").strip(), attributes


def _same_value(key, mine, yours, where):
    if key not in PLACED:
        assert mine == yours, where
        return
    number = r"-?\d+(?:\.\d+)?"
    assert re.sub(number, "#", mine).split() == re.sub(number, "#", yours).split(), where
    for a, b in zip(re.findall(number, mine), re.findall(number, yours), strict=True):
        assert abs(float(a) - float(b)) <= POINTS, f"{where}: {mine!r} is not {yours!r}"
