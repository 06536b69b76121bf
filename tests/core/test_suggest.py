from hypothesis import given
from hypothesis import strategies as st

from core.suggest import suggest

KNOWN = ("rate", "paper", "none")


def test_the_nearest_name_is_suggested():
    assert suggest("rates", KNOWN) == "; did you mean 'rate'?"
    assert suggest("papr", KNOWN) == "; did you mean 'paper'?"
    assert suggest("rate", iter(KNOWN)) == "; did you mean 'rate'?"


@given(st.one_of(st.none(), st.integers(), st.lists(st.text()), st.just("zzzzzz"), st.just("")))
def test_what_is_near_no_name_gets_no_suggestion(name):
    assert suggest(name, KNOWN) == ""


def test_a_long_name_takes_no_time():
    assert suggest("rate" * 1_000_000, KNOWN) == ""
    assert suggest("rate", ()) == ""
