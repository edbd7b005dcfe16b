"""Which counters to store negated, so that each symbol writes in one direction everywhere."""

from __future__ import annotations

from collections.abc import Iterator

from statespan.compiler.closed_forms.counter_language import CounterLanguage
from statespan.errors import InputError

__all__ = ["directions"]


def directions(form: CounterLanguage) -> list[int]:
    """Return for each counter whether it is stored as it is (1) or negated (-1).

    B is shared by all channels, so a symbol must write in one direction everywhere.

    Raises:
        InputError: it cannot.
    """
    known: dict[int, int] = {}
    for start in range(len(form.counters)):
        pending = [] if start in known else [start]
        known.setdefault(start, 1)
        while pending:
            here = pending.pop()
            for there, agreement in _agreements(form, here):
                direction = agreement * known[here]
                if there not in known:
                    known[there] = direction
                    pending.append(there)
                elif known[there] != direction:
                    raise InputError(
                        f"counters {here} and {there} are tied by symbols that change them in the "
                        "same direction and by others that do not: one block cannot count both."
                    )
    return [known[number] for number in range(len(form.counters))]


def _agreements(form: CounterLanguage, here: int) -> Iterator[tuple[int, int]]:
    """Yield (another counter, the sign of the product of both changes) for each shared symbol."""
    for there, counter in enumerate(form.counters):
        for change, other in zip(form.counters[here].changes, counter.changes, strict=True):
            if change * other:
                yield there, 1 if change * other > 0 else -1
