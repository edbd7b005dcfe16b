"""Features that look at neighbors: the last symbols, the first ones, events of a few symbols."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from typing import TypeAlias

from statespan.compiler.phrases import Names, Pattern, join_words
from statespan.compiler.word_facts import Fact, Feature, FeatureValues

__all__ = ["MAX_PATTERNS", "beginning_of", "events_of", "window_of"]

MAX_PATTERNS = 6
"""A sentence lists no more patterns than this."""

ORDINALS = ("last", "symbol before the last", "third last symbol")

Outputs: TypeAlias = Mapping[Pattern, Hashable]


def window_of(names: Names, length: int) -> Feature:
    """Return the last symbols, `length` of them or the whole word."""

    def say(values: FeatureValues) -> str | None:
        sentence = _say_place(names, values, length)
        if sentence is not None:
            return sentence
        ending = _say_affixes(names, values, "ends in")
        return ending or _say_affixes(names, _opposite(values), "ends in", negated=True)

    return Feature((), lambda window, letter: (*window, letter)[-length:], say)


def beginning_of(names: Names, length: int) -> Feature:
    """Return the first symbols, `length` of them or the whole word."""

    def say(values: FeatureValues) -> str | None:
        reverse = {window[::-1]: output for window, output in values.items()}
        begin = _say_affixes(names, reverse, "begins with", reverse=True)
        if begin is not None:
            return begin
        opposite = _opposite(reverse)
        return _say_affixes(names, opposite, "begins with", reverse=True, negated=True)

    return Feature((), lambda first, letter: (*first, letter)[:length], say)


def _opposite(values: FeatureValues) -> FeatureValues:
    return {value: not output for value, output in values.items()}


def _say_place(names: Names, values: FeatureValues, length: int) -> str | None:
    """Return the sentence if the oldest symbol of the window alone decides."""
    answers: dict[int, set[bool]] = {}
    for window, output in values.items():
        if len(window) == length:
            answers.setdefault(window[0], set()).add(output)
    short = {output for window, output in values.items() if len(window) < length}
    if len(short) != 1 or any(len(given) > 1 for given in answers.values()):
        return None
    holding = [letter for letter, given in answers.items() if True in given]
    if not holding or len(holding) == len(answers):
        return None
    sentence = f"the {ORDINALS[length - 1]} was {names.one_of(holding)}"
    return (
        f"fewer than {length} symbols have been read, or {sentence}" if True in short else sentence
    )


def _say_affixes(
    names: Names,
    values: FeatureValues,
    verb: str,
    *,
    reverse: bool = False,
    negated: bool = False,
) -> str | None:
    suffixes, whole = _minimal_suffixes(values, wanted=True)
    if reverse:
        suffixes, whole = ([w[::-1] for w in words] for words in (suffixes, whole))
    if not suffixes or len(suffixes) + len(whole) > MAX_PATTERNS:
        return None
    parts = [f"{verb} {names.any_of(suffixes)}"]
    if whole:
        parts.append(f"is {join_words([names.spell(word) for word in sorted(whole, key=len)])}")
    if negated:
        parts = [
            part.replace("ends", "does not end").replace("begins", "does not begin")
            for part in parts
        ]
        parts = [f"is not {part[3:]}" if part.startswith("is ") else part for part in parts]
    return f"the word {(' and ' if negated else ' or ').join(parts)}"


def _minimal_suffixes(outputs: Outputs, *, wanted: Hashable) -> tuple[list[Pattern], list[Pattern]]:
    """Return the shortest suffixes after which the output is `wanted`, and whole words beside them.

    A window shorter than the others is a whole word.
    """
    length = max(map(len, outputs))
    suffixes: set[Pattern] = set()
    whole: set[Pattern] = set()
    for window, output in outputs.items():
        if output != wanted:
            continue
        for size in range(1, len(window) + 1):
            suffix = window[-size:]
            ending = (given for other, given in outputs.items() if other[-size:] == suffix)
            if all(given == wanted for given in ending):
                suffixes.add(suffix)
                break
        else:
            whole.add(window)
    assert all(len(word) < length for word in whole)
    return sorted(suffixes), sorted(whole)


def events_of(fact: Fact, length: int) -> Iterator[Feature]:
    """Yield a memory that patterns of up to `length` symbols write, if the fact is one."""
    events = _events(fact, length)
    if events is None:
        return
    written: dict[bool, list[Pattern]] = {}
    for value in (True, False):
        suffixes, whole = _minimal_suffixes(events, wanted=value)
        if whole or len(suffixes) > MAX_PATTERNS:
            return
        written[value] = suffixes
    at_start = bool(fact.outputs[fact.start])

    def step(value: tuple[Pattern, bool], letter: int) -> tuple[Pattern, bool]:
        window = (*value[0], letter)[-length:]
        event = events.get(window)
        return window, value[1] if event is None else event

    def say(values: FeatureValues) -> str | None:
        if any(flag != output for (_, flag), output in values.items()):
            return None
        return fact.names.since(written[True], written[False], at_start=at_start)

    yield Feature(((), at_start), step, say)


def _events(fact: Fact, length: int) -> dict[Pattern, bool | None] | None:
    """Return what each pattern makes of the fact, None for nothing; None if that varies."""
    changes: dict[Pattern, set[tuple[bool, bool]]] = {}
    start: tuple[int, Pattern] = (fact.start, ())
    seen = {start}
    queue = deque([start])
    while queue:
        state, window = queue.popleft()
        before = fact.outputs[state]
        if before is None:
            continue
        for letter, following in enumerate(fact.rows[state]):
            after = fact.outputs[following]
            pair = (following, (*window, letter)[-length:])
            if after is not None:
                changes.setdefault(pair[1], set()).add((before, after))
            if pair not in seen:
                seen.add(pair)
                queue.append(pair)
    events: dict[Pattern, bool | None] = {}
    for window, pairs in changes.items():
        outcomes = {after for _, after in pairs}
        if all(before == after for before, after in pairs):
            events[window] = None
        elif len(outcomes) == 1:
            events[window] = outcomes.pop()
        else:
            return None
    return events
