"""Bounded Dyck languages as cascades, against their automata."""

from random import Random

import pytest

from statespan.compiler.cascade import check_cascade
from statespan.compiler.closed_forms import BoundedDyck, bounded_dyck_cascade
from statespan.languages import language_from_text


def cascade_and_language(brackets, depth):
    language = language_from_text(f"bounded-dyck:brackets={brackets},depth={depth}")
    form = BoundedDyck.match(language)
    assert form is not None
    return bounded_dyck_cascade(form), language


@pytest.mark.parametrize(("brackets", "depth"), [(1, 3), (2, 1), (2, 3), (3, 2), (4, 2), (5, 2)])
def test_it_says_what_the_automaton_says_after_every_prefix(brackets, depth):
    cascade, language = cascade_and_language(brackets, depth)
    check_cascade(cascade, language.dfa())


def test_where_there_is_no_automaton_it_says_what_the_stack_says():
    cascade, language = cascade_and_language(8, 10)
    numbers = {symbol: number for number, symbol in enumerate(cascade.alphabet)}
    words = language.sample(length=(50, 200), count=20, rng=Random(0))
    words += language.sample_negatives(length=(50, 200), count=20, rng=Random(1))
    for word in words:
        values = list(cascade.run(numbers[symbol] for symbol in word))[1:]
        assert list(map(cascade.next_symbols, values)) == language.next_symbol_sets(word)


def test_rules_of_a_component_exclude_one_another():
    cascade, _ = cascade_and_language(3, 3)
    rng = Random(2)
    for _ in range(300):
        values = tuple(rng.randrange(c.num_values) for c in cascade.components)
        for letter in range(cascade.restart + 1):
            for component in cascade.components:
                assert sum(term.fires(letter, values) for term in component.terms) <= 1
