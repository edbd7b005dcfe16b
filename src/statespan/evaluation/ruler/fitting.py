"""How large a haystack may be: the largest size whose prompt has room."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["at_most", "largest"]


def largest(
    measure: Callable[[int], int], limit: int, *, least: int = 0, guess: int = 1
) -> int | None:
    """Return the largest size of at least `least` whose measure is at most `limit`, None if none.

    `measure` should grow with the size; where it does not quite, the answer is a size that fits and
    whose next one does not. About 2 log₂(size / guess) + 2 sizes are measured, whatever the guess.

    >>> largest(lambda size: 7 * size + 3, 100, guess=50)
    13
    >>> largest(lambda size: 7 * size + 3, 2) is None
    True
    """
    if measure(least) > limit:
        return None
    fits, step = least, 1
    candidate = max(guess, least + 1)
    if measure(candidate) <= limit:
        fits = candidate
        while measure(fits + step) <= limit:
            fits, step = fits + step, 2 * step
        too_large = fits + step
    else:
        too_large = candidate
        while too_large - step > least and measure(too_large - step) > limit:
            too_large, step = too_large - step, 2 * step
        fits = max(least, too_large - step)
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        if measure(middle) <= limit:
            fits = middle
        else:
            too_large = middle
    return fits


def at_most(measure: Callable[[int], int], limit: int, *, least: int, start: int) -> int | None:
    """Return a size from `start` down to `least` whose measure is at most `limit`, None if none.

    The first one tried is `start`, then ever larger steps down.

    >>> at_most(lambda size: 7 * size + 3, 100, least=0, start=13)
    13
    >>> at_most(lambda size: 7 * size + 3, 100, least=0, start=16)
    13
    """
    size, step = max(start, least), 1
    while measure(size) > limit:
        if size == least:
            return None
        size, step = max(least, size - step), 2 * step
    return size
