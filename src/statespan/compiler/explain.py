"""Every pass of the compiler in words: automaton, cascade, layers, weights."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod

from torch import Tensor

from statespan.compiler.cascade import Cascade, Component, Conditions, Term, next_symbols_of_states
from statespan.compiler.layer_program import layer_program, name_group
from statespan.compiler.meanings import ComponentMeaning, component_meanings, shortest_words
from statespan.compiler.phrases import join_words, name_symbol, name_symbols
from statespan.compiler.residual import answer_columns
from statespan.compiler.weights import Plan
from statespan.languages import END, Alphabet, NextSymbols
from statespan.languages.automaton import DFA

__all__ = ["explain", "name_next_symbols", "rule_lines"]

WIDTH = 100
MAX_STATES = 60
MAX_CASES = 10_000


def explain(
    cascade: Cascade,
    dfa: DFA,
    plan: Plan | None = None,
    *,
    tensors: Mapping[str, Tensor] | None = None,
) -> str:
    """Return what each pass made, as plain text with headings, at most 100 columns wide.

    `dfa` is the minimal automaton that `cascade` was made from; `plan` says what is where in the
    model; `tensors`, the weights, add their sizes.
    """
    sections = [
        ("The minimal automaton", _automaton_lines(dfa)),
        ("The cascade", _cascade_lines(cascade, component_meanings(cascade, dfa))),
        ("What may follow", _readout_lines(cascade)),
    ]
    if plan is not None:
        sections.append(("The program of layers", _program_lines(cascade, plan)))
    if tensors is not None:
        sections.append(("The weights", _weight_lines(tensors)))
    text = []
    for number, (title, lines) in enumerate(sections, start=1):
        heading = f"{number}. {title}"
        text += [heading, "-" * len(heading), *_wrapped(lines), ""]
    return "\n".join(text)


def _wrapped(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines no wider than the page; what is behind the first colon stays indented."""
    for line in lines:
        indent = len(line) - len(line.lstrip())
        yield from textwrap.wrap(
            line,
            WIDTH,
            subsequent_indent=" " * (indent and indent + 4),
            drop_whitespace=True,
            break_on_hyphens=False,
        ) or [""]


def _automaton_lines(dfa: DFA) -> Iterator[str]:
    allowed = next_symbols_of_states(dfa)
    words = shortest_words(dfa)
    yield (
        f"{_number(dfa.num_states, 'state')} over {_number(len(dfa.alphabet), 'symbol')}: "
        f"{', '.join(map(name_symbol, dfa.alphabet))}. The start is state {dfa.start}."
    )
    for state in range(min(dfa.num_states, MAX_STATES)):
        if allowed[state]:
            follow = f"may follow: {name_next_symbols(allowed[state], dfa.alphabet)}"
        else:
            follow = "dead: the word can no longer be completed"
        yield f"  state {state}, first reached by {words[state]}; {follow}"
        yield f"      {_moves(dfa, state)}"
    if dfa.num_states > MAX_STATES:
        yield f"  and {dfa.num_states - MAX_STATES} more states"


def _moves(dfa: DFA, state: int) -> str:
    by_target: dict[int, list[str]] = {}
    for symbol, target in zip(dfa.alphabet, dfa.transitions[state], strict=True):
        by_target.setdefault(target, []).append(symbol)
    moves = []
    for target, symbols in by_target.items():
        where = "stays" if target == state else f"goes to {target}"
        moves.append(f"on {name_symbols(symbols, dfa.alphabet)} {where}")
    return "; ".join(moves)


def name_next_symbols(symbols: NextSymbols, alphabet: Alphabet) -> str:
    """Return a set of next symbols as it stands in a sentence."""
    inside = [symbol for symbol in alphabet if symbol in symbols]
    named = name_symbols(inside, alphabet) if inside else ""
    if END not in symbols:
        return named or "nothing"
    comma = "," if " " in named else ""
    return f"{named}{comma} or the end" if named else "the end"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _cascade_lines(cascade: Cascade, meanings: Sequence[ComponentMeaning]) -> Iterator[str]:
    yield (
        f"{_number(len(cascade.components), 'component')} on "
        f"{_number(cascade.num_levels, 'level')}. A rule asks what the components before it were "
        "before the symbol. The start of a word sets each to its first value."
    )
    for number, (component, meaning) in enumerate(zip(cascade.components, meanings, strict=True)):
        yield ""
        yield f"c{number} (level {cascade.levels[number]}) remembers {meaning.sentence}."
        for value, said in enumerate(meaning.values):
            first = " (at first)" if value == component.initial else ""
            yield f"  {value}{first}: {said.sentence}{EXTENTS[said.extent]}"
            if said.states:
                noun = "state" if len(said.states) == 1 else "states"
                yield f"     {noun} {', '.join(map(str, sorted(said.states)))}"
        yield from (f"  {line}" for line in rule_lines(cascade, component))


