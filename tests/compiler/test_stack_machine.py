"""Brackets as an abstract machine: what it does is what the language's own machine does."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statespan.compiler.abstract_machine import after, cascade_machine
from statespan.compiler.closed_forms import BoundedDyck, bounded_dyck_cascade
from statespan.compiler.stack_machine import (
    cascade_stack_fault,
    stack_machine,
    stack_moves,
)
from statespan.errors import InputError
from statespan.languages import language_from_text
from statespan.languages.definitions.bounded_dyck import BoundedDyckMachine
from statespan.languages.machine import Machine
from statespan.training import BOS, Vocabulary


def parts(brackets, depth):
    machine = BoundedDyckMachine(brackets, depth)
    form = BoundedDyck(machine.opening, machine.closing, depth)
    return form, machine, stack_moves(form, machine)


def answers(machine, point):
    return [bool(machine.diagrams.at(node, point)) for node in machine.answers]


def follow(machine, tokens):
    """Yield the answers after BOS and after each token."""
    memories = machine.origin
    for token in (BOS, *tokens):
        point = machine.point(token, memories)
        memories = tuple(point[after(i)] for i in range(machine.num_memories))
        yield answers(machine, point)


@given(st.integers(1, 3), st.integers(1, 4), st.randoms(use_true_random=False))
def test_both_machines_answer_like_the_language(brackets, depth, rng):
    form, _, moves = parts(brackets, depth)
    vocabulary = Vocabulary(form.alphabet)
    language = language_from_text(f"bounded-dyck:brackets={brackets},depth={depth}")
    word = language.sample(length=(0, 20), count=1, rng=rng)[0]
    wanted = [vocabulary.answers(symbols) for symbols in language.next_symbol_sets(word)]
    tokens = vocabulary.encode(word)[1:]
    for abstract in (stack_machine(moves), cascade_machine(bounded_dyck_cascade(form))):
        assert list(follow(abstract, tokens))[1:] == wanted


@pytest.mark.parametrize(("brackets", "depth"), [(1, 1), (1, 4), (2, 3), (3, 2), (8, 10)])
def test_the_cascade_means_the_language(brackets, depth):
    form, _, moves = parts(brackets, depth)
    cascade = bounded_dyck_cascade(form)
    assert cascade_stack_fault(cascade, cascade_machine(cascade), moves) is None


def changed_rule(cascade, component, rule, **changes):
    own = cascade.components[component]
    terms = list(own.terms)
    terms[rule] = dataclasses.replace(terms[rule], **changes)
    components = list(cascade.components)
    components[component] = dataclasses.replace(own, terms=tuple(terms))
    return dataclasses.replace(cascade, components=tuple(components))


def test_a_cascade_with_any_wrong_rule_means_something_else():
    form, _, moves = parts(2, 3)
    cascade = bounded_dyck_cascade(form)
    for component, memory in enumerate(cascade.components):
        for rule, term in enumerate(memory.terms):
            other = changed_rule(cascade, component, rule, value=(term.value + 1) % 2)
            assert cascade_stack_fault(other, cascade_machine(other), moves)
            if term.conditions:
                other = changed_rule(cascade, component, rule, conditions=term.conditions[1:])
                assert cascade_stack_fault(other, cascade_machine(other), moves)


def test_a_cascade_with_a_wrong_answer_means_something_else():
    form, _, moves = parts(2, 3)
    cascade = bounded_dyck_cascade(form)
    for number, term in enumerate(cascade.readout.terms):
        terms = list(cascade.readout.terms)
        terms[number] = dataclasses.replace(term, label=(term.label + 1) % 3)
        readout = dataclasses.replace(cascade.readout, terms=tuple(terms))
        other = dataclasses.replace(cascade, readout=readout)
        assert "answer" in cascade_stack_fault(other, cascade_machine(other), moves)


def test_a_cascade_of_another_depth_means_something_else():
    form, _, _ = parts(2, 3)
    _, _, shallow = parts(2, 2)
    cascade = bounded_dyck_cascade(form)
    assert cascade_stack_fault(cascade, cascade_machine(cascade), shallow)


def test_tokens_that_are_ignored_must_do_nothing():
    form, _, _ = parts(2, 2)
    cascade = bounded_dyck_cascade(form)
    letters = cascade.components[0].terms[0].letters | {cascade.restart + 1}
    with pytest.raises(InputError, match="to be ignored"):
        cascade_machine(changed_rule(cascade, 0, 0, letters=letters))


def test_a_word_must_begin_anew_everywhere():
    form, _, _ = parts(2, 2)
    cascade = bounded_dyck_cascade(form)
    restart = next(
        i for i, term in enumerate(cascade.components[1].terms) if cascade.restart in term.letters
    )
    with pytest.raises(InputError, match="when a word begins"):
        cascade_machine(changed_rule(cascade, 1, restart, letters=frozenset()))


def patched(name, function):
    machine = BoundedDyckMachine(2, 3)
    form = BoundedDyck(machine.opening, machine.closing, 3)
    original = getattr(machine, name)
    if name == "step":
        machine.allowed = lambda state: Machine.allowed(machine, state)
    setattr(machine, name, lambda *arguments: function(original, *arguments))
    return form, machine


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("step", lambda f, q, s: f(q, s) if q[:1] != (0,) else None, "below the top"),
        ("step", lambda f, q, s: q[:-2] if q else f(q, s), "more than to push"),
        ("step", lambda f, q, s: (*q, 7) if len(q) < 3 else None, "puts 7"),
        ("step", lambda f, q, s: (*q, 0), "more than to push"),
        ("is_accepting", lambda f, q: not f(q), "allow what it can"),
        ("allowed", lambda f, q: f(q) | {"x"}, "allow what it can"),
    ],
    ids=["looks below", "pops twice", "unknown kind", "too deep", "ends", "allows"],
)
def test_a_machine_that_does_something_else_is_refused(name, function, message):
    form, machine = patched(name, function)
    with pytest.raises(InputError, match=message):
        stack_moves(form, machine)
