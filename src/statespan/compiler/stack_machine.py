"""Bounded Dyck languages as an abstract machine, and the proof that it means the language.

There are too many stacks to list. But the machine of the language asks for the depth and for the
top alone, and that is proved by running it: below the top, each stack holds things that cannot be
compared or looked at. Where the machine answers nevertheless, and hands these things on or drops
the top, it does the same for every stack of that depth and top. So a few hundred runs say what it
does to all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, final

from statespan.compiler.abstract_machine import (
    TOKEN,
    AbstractMachine,
    after,
    before,
    diagrams_of,
    values_of,
)
from statespan.compiler.cascade import Cascade
from statespan.compiler.closed_forms import BoundedDyck
from statespan.compiler.decision_diagrams import Diagrams, Node
from statespan.errors import InputError
from statespan.languages import END
from statespan.languages.machine import Machine
from statespan.training import BOS, Vocabulary

__all__ = ["StackMoves", "cascade_stack_fault", "stack_machine", "stack_moves"]

PUSH, POP, STAY, DIE, RESTART = 1, -1, -2, -3, -4
"""What a token does to a stack; PUSH or more is the kind (from 1) that it puts on top."""


@final
class _Unseen:
    """Something that nothing can be learned about: to compare or to hash it is an error."""

    def _refuse(self, *_: object) -> NoReturn:
        raise InputError("the machine looks below the top of its stack.")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __hash__ = __bool__ = __index__ = __int__ = __str__ = __repr__ = __format__ = _refuse


@final
@dataclass(frozen=True, slots=True)
class StackMoves:
    """What each token does to a stack of each depth and top, and which answers are then right.

    Keys are (depth, top), with the top 0 where the stack is empty, else 1 + its kind.
    `moves[key][token]` is POP, STAY, DIE, RESTART or the kind (from 1) that is put on top.
    `answers[key]` says of each of `Vocabulary.answer_ids` whether it may follow.
    """

    form: BoundedDyck
    moves: Mapping[tuple[int, int], tuple[int, ...]]
    answers: Mapping[tuple[int, int], tuple[bool, ...]]


def stack_moves(form: BoundedDyck, machine: Machine) -> StackMoves:
    """Return what the machine of a language of brackets does, run once for each depth and top.

    Its states must be tuples of kinds, the top last.

    Raises:
        InputError: the machine looks below the top, does something else than to put one kind on
            top or to take the top away, or goes deeper than the language.
    """
    moves, answers = {}, {}
    kinds = range(form.num_brackets)
    keys = [(0, 0), *((depth, 1 + top) for depth in range(1, form.depth + 1) for top in kinds)]
    if machine.start != () or machine.alphabet != form.alphabet:
        raise InputError("the machine of the language is not a stack that begins empty.")
    for depth, top in keys:
        hidden: tuple[Any, ...] = tuple(_Unseen() for _ in range(depth - 1))
        state = (*hidden, top - 1) if depth else ()
        steps = (_move(machine.step(state, symbol), state, form) for symbol in form.alphabet)
        moves[depth, top] = (RESTART, STAY, STAY, *steps)
        answers[depth, top] = _answers(machine, state)
    return StackMoves(form, moves, answers)


def _answers(machine: Machine, state: tuple[Any, ...]) -> tuple[bool, ...]:
    said = machine.allowed(state)
    alive = (symbol for symbol in machine.alphabet if machine.step(state, symbol) is not None)
    end = (END,) if machine.is_accepting(state) else ()
    if said != frozenset((*alive, *end)):
        raise InputError("the machine of the language does not allow what it can step to.")
    return tuple(Vocabulary(machine.alphabet).answers(said))


def _move(following: Any, state: tuple[Any, ...], form: BoundedDyck) -> int:
    """Return what was done to a stack. Kinds are compared, what is hidden by identity only."""
    if following is None:
        return DIE
    kept = list(map(id, following))
    if kept == list(map(id, state[:-1])) and state:
        return POP
    if kept[:-1] != list(map(id, state)) or len(following) > form.depth:
        raise InputError("the machine of the language does more than to push and to pop.")
    kind = following[-1]
    if kind not in range(form.num_brackets):
        raise InputError(f"the machine of the language puts {kind} on its stack.")
    return 1 + int(kind)


def stack_machine(moves: StackMoves) -> AbstractMachine:
    """Return the machine whose memories are the depth, and the kind that is open at each depth.

    Above the depth all kinds are 0. Nothing is promised once a word is broken, nor if EOS or
    PAD stand where no word can end.
    """
    form = moves.form
    depths, levels = 1 + form.depth, range(1, form.depth + 1)
    vocabulary = Vocabulary(form.alphabet)
    diagrams = diagrams_of(vocabulary.size, [depths, *(form.num_brackets for _ in levels)])
    kinds = [diagrams.variable(before(level)) for level in levels]
    depth = diagrams.variable(before(0))
    top = _top(diagrams, depth, kinds)
    tokens = diagrams.variable(TOKEN)
    done = diagrams.apply(lambda d, t, token: moves.moves[d, t][token], depth, top, tokens)
    steps = [diagrams.apply(_depth_after, depth, done)]
    for level, kind in zip(levels, kinds, strict=True):
        steps.append(diagrams.apply(_kind_after(level), depth, done, kind))
    afters = [diagrams.variable(after(level)) for level in (0, *levels)]
    last = _top(diagrams, afters[0], afters[1:])
    allowed = [
        diagrams.apply(lambda d, t, place=place: moves.answers[d, t][place], afters[0], last)
        for place in range(len(vocabulary.answer_ids))
    ]
    machine = AbstractMachine(
        diagrams,
        origin=(0, *(0 for _ in levels)),
        steps=tuple(steps),
        answers=tuple(allowed),
        possible=_possible(diagrams, depth, kinds),
        promised=diagrams.apply(
            lambda d, t, move: move != DIE and (move != STAY or moves.answers[d, t][-1]),
            depth,
            top,
            done,
        ),
    )
    fault = machine.fault()
    assert fault is None, fault
    return machine


def _top(diagrams: Diagrams, depth: Node, kinds: Sequence[Node]) -> Node:
    shown = [diagrams.apply(lambda kind: 1 + kind, kind) for kind in kinds]
    return diagrams.select(depth, [diagrams.constant(0), *shown])


def _depth_after(depth: int, move: int) -> int:
    changes = {POP: depth - 1, RESTART: 0, STAY: depth, DIE: depth}
    return changes.get(move, depth + 1)


def _kind_after(level: int) -> Callable[[int, int, int], int]:
    def kind_after(depth: int, move: int, kind: int) -> int:
        if move == RESTART or (move == POP and depth == level):
            return 0
        return move - 1 if move > 0 and depth + 1 == level else kind

    return kind_after


def _possible(diagrams: Diagrams, depth: Node, kinds: Sequence[Node]) -> Node:
    possible = diagrams.constant(True)
    for level, kind in reversed(list(enumerate(kinds, start=1))):
        possible = diagrams.apply(
            lambda d, k, rest, level=level: rest and (k == 0 or level <= d), depth, kind, possible
        )
    return possible


def cascade_stack_fault(
    cascade: Cascade, machine: AbstractMachine, moves: StackMoves
) -> str | None:
    """Return where a cascade means something else than the language; None if it nowhere does.

    The last component must say whether the word is broken, and each other holds a kind, or 0: the
    stack is what is not 0, the top first. Whatever the components hold, every token must do to
    the stack that they stand for what the machine of the language does, and the answers must be
    its answers. By induction over the tokens both agree on every input.
    """
    diagrams, components = machine.diagrams, cascade.components
    values = [values_of(diagrams, c, before(i)) for i, c in enumerate(components)]
    written = [diagrams.apply(_written(cascade, i), step) for i, step in enumerate(machine.steps)]
    (*places, dead), (*places_after, dead_after) = values, written
    if len(places) != moves.form.depth:
        return "it has not a component for each bracket that can be open"
    stack = _registers(diagrams, places)
    stack_after = _registers(diagrams, places_after)
    depth = _depth(diagrams, stack)
    tokens = diagrams.variable(TOKEN)

    def move_at(broken: int, depth: int, top: int, token: int) -> int:
        move = moves.moves[depth, top][token]
        return move if not broken or move in {RESTART, STAY} else DIE

    done = diagrams.apply(move_at, dead, depth, stack[0], tokens)
    return (
        _origin_fault(machine, dead, stack)
        or _step_fault(diagrams, done, dead, dead_after, stack, stack_after)
        or _answer_fault(machine, moves, dead, depth, stack[0])
    )


def _written(cascade: Cascade, number: int) -> Callable[[int], Any]:
    component = cascade.components[number]
    values = [*(term.value for term in component.terms), component.initial]
    return lambda rule: values[rule]


def _registers(diagrams: Diagrams, places: Sequence[Node]) -> list[Node]:
    """Return the stack that some places stand for, the top first: 0 where it has ended."""
    stack = [diagrams.constant(0) for _ in places]
    for place in reversed(places):
        shifted = [place, *stack[:-1]]
        stack = [
            diagrams.apply(lambda kind, pushed, kept: pushed if kind else kept, place, new, old)
            for new, old in zip(shifted, stack, strict=True)
        ]
    return stack


def _depth(diagrams: Diagrams, stack: Sequence[Node]) -> Node:
    depth = diagrams.constant(0)
    for register in stack:
        depth = diagrams.apply(lambda total, kind: total + (kind != 0), depth, register)
    return depth


def _origin_fault(machine: AbstractMachine, dead: Node, stack: Iterable[Node]) -> str | None:
    point = machine.point(BOS, machine.origin)
    begun = [machine.diagrams.at(node, point) for node in (dead, *stack)]
    return "it does not begin with nothing open" if any(begun) else None


def _step_fault(
    diagrams: Diagrams,
    done: Node,
    dead: Node,
    dead_after: Node,
    stack: Sequence[Node],
    stack_after: Sequence[Node],
) -> str | None:
    def breaks(move: int, broken: int) -> int:
        return int(move == DIE or (move == STAY and broken != 0))

    if diagrams.apply(breaks, done, dead) != dead_after:
        return "it remembers wrongly whether the word is broken"
    nothing = diagrams.constant(0)
    pushed = diagrams.apply(lambda move: max(move, 0), done)
    above, below = [pushed, *stack[:-1]], [*stack[1:], nothing]
    for number, then in enumerate(stack_after):
        wanted = {STAY: stack[number], POP: below[number], RESTART: nothing, PUSH: above[number]}
        for action, register in wanted.items():
            if not _agree(diagrams, done, action, then, register):
                return f"place {number} of the stack is changed wrongly"
    return None


def _agree(diagrams: Diagrams, done: Node, action: int, then: Node, wanted: Node) -> bool:
    """Return whether a place is what is wanted of it wherever `action` is done."""

    def agrees(move: int, then: int, wanted: int) -> bool:
        return min(move, PUSH) != action or then == wanted

    return diagrams.leaves(diagrams.apply(agrees, done, then, wanted)) == {True}


def _answer_fault(
    machine: AbstractMachine, moves: StackMoves, dead: Node, depth: Node, top: Node
) -> str | None:
    diagrams = machine.diagrams
    for place, said in enumerate(machine.answers):
        wanted = diagrams.apply(
            lambda broken, d, t, place=place: not broken and moves.answers[d, t][place],
            dead,
            depth,
            top,
        )
        if machine.later(wanted) != said:
            return f"its answer {place} is wrong"
    return None
