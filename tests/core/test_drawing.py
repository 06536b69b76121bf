"""Figures: the user's settings and the last bits of a processor do not get into them."""

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from meaning import GENERATED, assert_same_figure, assert_same_page

from core.drawing import STYLE, style, svg


def drawn(left=0.1, y=(0.0, 2.0, 1.0), label="queries"):
    with style():
        figure = Figure(figsize=(3, 2))
        axes = figure.add_axes((left, 0.1, 0.8, 0.8))
        axes.plot([0, 1, 2], y, marker="o")
        axes.set_xlabel(label)
        return svg(figure, f'a "curve" & {label}')


SETTINGS = {
    "text.usetex": True,
    "font.size": 30,
    "lines.linestyle": "--",
    "axes.facecolor": "red",
    "axes.formatter.use_locale": True,
    "svg.fonttype": "path",
    "path.simplify": False,
    "savefig.pad_inches": 2,
    "savefig.bbox": "tight",
    "figure.dpi": 300,
    "savefig.dpi": 300,
}


def test_settings_of_the_user_change_nothing_and_stay():
    expected = drawn()
    with matplotlib.rc_context(SETTINGS):
        assert drawn() == expected
        assert {key: matplotlib.rcParams[key] for key in SETTINGS} == SETTINGS
        assert matplotlib.rcParams["axes.edgecolor"] != STYLE["axes.edgecolor"]


def test_the_last_bit_does_not_show():
    text = drawn()
    for other in (drawn(np.nextafter(0.1, 1)), drawn(y=(0.0, 2 + 1e-13, 1.0))):
        assert GENERATED.sub("id", other) == GENERATED.sub("id", text)
    root = ElementTree.fromstring(text)
    for element in root.iter():
        for name in ("d", "x", "y", "width", "height", "transform"):
            assert not re.search(r"\.\d{3}", element.get(name, "")), element.attrib
    assert root.get("aria-label") == 'a "curve" & queries'  # escaped


def test_two_figures_on_a_page_do_not_share_their_clips():
    pages = drawn(), drawn(left=0.2)
    here, there = (set(re.findall(r'<clipPath id="(\w+)"', text)) for text in pages)
    assert here == set(re.findall(r"url\(#(\w+)\)", pages[0]))
    assert len(here) == len(there) == 1
    assert here != there


def test_a_figure_and_a_page_are_compared_by_what_they_show():
    page = "| ann | 1,234 | 0.85 |\n"
    assert_same_page("| ann | 1,234 | 0.86 |\n", page)
    for old, new in (("0.85", "0.87"), ("1,234", "1,235"), ("ann", "bob"), ("\n", "\nmore\n")):
        with pytest.raises(AssertionError):
            assert_same_page(page.replace(old, new), page)
    text = drawn()
    other = text
    for name in set(re.findall(r'id="([a-z][0-9a-f]{10})"', text)):
        other = other.replace(name, f"{name[0]}{int(name[1:], 16) ^ 1:010x}")
    assert other != text
    assert_same_figure(other, text)
    assert_same_figure(drawn(y=(0.0, 2.0, 1.0001)), text)
    thinner = text.replace("stroke-width: 1.6", "stroke-width: 1.5")
    for changed in (drawn(y=(0.0, 1.9, 1.0)), drawn(label="query"), thinner):
        with pytest.raises(AssertionError):
            assert_same_figure(changed, text)
