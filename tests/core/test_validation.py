"""Documents as dataclasses: all mistakes at once, each with key, value and what was expected."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field

from core.suggest import suggest
from core.validation import Mistakes, between, distinct, matching, one_of, validate


@dataclass(frozen=True)
class Pet:
    kind: Literal["cat", "dog"]
    lives: Annotated[int, between(1, 9)] = 9
    name: Annotated[str, matching("[a-z]+", "lower-case letters")] = "rex"
    weight: Annotated[float, Field(gt=0)] | None = None


@dataclass(frozen=True)
class House:
    street: Annotated[str, one_of(("high", "low"), also=str.isdigit)]
    pets: tuple[Pet, ...] = ()
    doors: Annotated[tuple[int, ...], AfterValidator(distinct)] = (1,)
    open: bool = False
    rooms: Mapping[str, Pet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.open and not self.pets:
            raise ValueError("is open, expected a pet that guards it")


CAT: dict[str, Any] = {"kind": "cat"}


def test_a_document_becomes_a_dataclass() -> None:
    found = validate(
        House,
        {"street": "5", "pets": [{**CAT, "lives": 3}, {"kind": "dog", "name": "rex", "weight": 7}]},
    )
    assert found == House("5", (Pet("cat", 3), Pet("dog", weight=7.0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"street": None}, "street is None, expected a string"),
        ({"street": datetime.date(2026, 1, 2)}, "street is {'date': '2026-01-02'}, expected a str"),
        ({"street": "hihg"}, "street is 'hihg', expected one of high, low; did you mean 'high'?"),
        ({"doors": []}, "doors is [], expected a list of at least one"),
        ({"doors": [1, 2, 1]}, "doors has 1 a second time"),
        ({"doors": [1, True]}, "doors[1] is True, expected a whole number"),
        ({"doors": 3}, "doors is 3, expected a list"),
        ({"open": 1}, "open is 1, expected true or false"),
        ({"open": True}, "is open, expected a pet that guards it"),
        ({"opne": True}, "opne is not a known key; did you mean 'open'?"),
        ({"zzz": 1}, "zzz is not a known key, known here: street, pets, doors, open, rooms"),
        ({"pets": [5]}, "pets[0] is 5, expected a table"),
        ({"pets": [{}]}, "pets[0].kind is missing"),
        ({"pets": [{"kind": "dgo"}]}, "pets[0].kind is 'dgo', expected one of cat, dog; did you"),
        ({"pets": [{**CAT, "lives": 10}]}, "pets[0].lives is 10, expected 1 to 9"),
        (
            {"pets": [CAT, {**CAT, "zzz": "a"}]},
            "pets[1].zzz is not a known key, known here: kind, lives, name, weight",
        ),
        ({"pets": [{"kind": "dog", "name": "A"}]}, "pets[0].name is 'A', expected lower-case lett"),
        (
            {"pets": [{"kind": "dog", "name": "a", "weight": 0}]},
            "pets[0].weight is 0, expected greater than 0",
        ),
        (
            {"pets": [{"kind": "dog", "name": "a", "weight": "7"}]},
            "pets[0].weight is '7', expected a number",
        ),
        ({"rooms": {"cat": {**CAT, "lives": 0}}}, "rooms.cat.lives is 0, expected 1 to 9"),
        ({"rooms": {"cat": {**CAT, "lifes": 0}}}, "rooms.cat.lifes is not a known key; did you"),
        ({"rooms": {"hall": 1}}, "rooms.hall is 1, expected a table"),
        ({"rooms": []}, "rooms is [], expected a table"),
    ],
)
def test_one_mistake_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Mistakes) as caught:
        validate(House, {"street": "high", **changes})
    assert len(caught.value.mistakes) == 1
    assert str(caught.value).startswith(message)


def test_all_mistakes_are_named_at_once_with_the_place_of_the_document() -> None:
    with pytest.raises(Mistakes) as caught:
        validate(House, {"pets": [{**CAT, "lives": "x" * 500}], "door": 2}, "town.houses[3]")
    assert [line.split()[0] for line in caught.value.mistakes] == [
        "town.houses[3].street",
        "town.houses[3].pets[0].lives",
        "town.houses[3].door",
    ]
    assert len(str(caught.value)) < 500


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(Mistakes, match=r"^here is \[1\], expected a table$"):
        validate(House, [1], "here")


def test_the_nearest_name_is_suggested_and_none_that_is_far() -> None:
    known = ("rate", "paper", "none")
    for name in ("rates", "rate", "rtae"):
        assert suggest(name, iter(known)) == "; did you mean 'rate'?"
    for name in (None, 3, ["rate"], "zzzzzz", "", "rate" * 1_000_000):  # the last in no time
        assert suggest(name, known) == ""
    assert suggest("rate", ()) == ""