EXTENTS = {
    "always": "",
    "while completable": " (as long as the word can still be completed)",
    "possible": "",
    "unknown": "",
}


def rule_lines(cascade: Cascade, component: Component) -> list[str]:
    """Return the rules of a component, one a line, without the one for the start of a word."""
    lines = []
    for term in component.terms:
        line = _rule(cascade, term)
        if line is not None:
            lines.append(line)
    if not lines:
        return ["never changes"]
    return [*lines, "keeps its value otherwise"] if _keeps(cascade, component) else lines


def _rule(cascade: Cascade, term: Term) -> str | None:
    symbols = [cascade.alphabet[i] for i in sorted(term.letters) if i < cascade.restart]
    if not symbols:
        return None
    when = f", when {_say_conditions(term.conditions)}" if term.conditions else ""
    match term.value:
        case None:
            effect = "flips"
        case (low, high):
            effect = f"swaps {low} and {high}"
        case written:
            effect = f"becomes {written}"
    return f"on {name_symbols(symbols, cascade.alphabet)}{when}: {effect}"


def _keeps(cascade: Cascade, component: Component) -> bool:
    """Return whether the rules leave some case open, reachable or not."""
    reads = sorted(component.reads)
    sizes = [cascade.components[number].num_values for number in reads]
    if prod(sizes) > MAX_CASES:
        return True
    before = [0] * len(cascade.components)
    for values in product(*map(range, sizes)):
        for number, value in zip(reads, values, strict=True):
            before[number] = value
        if any(component.fired(i, tuple(before)) is None for i in range(cascade.restart)):
            return True
    return False


def _say_conditions(conditions: Conditions) -> str:
    return join_words(
        [f"c{c} is {join_words([str(v) for v in sorted(allowed)])}" for c, allowed in conditions],
        "and",
    )


def _readout_lines(cascade: Cascade) -> Iterator[str]:
    readout = cascade.readout
    by_label: dict[int, list[str]] = {}
    for term in readout.terms:
        if term.label != readout.default:
            by_label.setdefault(term.label, []).append(_say_conditions(term.conditions))
    for label, cases in by_label.items():
        follow = name_next_symbols(readout.labels[label], cascade.alphabet)
        yield f"  {follow}: when {', or '.join(cases)}"
    otherwise = "otherwise" if by_label else "always"
    yield f"  {name_next_symbols(readout.labels[readout.default], cascade.alphabet)}: {otherwise}"


def _program_lines(cascade: Cascade, plan: Plan) -> Iterator[str]:
    if not plan.groups:
        yield "No plan of the stream was kept."
        return
    channels = sum(len(group.channels) for group in plan.groups)
    yield f"The stream holds {_number(len(plan.groups), 'fact')} in {_number(channels, 'channel')}:"
    for group in plan.groups:
        yield (f"  {group.name}: {name_group(group)}, in {_number(len(group.channels), 'channel')}")
    yield from _answer_lines(cascade, plan)
    yield "The embedding writes the letter, and each other fact as it is at the start of a word."
    for number, block in enumerate(layer_program(cascade, plan), start=1):
        yield f"Block {number} reads {', '.join(block.reads) or 'nothing'};"
        yield f"    {block.remark};"
        yield f"    it writes {', '.join(block.writes) or 'nothing'}."
    yield "The head reads the answers: a positive logit may follow, a negative one may not."


def _answer_lines(cascade: Cascade, plan: Plan) -> Iterator[str]:
    if not any(group.kind == "answer" for group in plan.groups):
        return
    for symbol, place in zip(
        [*map(name_symbol, cascade.alphabet), "the end"], answer_columns(cascade)[1], strict=True
    ):
        if isinstance(place, bool):
            yield f"    {symbol} may {'always' if place else 'never'} follow"
        else:
            sign = "" if place[1] > 0 else "not "
            yield f"    {symbol} may follow when {sign}answer {place[0]}"


def _weight_lines(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield each kind of tensor, those of all layers together."""
    kinds: dict[tuple[str, tuple[int, ...]], list[Tensor]] = {}
    for name, tensor in tensors.items():
        kind = re.sub(r"\.\d+\.", ".*.", name)
        kinds.setdefault((kind, tuple(tensor.shape)), []).append(tensor)
    yield f"{sum(tensor.numel() for tensor in tensors.values()):,} weights."
    for (kind, shape), members in kinds.items():
        times = f"{len(members)} times " if len(members) > 1 else ""
        size = " × ".join(map(str, shape)) or "1"
        nonzero = sum(int(tensor.count_nonzero()) for tensor in members)
        yield f"  {kind}: {times}{size}, {nonzero:,} not zero"
