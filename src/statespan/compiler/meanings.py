"""What each component of a cascade remembers, in sentences that are theorems."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

from statespan.algebra.words import access_word
from statespan.compiler.cascade import Cascade, Component, Readout, Values, next_symbols_of_states
from statespan.compiler.features import LAST_SYMBOL, NOTHING_READ, describe
from statespan.compiler.phrases import Names, join_words
from statespan.compiler.word_facts import Fact, Row
from statespan.languages import show_word
from statespan.languages.automaton import DFA, minimize
from statespan.languages.symbols import to_word

__all__ = ["ComponentMeaning", "Extent", "ValueMeaning", "component_meanings", "shortest_words"]

PAIR_LIMIT = 20_000
MAX_CONTEXTS = 3
MAX_WORDS = 2

Extent: TypeAlias = Literal["always", "while completable", "possible", "unknown"]
"""Where a sentence is true exactly when the component has the value.

`always`: after every word. `while completable`: after every word that can still be completed.
`possible`: nowhere in particular; the sentence only says what can be. `unknown`: too many values.
"""


@final
@dataclass(frozen=True, slots=True)
class ValueMeaning:
    """What it means that a component has a value.

    Attributes:
        sentence: a clause without a full stop, as in "the last symbol was a".
        extent: where the clause is true exactly when the component has the value.
        states: the states of the automaton that are possible then.
    """

    sentence: str
    extent: Extent
    states: frozenset[int]


@final
@dataclass(frozen=True, slots=True)
class ComponentMeaning:
    """What a component remembers, as a clause, and what each of its values means."""

    sentence: str
    values: tuple[ValueMeaning, ...]


def component_meanings(
    cascade: Cascade, dfa: DFA, *, limit: int = PAIR_LIMIT
) -> list[ComponentMeaning]:
    """Return what each component remembers.

    Every sentence was checked on all pairs of values and states that any word leads to. A
    component whose values and those it depends on reach more than `limit` pairs is not looked at.
    """
    words = shortest_words(dfa)
    meanings = []
    for number in range(len(cascade.components)):
        memory = _reachable(cascade, dfa, number, limit)
        if memory is None:
            meanings.append(_unknown(cascade.components[number], limit))
        else:
            meanings.append(_meaning(memory, cascade.components[number], words))
    return meanings


def shortest_words(dfa: DFA) -> list[str]:
    """Return a shortest word that leads to each state of `dfa`, as text."""
    states = range(dfa.num_states)
    return [show_word(to_word(access_word(dfa, state), dfa.alphabet)) for state in states]


@final
@dataclass(frozen=True, slots=True)
class _Memory:
    """A component with those that it depends on, run beside the automaton.

    Node i has the state `states[i]`, the component's value `values[i]`, and `contexts[i]`, the
    values of the components that it depends on, whose numbers are `sources`.
    """

    dfa: DFA
    rows: tuple[Row, ...]
    values: tuple[int, ...]
    states: tuple[int, ...]
    contexts: tuple[Values, ...]
    sources: tuple[int, ...]


def _reachable(cascade: Cascade, dfa: DFA, number: int, limit: int) -> _Memory | None:
    """Return the nodes that any word leads to, None if they are more than `limit`."""
    members = _closure(cascade, number)
    part = _part(cascade, members)
    nodes = {(part.start, dfa.start): 0}
    queue = deque(nodes)
    rows: list[Row] = []
    while queue:
        values, state = queue.popleft()
        row = []
        for letter, following in enumerate(dfa.transitions[state]):
            pair = (part.step(values, letter), following)
            if pair not in nodes:
                nodes[pair] = len(nodes)
                queue.append(pair)
            row.append(nodes[pair])
        rows.append(tuple(row))
        if len(nodes) > limit:
            return None
    return _Memory(
        dfa,
        tuple(rows),
        tuple(values[-1] for values, _ in nodes),
        tuple(state for _, state in nodes),
        tuple(values[:-1] for values, _ in nodes),
        tuple(members[:-1]),
    )


def _closure(cascade: Cascade, number: int) -> list[int]:
    """Return the components that `number` depends on, itself the last."""
    found, queue = {number}, [number]
    while queue:
        fresh = cascade.components[queue.pop()].reads - found
        found |= fresh
        queue += fresh
    return sorted(found)


def _part(cascade: Cascade, members: Sequence[int]) -> Cascade:
    """Return a cascade of some components alone, which read only one another."""
    places = {number: place for place, number in enumerate(members)}
    components = []
    for number in members:
        component = cascade.components[number]
        terms = tuple(
            replace(term, conditions=tuple((places[c], allowed) for c, allowed in term.conditions))
            for term in component.terms
        )
        components.append(replace(component, terms=terms))
    return Cascade(cascade.alphabet, tuple(components), Readout((frozenset(),), 0, ()))


def _meaning(memory: _Memory, component: Component, words: Sequence[str]) -> ComponentMeaning:
    values = tuple(_value_meaning(memory, value, words) for value in range(component.num_values))
    return ComponentMeaning(_summary(memory, component, values), values)


def _value_meaning(memory: _Memory, value: int, words: Sequence[str]) -> ValueMeaning:
    held = [value == own for own in memory.values]
    states = frozenset(q for q, yes in zip(memory.states, held, strict=True) if yes)
    others = frozenset(q for q, yes in zip(memory.states, held, strict=True) if not yes)
    special = None if states & others else _special(memory.dfa, states)
    exact = minimize(DFA(memory.dfa.alphabet, 0, frozenset(_true(held)), memory.rows))
    sentence = describe(_fact(exact, memory.dfa.alphabet))
    if special is not None:
        both = special if sentence is None else f"{sentence} ({special})"
        return ValueMeaning(both, "always", states)
    if sentence is not None:
        return ValueMeaning(sentence, "always", states)
    sentence = describe(_completable_fact(exact, memory.dfa))
    if sentence is not None:
        return ValueMeaning(sentence, "while completable", states)
    listed = _list_states(states, words)
    if not states & others:
        return ValueMeaning(f"the automaton is in state {listed}", "always", states)
    return ValueMeaning(f"the automaton can be in state {listed}", "possible", states)


def _list_states(states: frozenset[int], words: Sequence[str]) -> str:
    if len(states) > MAX_WORDS:
        return join_words([str(state) for state in sorted(states)])
    return join_words([f"{state} (as after {words[state]})" for state in sorted(states)])


def _true(flags: Sequence[bool]) -> Iterable[int]:
    return (i for i, flag in enumerate(flags) if flag)


def _special(dfa: DFA, states: frozenset[int]) -> str | None:
    """Return what sets the states apart, if it can be said without their numbers."""
    if len(states) in {0, dfa.num_states}:
        return None
    allowed = next_symbols_of_states(dfa)
    everything = frozenset(range(dfa.num_states))
    dead = frozenset(q for q in everything if not allowed[q])
    named = (
        (dead, "the word can no longer be completed"),
        (everything - dead, "the word can still be completed"),
        (dfa.accepting, "what has been read is a word"),
        (everything - dfa.accepting, "what has been read is no word"),
    )
    return next((sentence for wanted, sentence in named if wanted == states), None)


def _fact(exact: DFA, alphabet: Sequence[str]) -> Fact:
    """Return whether a minimal automaton accepts, with the symbols that it does not tell apart."""
    outputs = [state in exact.accepting for state in range(exact.num_states)]
    return _with_classes(exact.start, exact.transitions, outputs, tuple(alphabet))


def _completable_fact(exact: DFA, dfa: DFA) -> Fact:
    """Return the same fact, without an answer where no word can come of it any more."""
    allowed = next_symbols_of_states(dfa)
    nodes: dict[tuple[int, int] | None, int] = {(exact.start, dfa.start): 0}
    rows: list[Row] = []
    outputs: list[bool | None] = []
    queue = deque(nodes)
    while queue:
        node = queue.popleft()
        outputs.append(None if node is None else node[0] in exact.accepting)
        row = []
        for letter in range(len(dfa.alphabet)):
            following = None
            if node is not None:
                state = dfa.transitions[node[1]][letter]
                following = (exact.transitions[node[0]][letter], state) if allowed[state] else None
            if following not in nodes:
                nodes[following] = len(nodes)
                queue.append(following)
            row.append(nodes[following])
        rows.append(tuple(row))
    return _with_classes(0, rows, outputs, dfa.alphabet)


def _with_classes(
    start: int, rows: Sequence[Row], outputs: Sequence[bool | None], alphabet: tuple[str, ...]
) -> Fact:
    columns: dict[Row, list[int]] = {}
    for letter in range(len(alphabet)):
        columns.setdefault(tuple(row[letter] for row in rows), []).append(letter)
    classes = tuple(frozenset(alphabet[i] for i in letters) for letters in columns.values())
    merged = tuple(tuple(row[letters[0]] for letters in columns.values()) for row in rows)
    return Fact(Names(alphabet, classes), start, merged, tuple(outputs))


def _summary(memory: _Memory, component: Component, values: tuple[ValueMeaning, ...]) -> str:
    used = [meaning for meaning in values if meaning.states]
    if len(used) < 2:
        return "nothing: it has one value only"
    place = f"at which of {len(values)} places something is, while symbols swap two of the places"
    if any(meaning.extent == "possible" for meaning in values):
        return f"{place}; {_contexts(memory)}" if component.swaps else _contexts(memory)
    if len(used) == 2:
        first = min(used[::-1], key=lambda meaning: len(meaning.sentence))
        return f"whether {first.sentence}"
    plain = (LAST_SYMBOL, NOTHING_READ)
    if all(meaning.sentence.startswith(plain) for meaning in used):
        return "which symbol was the last"
    return place if component.swaps else f"which of {len(used)} cases holds"


def _contexts(memory: _Memory) -> str:
    """Return which states the values tell apart, given the components that it depends on."""
    possible: dict[Values, dict[int, set[int]]] = {}
    for context, value, state in zip(memory.contexts, memory.values, memory.states, strict=True):
        possible.setdefault(context, {}).setdefault(value, set()).add(state)
    telling: dict[tuple[tuple[int, ...], ...], list[Values]] = {}
    for context, by_value in possible.items():
        sets = [tuple(sorted(by_value[value])) for value in sorted(by_value)]
        if len(set(sets)) > 1:
            telling.setdefault(tuple(sorted(set(sets))), []).append(context)
    if not telling:
        return "what later components ask for, and no more of the state by itself"
    parts = []
    for groups, contexts in list(telling.items())[:MAX_CONTEXTS]:
        named = [f"{{{', '.join(map(str, states))}}}" for states in groups]
        parts.append(f"states {join_words(named, 'and')}{_where(memory.sources, contexts)}")
    more = len(telling) - MAX_CONTEXTS
    rest = f", and the like in {more} more cases" if more > 0 else ""
    return f"given the earlier components, it tells apart {'; '.join(parts)}{rest}"


def _where(sources: Sequence[int], contexts: Sequence[Values]) -> str:
    if not sources:
        return ""
    equal = [
        f"c{source} is {contexts[0][place]}"
        for place, source in enumerate(sources)
        if len({context[place] for context in contexts}) == 1
    ]
    return f" where {join_words(equal, 'and')}" if equal else " in some cases"


def _unknown(component: Component, limit: int) -> ComponentMeaning:
    sentence = f"not worked out: it reaches more than {limit:,} values with those it depends on"
    value = ValueMeaning("not worked out", "unknown", frozenset())
    return ComponentMeaning(sentence, (value,) * component.num_values)
