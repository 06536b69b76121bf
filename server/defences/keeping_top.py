"""Redirection that keeps the top class: a linear programme for each row, all rows at once.

    max <s, y'>  over the simplex, with  |y' - y|_1 <= epsilon  and  y'_a >= y'_k + margin

for the top class a. With the level c of y'_a held, the others are capped at c - margin, and mass
moves greedily from the worst scores to the best ones that have room. The optimum is concave in c,
as the value of a linear programme is, and c is found by golden sections.
"""

from __future__ import annotations

import numpy as np

from server.defences import Rows

GOLDEN = (np.sqrt(5) - 1) / 2

SECTIONS = 45
"""Golden sections: they leave 4e-10 of the first interval."""


def redirect_keeping_top(posterior: Rows, scores: Rows, epsilon: float, *, margin: float) -> Rows:
    """Probabilities (b, k) of the largest <scores, .>, at most `epsilon` away, same top class.

    Where the top class leads another by less than `margin`, that lead is kept instead.
    """
    top = posterior.argmax(axis=1)
    order = np.argsort(scores, axis=1)  # the top class goes to the end of each row
    order = np.take_along_axis(order, np.argsort(order == top[:, None], axis=1, kind="stable"), 1)
    problem = _Problem(
        np.take_along_axis(posterior, order, 1),
        np.take_along_axis(scores, order, 1),
        epsilon,
        margin,
    )
    out = np.empty_like(posterior)
    np.put_along_axis(out, order, problem.best(), 1)
    # float32 may make equal what was not: then the answer stays as it was.
    kept = out.astype(np.float32).argmax(axis=1) == top
    return np.where(kept[:, None], out, posterior)


class _Problem:
    """Rows sorted by score, their top class last."""

    def __init__(self, y: Rows, scores: Rows, epsilon: float, margin: float) -> None:
        self.y, self.top = y[:, :-1], y[:, -1:]
        self.scores, self.top_score = scores[:, :-1], scores[:, -1:]
        self.half = epsilon / 2
        self.margin = np.minimum(margin, self.top - self.y)  # y itself must be allowed

    def best(self) -> Rows:
        low, high = self._levels()
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        of_left, of_right = self._value(left), self._value(right)
        for _ in range(SECTIONS):
            rises = of_left < of_right
            low, high = np.where(rises, left, low), np.where(rises, high, right)
            fresh = np.where(rises, low + GOLDEN * (high - low), high - GOLDEN * (high - low))
            of_fresh = self._value(fresh)
            left, right = np.where(rises, right, fresh), np.where(rises, fresh, left)
            of_left, of_right = (
                np.where(rises, of_right, of_fresh),
                np.where(rises, of_fresh, of_left),
            )
        level = (low + high) / 2
        return np.hstack([self._filled(level), level])

    def _levels(self) -> tuple[Rows, Rows]:
        """Least and greatest level (b, 1) of the top class that the constraints leave."""
        # Lowered to c, the top class and all that stand above their caps lose sum_j (u_j - c)+;
        # that is at most half the budget exactly if every sum of the j largest u allows it.
        u = np.sort(np.hstack([self.y + self.margin, self.top]), axis=1)[:, ::-1]
        count = np.arange(1, u.shape[1] + 1)
        budget = ((u.cumsum(axis=1) - self.half) / count).max(axis=1, keepdims=True)
        room = (1 + self.margin.sum(axis=1, keepdims=True)) / u.shape[1]  # the caps hold the rest
        low = np.minimum(np.maximum(budget, room), self.top)
        return low, np.minimum(self.top + self.half, 1.0)

    def _filled(self, level: Rows) -> Rows:
        """The other classes (b, k - 1) at their best, given the level (b, 1) of the top class."""
        caps = np.maximum(level - self.margin, 0)
        above = np.maximum(self.y - caps, 0)  # must go
        have, room = self.y - above, np.maximum(caps - self.y, 0)
        out = above.sum(axis=1, keepdims=True) + np.maximum(self.top - level, 0)
        into = np.maximum(level - self.top, 0)
        have_before, room_after = _before(have), _before(room[:, ::-1])[:, ::-1]
        # Mass moves up the scores: from classes before some split to classes behind it.
        edges = np.minimum(out + have_before, into + room_after + room)
        ends = np.minimum(out + have.sum(axis=1, keepdims=True), into)
        most = np.maximum(edges.max(axis=1, keepdims=True), ends)
        moved = np.minimum(self.half, most)  # at least what must go, as levels are those allowed
        taken = np.minimum(np.maximum(moved - out - have_before, 0), have)
        given = np.minimum(np.maximum(moved - into - room_after, 0), room)
        filled: Rows = have - taken + given
        return filled

    def _value(self, level: Rows) -> Rows:
        filled = self._filled(level)
        value: Rows = (filled * self.scores).sum(axis=1, keepdims=True)
        return value + level * self.top_score


def _before(values: Rows) -> Rows:
    """Sum of all values of a row that stand before each."""
    return values.cumsum(axis=1) - values
