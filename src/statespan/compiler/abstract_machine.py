"""What a model has to remember, as a few finite variables that each token changes.

Variables are looked at in pairs: what each of them was `before` a token, and what it is `after`
it. That keeps what every token does a small decision diagram, where the joint values are far too
many to list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from statespan.compiler.cascade import Cascade, Component, Conditions
from statespan.compiler.decision_diagrams import Diagrams, Node
from statespan.compiler.model_plan import letters_of_tokens
from statespan.errors import InputError
from statespan.training import BOS, Vocabulary

__all__ = [
    "TOKEN",
    "AbstractMachine",
    "after",
    "before",
    "cascade_machine",
    "diagrams_of",
    "values_of",
]

TOKEN = 0
"""The variable that is the token read."""


def before(memory: int) -> int:
    """Return the variable that is a memory before the token."""
    return 1 + 2 * memory


def after(memory: int) -> int:
    """Return the variable that is a memory after the token."""
    return 2 + 2 * memory


def diagrams_of(vocab_size: int, sizes: Sequence[int]) -> Diagrams:
    """Return the diagrams over the token, and over each memory before and after it."""
    return Diagrams([vocab_size, *(size for size in sizes for _ in range(2))])


@final
@dataclass(frozen=True, eq=False)
class AbstractMachine:
    """Memories, what each token makes of them, and which symbols may then follow.

    Attributes:
        diagrams: the functions of the token and of all memories before and after it.
        origin: the value of each memory before the first token, which is BOS.
        steps: each memory after the token, by the token and the memories before.
        answers: whether each of `Vocabulary.answer_ids` may follow, by the memories after.
        possible: what is true of the memories once BOS was read, by the memories before.
        promised: whether the model must answer, by the token and the memories before.
    """

    diagrams: Diagrams
    origin: tuple[int, ...]
    steps: tuple[Node, ...]
    answers: tuple[Node, ...]
    possible: Node
    promised: Node

    @property
    def num_memories(self) -> int:
        """The number of memories."""
        return len(self.steps)

    def point(self, token: int, memories: Sequence[int]) -> list[int]:
        """Return the point at which `token` is read while the memories have these values."""
        known = [token, *(value for value in memories for _ in range(2))]
        found = [token]
        for value, step in zip(memories, self.steps, strict=True):
            found += [value, self.diagrams.at(step, known)]
        return found

    def settled(self, node: Node) -> Node:
        """Return a function by the token and the memories before alone."""
        return self.diagrams.compose(node, {after(i): step for i, step in enumerate(self.steps)})

    def earlier(self, node: Node) -> Node | None:
        """Return a function of the last token's outcome by the memories before this one.

        None if it needs more than what the memories were after the last token.
        """
        afters = {after(i): before(i) for i in range(self.num_memories)}
        if not self.diagrams.support(node) <= set(afters):
            return None
        variables = self.diagrams.variable
        return self.diagrams.compose(node, {a: variables(b) for a, b in afters.items()})

    def later(self, node: Node) -> Node:
        """Return a function of the memories before a token as one of the memories after it."""
        variables = self.diagrams.variable
        afters = {before(i): variables(after(i)) for i in range(self.num_memories)}
        return self.diagrams.compose(node, afters)

    @cached_property
    def taken(self) -> Node:
        """Whether a step can occur: BOS from the origin, or what is possible and promised."""
        begins = self.diagrams.table(TOKEN, map(BOS.__eq__, range(self.diagrams.sizes[TOKEN])))
        for memory, value in reversed(list(enumerate(self.origin))):
            here = self.diagrams.variable(before(memory))
            begins = self.diagrams.apply(lambda x, rest, v=value: x == v and rest, here, begins)
        return self.diagrams.apply(
            lambda begins, possible, promised: bool(begins or (possible and promised)),
            begins,
            self.possible,
            self.promised,
        )

    def fault(self) -> str | None:
        """Return why `possible` is not true after every step that is taken; None if it is."""
        following = self.settled(self.later(self.possible))
        kept = self.diagrams.apply(lambda taken, then: then or not taken, self.taken, following)
        return None if self.diagrams.leaves(kept) <= {True} else "a step leads astray"


def cascade_machine(cascade: Cascade) -> AbstractMachine:
    """Return the machine of a cascade: for each component, the rule that acted last.

    The last value stands for none yet, before the first BOS.

    Raises:
        InputError: some component is not written when a word begins, or written by EOS and PAD,
            or by some rule changed otherwise than by writing.
    """
    terms = [term for component in cascade.components for term in component.terms]
    ignored = cascade.restart + 1
    if any(ignored in term.letters for term in terms):
        raise InputError("some component is written by a token that is to be ignored.")
    if not all(isinstance(term.value, int) for term in terms):
        raise InputError("some component is not known by the rule that acted last.")
    vocab_size = Vocabulary(cascade.alphabet).size
    sizes = [1 + len(component.terms) for component in cascade.components]
    diagrams = diagrams_of(vocab_size, sizes)
    afters = [values_of(diagrams, c, after(i)) for i, c in enumerate(cascade.components)]
    begun = diagrams.constant(True)
    for number, size in reversed(list(enumerate(sizes))):
        here = diagrams.variable(before(number))
        begun = diagrams.apply(lambda x, rest, none=size - 1: x != none and rest, here, begun)
    machine = AbstractMachine(
        diagrams,
        origin=tuple(len(component.terms) for component in cascade.components),
        steps=tuple(_rule(diagrams, cascade, number) for number in range(len(sizes))),
        answers=_answers(diagrams, cascade, afters),
        possible=begun,
        promised=diagrams.constant(True),
    )
    if machine.fault() is not None:
        raise InputError("some component is not written when a word begins.")
    return machine


def values_of(diagrams: Diagrams, component: Component, variable: int) -> Node:
    """Return the value of a component, by the variable that holds the rule that acted last."""
    written = [term.value for term in component.terms]
    return diagrams.table(variable, [*written, component.initial])


def _rule(diagrams: Diagrams, cascade: Cascade, number: int) -> Node:
    """Return which rule of a component acted last, once the token is read."""
    component = cascade.components[number]
    letters = letters_of_tokens(cascade)
    held = [values_of(diagrams, c, before(i)) for i, c in enumerate(cascade.components)]
    found = diagrams.variable(before(number))
    for place, term in reversed(list(enumerate(component.terms))):
        holding = _holding(diagrams, held, term.conditions)
        read = diagrams.table(TOKEN, (letters[t] in term.letters for t in sorted(letters)))
        acts = diagrams.apply(lambda one, other: one and other, read, holding)
        chosen = diagrams.constant(place)
        found = diagrams.apply(lambda yes, this, rest: this if yes else rest, acts, chosen, found)
    return found


def _holding(diagrams: Diagrams, values: Sequence[Node], conditions: Conditions) -> Node:
    """Return whether a conjunction holds, by what gives the components' values."""
    holding = diagrams.constant(True)
    for component, allowed in reversed(conditions):
        fits = diagrams.apply(allowed.__contains__, values[component])
        holding = diagrams.apply(lambda one, other: one and other, fits, holding)
    return holding


def _answers(diagrams: Diagrams, cascade: Cascade, values: Sequence[Node]) -> tuple[Node, ...]:
    readout = cascade.readout
    vocabulary = Vocabulary(cascade.alphabet)
    label = diagrams.constant(readout.default)
    for term in reversed(readout.terms):
        holding = _holding(diagrams, values, term.conditions)
        chosen = diagrams.constant(term.label)
        label = diagrams.apply(
            lambda yes, this, rest: this if yes else rest, holding, chosen, label
        )
    said = [vocabulary.answers(symbols) for symbols in readout.labels]
    return tuple(
        diagrams.apply(lambda number, place=place: said[number][place], label)
        for place in range(len(vocabulary.answer_ids))
    )
