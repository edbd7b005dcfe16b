"""How many levels a cascade for an automaton needs at most: the height of its image sets.

The holonomy decomposition (Eilenberg 1976; Egri-Nagy and Nehaniv 2015, arXiv:1508.02800) of an
automaton has a level for each step down a chain of image sets: P above R when R is a set that some
word makes of P, or a subset of P. Sets that words turn into one another share their place.
"""

from __future__ import annotations

from statespan.algebra.graphs import strong_components
from statespan.algebra.images import image_orbit
from statespan.errors import LimitError
from statespan.languages.automaton import DFA, minimize

__all__ = ["HEIGHT_LIMIT", "cascade_height"]

HEIGHT_LIMIT = 2_000


def cascade_height(dfa: DFA, *, limit: int = HEIGHT_LIMIT) -> int:
    """Return the number of levels of the holonomy cascade of the language of `dfa`.

    Quadratic in the number of image sets.

    Raises:
        LimitError: there are more than `limit` image sets.

    Example:
        >>> from statespan.languages import language
        >>> [cascade_height(language(name).dfa()) for name in ("tomita-1", "tomita-4", "d-12")]
        [1, 3, 13]
    """
    minimal = minimize(dfa)
    try:
        orbit = image_orbit(minimal, limit=limit)
    except LimitError as error:
        raise LimitError(f"the height needs at most {limit:,} image sets: {error}") from error
    k = len(minimal.alphabet)
    component = strong_components(orbit.targets, k)
    node = {
        mask: component[index] for index, mask in enumerate(orbit.images) if mask.bit_count() > 1
    }
    below: dict[int, set[int]] = {number: set() for number in node.values()}
    for index, mask in enumerate(orbit.images):
        if mask not in node:
            continue
        reached = (orbit.images[orbit.targets[index * k + a]] for a in range(k))
        smaller = (other for other in node if other != mask and other & mask == other)
        for other in (*(r for r in reached if r in node), *smaller):
            if node[other] != node[mask]:
                below[node[mask]].add(node[other])
    heights: dict[int, int] = {}
    for number in _bottom_up(below):
        heights[number] = 1 + max((heights[other] for other in below[number]), default=0)
    return max(heights.values(), default=0)


def _bottom_up(below: dict[int, set[int]]) -> list[int]:
    """Return the nodes so that all that is below a node comes before it (there are no cycles)."""
    order: list[int] = []
    done: set[int] = set()
    for root in below:
        stack = [(root, iter(below[root]))] if root not in done else []
        done.add(root)
        while stack:
            number, rest = stack[-1]
            following = next((other for other in rest if other not in done), None)
            if following is None:
                order.append(number)
                stack.pop()
            else:
                done.add(following)
                stack.append((following, iter(below[following])))
    return order
