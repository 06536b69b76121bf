"""Documents with one thing wrong in them, as a hand or an attacker would leave them."""

import copy

from hypothesis import strategies as st

NUMBERS = [True, 0, -1, 1, 10**12, 2**63, 2**127, 1e308, -1e308, 1e-320, 0.5]
TEXTS = ["", "x", "1", "x" * 5_000, "\ud800"]
NESTED = [[], [[]], [1, 2], {}, {"x": 1}, {"": {"": []}}]
VALUES = st.sampled_from([None, *NUMBERS, *TEXTS, *NESTED])


def places(document, way=()):
    """The way to every value of a document."""
    yield way
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*way, key))
    elif isinstance(document, list):
        for index, value in enumerate(document[:3]):
            yield from places(value, (*way, index))


def mutated(document, data):
    """A copy of a document with a value replaced, removed or added, as hypothesis draws it."""
    changed = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 2))):
        *way, last = data.draw(st.sampled_from([way for way in places(changed) if way]))
        holder = changed
        for step in way:
            holder = holder[step]
        change = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "replace":
            holder[last] = data.draw(VALUES)
        elif change == "remove":
            del holder[last]
        elif isinstance(holder, dict):
            holder["extra"] = data.draw(VALUES)
        else:
            holder.append(data.draw(VALUES))
        if not changed:
            break
    return changed
