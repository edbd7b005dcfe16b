"""Deterministic finite automata: tables of ints, and the classical operations on them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from statespan.errors import AutomatonError, LimitError, suggest
from statespan.languages.machine import Machine, Memory, State
from statespan.languages.symbols import END, Alphabet, NextSymbols, check_alphabet

__all__ = [
    "DFA",
    "DFAMachine",
    "complement",
    "determinize",
    "dfa_from_table",
    "dfa_of_machine",
    "dfa_to_table",
    "minimize",
    "product",
]


@final
@dataclass(frozen=True, slots=True)
class DFA:
    """A complete deterministic finite automaton over states 0 … n-1.

    `transitions[state][i]` is the state after the i-th symbol of `alphabet`.
    """

    alphabet: Alphabet
    start: int
    accepting: frozenset[int]
    transitions: tuple[tuple[int, ...], ...]

    @property
    def num_states(self) -> int:
        """The number of states, the dead one included."""
        return len(self.transitions)


_TABLE_KEYS = ("alphabet", "start", "accepting", "transitions")


def dfa_from_table(table: Mapping[str, Any]) -> DFA:
    """Return the automaton that a table of plain values describes.

    `table` has the keys `alphabet` (symbols), `start` (a state), `accepting` (states) and
    `transitions` (triples state, symbol, next state). A state is an int or a string; the states
    are those that the table names. Unreachable states are kept.

    Raises:
        AutomatonError: a key is missing or unknown, a transition is missing, comes twice with
            different targets, or uses an unknown symbol.
        SymbolError: the alphabet is empty or repeats a symbol.
    """
    _check_keys(table)
    alphabet = check_alphabet(_sequence(table, "alphabet", ordered=True))
    ids: dict[Hashable, int] = {}

    def number(state: Any) -> int:
        if isinstance(state, bool) or not isinstance(state, (int, str)):
            raise AutomatonError(f"a state is an int or a string, got {state!r}.")
        return ids.setdefault(state, len(ids))

    start = number(table["start"])
    accepting = frozenset(number(state) for state in _sequence(table, "accepting"))
    targets: dict[tuple[int, str], int] = {}
    for entry in _sequence(table, "transitions"):
        if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != 3:
            raise AutomatonError(f"a transition is [state, symbol, next state], got {entry!r}.")
        source, symbol, target = entry
        if symbol not in alphabet:
            raise AutomatonError(
                f"the transition {entry!r} uses the symbol {symbol!r}, which is not in the "
                f"alphabet {list(alphabet)!r}."
            )
        key = (number(source), symbol)
        if targets.setdefault(key, number(target)) != number(target):
            raise AutomatonError(f"two transitions leave state {source!r} on symbol {symbol!r}.")
    for state, index in ids.items():
        for symbol in alphabet:
            if (index, symbol) not in targets:
                raise AutomatonError(
                    f"state {state!r} has no transition on symbol {symbol!r}: every state needs "
                    "one for every symbol (lead to a state that is not accepting to reject)."
                )
    rows = tuple(tuple(targets[index, symbol] for symbol in alphabet) for index in ids.values())
    return DFA(alphabet, start, accepting, rows)


def dfa_to_table(dfa: DFA) -> dict[str, Any]:
    """Return the table of plain values that describes an automaton; `dfa_from_table` reads it.

    Example:
        >>> table = {"alphabet": ["a"], "start": 0, "accepting": [0], "transitions": [[0, "a", 0]]}
        >>> dfa_to_table(dfa_from_table(table)) == table
        True
    """
    return {
        "alphabet": list(dfa.alphabet),
        "start": dfa.start,
        "accepting": sorted(dfa.accepting),
        "transitions": [
            [state, symbol, target]
            for state, row in enumerate(dfa.transitions)
            for symbol, target in zip(dfa.alphabet, row, strict=True)
        ],
    }


def _check_keys(table: Mapping[str, Any]) -> None:
    if not isinstance(table, Mapping):
        raise AutomatonError(f"an automaton is a table of {', '.join(_TABLE_KEYS)}, got {table!r}.")
    for key in table:
        if key not in _TABLE_KEYS:
            raise AutomatonError(
                f"unknown key {key!r} in the table. {suggest(str(key), _TABLE_KEYS)}"
            )
    for key in _TABLE_KEYS:
        if key not in table:
            raise AutomatonError(
                f"the table has no {key!r}; it needs the keys {', '.join(_TABLE_KEYS)}."
            )


def _sequence(table: Mapping[str, Any], key: str, *, ordered: bool = False) -> Sequence[Any]:
    value = table[key]
    if isinstance(value, str) and key == "alphabet":
        return list(value)
    kinds = Sequence if ordered else (Sequence, set, frozenset)
    if isinstance(value, str) or not isinstance(value, kinds):
        raise AutomatonError(f"{key!r} must be a list, got {value!r}.")
    return list(value)


def determinize(
    alphabet: Alphabet,
    start: Hashable,
    step: Callable[[Any, int], Hashable],
    accepts: Callable[[Any], bool],
    *,
    limit: int = 200_000,
) -> DFA:
    """Return the automaton reachable from `start` by `step(state, symbol id)`, in BFS order.

    Raises:
        LimitError: it has more than `limit` states.
    """
    ids: dict[Hashable, int] = {start: 0}
    order = [start]
    rows: list[tuple[int, ...]] = []
    for state in order:
        row = []
        for symbol in range(len(alphabet)):
            following = step(state, symbol)
            if following not in ids:
                if len(ids) >= limit:
                    raise LimitError(f"the automaton has more than {limit:,} states.")
                ids[following] = len(order)
                order.append(following)
            row.append(ids[following])
        rows.append(tuple(row))
    accepting = frozenset(index for index, state in enumerate(order) if accepts(state))
    return DFA(alphabet, 0, accepting, tuple(rows))


def minimize(dfa: DFA) -> DFA:
    """Return the minimal complete automaton, its states numbered breadth first.

    Equal languages over the same alphabet give equal results. Hopcroft's algorithm, O(k n log n)
    for n states and k symbols.
    """
    reachable = determinize(
        dfa.alphabet,
        dfa.start,
        lambda state, symbol: dfa.transitions[state][symbol],
        dfa.accepting.__contains__,
        limit=dfa.num_states + 1,
    )
    rows = reachable.transitions
    blocks = _refine(reachable)
    block = {state: index for index, states in enumerate(blocks) for state in states}
    representative = [min(states) for states in blocks]
    return determinize(
        dfa.alphabet,
        block[0],
        lambda b, symbol: block[rows[representative[b]][symbol]],
        lambda b: representative[b] in reachable.accepting,
    )


def _refine(dfa: DFA) -> list[set[int]]:
    """Return the classes of states of `dfa` from which the same words are accepted."""
    sources: list[list[list[int]]] = [[[] for _ in dfa.transitions] for _ in dfa.alphabet]
    for state, row in enumerate(dfa.transitions):
        for symbol, target in enumerate(row):
            sources[symbol][target].append(state)
    accepting = set(dfa.accepting)
    blocks = [b for b in (accepting, set(range(dfa.num_states)) - accepting) if b]
    block = [0] * dfa.num_states
    for index, states in enumerate(blocks):
        for state in states:
            block[state] = index
    waiting = {(0, symbol) for symbol in range(len(dfa.alphabet))} if len(blocks) == 2 else set()
    while waiting:
        splitter, symbol = waiting.pop()
        hit: dict[int, set[int]] = {}
        for target in blocks[splitter]:
            for state in sources[symbol][target]:
                hit.setdefault(block[state], set()).add(state)
        for index, inside in hit.items():
            if len(inside) == len(blocks[index]):
                continue
            blocks[index] -= inside
            fresh = len(blocks)
            blocks.append(inside)
            for state in inside:
                block[state] = fresh
            smaller = fresh if len(inside) <= len(blocks[index]) else index
            for other in range(len(dfa.alphabet)):
                pending = (index, other) in waiting
                waiting.add((fresh if pending else smaller, other))
    return blocks


def complement(dfa: DFA) -> DFA:
    """Return the automaton of all words over the same alphabet that `dfa` rejects."""
    rejecting = frozenset(range(dfa.num_states)) - dfa.accepting
    return DFA(dfa.alphabet, dfa.start, rejecting, dfa.transitions)


def product(left: DFA, right: DFA, keep: Callable[[bool, bool], bool]) -> DFA:
    """Return the automaton of the words w with `keep(w in left, w in right)`.

    Both must have the same alphabet.
    """
    return determinize(
        left.alphabet,
        (left.start, right.start),
        lambda pair, symbol: (
            left.transitions[pair[0]][symbol],
            right.transitions[pair[1]][symbol],
        ),
        lambda pair: keep(pair[0] in left.accepting, pair[1] in right.accepting),
    )


def dfa_of_machine(machine: Machine, *, limit: int = 200_000) -> DFA:
    """Return the minimal automaton of a finite machine.

    Raises:
        LimitError: the machine has more than `limit` states.
    """
    return minimize(
        determinize(
            machine.alphabet,
            machine.start,
            lambda q, i: None if q is None else machine.step(q, machine.alphabet[i]),
            lambda q: q is not None and machine.is_accepting(q),
            limit=limit,
        )
    )


@final
class DFAMachine(Machine):
    """A finite automaton as a machine: states that reach no accepting state are dead."""

    memory: Memory = "finite"

    def __init__(self, dfa: DFA) -> None:
        self.alphabet = dfa.alphabet
        self.dfa = dfa
        live = _live_states(dfa)
        self._start = dfa.start if dfa.start in live else None
        self._steps = [
            {s: (q if q in live else None) for s, q in zip(dfa.alphabet, row, strict=True)}
            for row in dfa.transitions
        ]

    @property
    def start(self) -> State:
        return self._start

    def step(self, state: int, symbol: str) -> State:
        return self._steps[state][symbol]

    def is_accepting(self, state: int) -> bool:
        return state in self.dfa.accepting

    def allowed(self, state: int) -> NextSymbols:
        return self._allowed[state]

    @cached_property
    def _allowed(self) -> list[NextSymbols]:
        return [
            frozenset(
                (
                    *(s for s, q in steps.items() if q is not None),
                    *((END,) if state in self.dfa.accepting else ()),
                )
            )
            for state, steps in enumerate(self._steps)
        ]


def _live_states(dfa: DFA) -> frozenset[int]:
    sources: list[list[int]] = [[] for _ in dfa.transitions]
    for state, row in enumerate(dfa.transitions):
        for target in row:
            sources[target].append(state)
    live = set(dfa.accepting)
    frontier = list(live)
    while frontier:
        fresh = [s for s in sources[frontier.pop()] if s not in live]
        live.update(fresh)
        frontier.extend(fresh)
    return frozenset(live)
