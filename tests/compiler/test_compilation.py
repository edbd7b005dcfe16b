"""Compiling as a user does: targets, forms, refusals, and bad input."""

import contextlib
import itertools
import subprocess
import sys
import time
from random import Random

import pytest
import torch

import statespan
from statespan import END, Language, language
from statespan.compiler import CompiledModel
from statespan.errors import (
    EmptyLanguageError,
    InputError,
    LimitError,
    NotExpressibleError,
    StorageError,
    UnknownNameError,
)
from statespan.languages import LANGUAGES, language_from_text
from statespan.languages.automaton import DFA

TARGETS = ["mamba", "mamba2", "diagonal", "olmo-hybrid"]
EVERY = pytest.mark.parametrize("target", TARGETS)


def agrees(compiled: CompiledModel, words) -> bool:
    """Whether model and language say the same after every prefix of `words`."""
    source = compiled.language
    return all(compiled.next_symbol_sets(w) == source.next_symbol_sets(w) for w in words)


@EVERY
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_model_says_what_the_language_says_on_every_short_word(target, dtype):
    compiled = statespan.compile("(ab)*", target=target, dtype=dtype)
    words = ["".join(w) for n in range(1, 7) for w in itertools.product("ab", repeat=n)]
    assert agrees(compiled, words)
    assert compiled.next_symbol_sets("ab") == [frozenset({"b"}), frozenset({"a", END})]
    assert compiled.report.margin == 64


@pytest.mark.parametrize("name", ["parity", "aa-star", "tomita-5", "tomita-6"])
def test_languages_with_groups_need_eigenvalues_below_zero(name):
    source = language(name)
    for target in ("mamba", "mamba2", "diagonal"):
        with pytest.raises(NotExpressibleError, match=r"not express.*Witness: u = .*olmo-hybrid"):
            statespan.compile(source, target)
    compiled = statespan.compile(source, "olmo-hybrid")
    symbols = source.alphabet
    words = ["".join(w) for n in range(1, 8) for w in itertools.product(symbols, repeat=n)]
    assert agrees(compiled, words)


def test_a_group_that_the_compiler_has_no_weights_for_is_said_so():
    cycle = DFA(("a",), 0, frozenset({0}), tuple(((q + 1) % 5,) for q in range(5)))
    with pytest.raises(NotExpressibleError, match=r"knows no weights of olmo-hybrid.*verdict"):
        statespan.compile(cycle, "olmo-hybrid")


def test_a_stack_is_refused_by_all():
    for target in TARGETS:
        with pytest.raises(NotExpressibleError, match="dyck-2"):
            statespan.compile("dyck-2", target)


@pytest.mark.parametrize(
    ("name", "target", "layers"),
    [
        ("flip-flop", "mamba", 1),
        ("flip-flop", "diagonal", 2),
        ("bounded-dyck:brackets=8,depth=10", "mamba", 2),
        ("bounded-dyck:brackets=3,depth=4", "diagonal", 2),
        ("dyck-1", "mamba", 2),
        ("shuffle-2", "diagonal", 1),
        ("anbncn", "mamba", 2),
    ],
)
def test_closed_forms_have_the_layers_of_the_paper(name, target, layers):
    compiled = statespan.compile(language_from_text(name), target, form="closed")
    assert compiled.report.layers == layers
    assert compiled.report.form == "closed form"
    words = compiled.language.sample(length=(2, 40), count=10, rng=Random(0))
    assert agrees(compiled, [word for word in words if word])


def test_counters_are_right_on_words_that_are_none():
    compiled = statespan.compile("dyck-1", "mamba")
    words = ["".join(w) for n in range(1, 8) for w in itertools.product("()", repeat=n)]
    assert agrees(compiled, words)
    assert compiled.report.max_count == 2**24


def test_a_language_without_a_closed_form_has_none():
    with pytest.raises(InputError, match="no closed form for mamba"):
        statespan.compile("(ab)*", "mamba", form="closed")
    with pytest.raises(InputError, match="no closed form for mamba2"):
        statespan.compile("dyck-1", "mamba2")


def test_wrong_arguments_are_named():
    with pytest.raises(UnknownNameError, match=r"unknown target 'mambo'\. Did you mean mamba"):
        statespan.compile("(ab)*", "mambo")
    with pytest.raises(InputError, match="dtype must be float32 or bfloat16 for mamba, got 'int8'"):
        statespan.compile("(ab)*", dtype="int8")
    with pytest.raises(InputError, match="form must be auto, cascade, closed, got 'open'"):
        statespan.compile("(ab)*", form="open")
    with pytest.raises(InputError, match="robust weights are there for mamba only"):
        statespan.compile("(ab)*", "mamba2", robust=True)


def test_an_empty_language_is_refused():
    empty = Language.from_expression("a&b", name="nothing")
    with pytest.raises(EmptyLanguageError, match="nothing has no words to compile"):
        statespan.compile(empty)


@pytest.mark.parametrize("target", ["mamba2", "olmo-hybrid"])
def test_brackets_with_more_stacks_than_states_can_be_are_a_cascade(target):
    compiled = statespan.compile("bounded-dyck", target)
    assert compiled.report.states is None
    assert not compiled.report.valid_prefixes_only
    words = compiled.language.sample(length=(2, 60), count=10, rng=Random(0))
    wrong = compiled.language.sample_negatives(length=(2, 60), count=10, rng=Random(1))
    assert agrees(compiled, [*words, *wrong])


@EVERY
def test_one_letter_and_no_memory(target):
    assert agrees(statespan.compile(Language.from_expression("a*"), target), ["aaa"])
    assert agrees(statespan.compile(Language.from_expression("aaa?"), target), ["aaaaa"])


@EVERY
def test_symbols_of_several_characters(target):
    source = Language.from_expression("(<go><stop>)*")
    compiled = statespan.compile(source, target)
    words = [w for n in range(1, 5) for w in itertools.product(source.alphabet, repeat=n)]
    assert agrees(compiled, words)


def test_states_that_nothing_reaches_do_no_harm():
    rows = ((1, 0), (1, 1), (2, 0), (3, 3))
    dfa = DFA(("a", "b"), 0, frozenset({1, 3}), rows)
    compiled = statespan.compile(dfa)
    assert compiled.report.states == 2
    assert agrees(compiled, ["".join(w) for w in itertools.product("ab", repeat=5)])


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path):
    compiled = statespan.compile("(ab)*")
    (tmp_path / "file").write_text("here")
    with pytest.raises(StorageError, match="is a file, not a folder"):
        compiled.save_pretrained(tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds no compiled checkpoint"):
        compiled.save_pretrained(tmp_path / "full")
    assert (tmp_path / "full" / "thesis.tex").read_text() == "mine"


def test_a_formula_gives_the_smaller_cascade():
    formula = "O(c & Y(!b S a)) & H(c -> Y Y a | O b)"
    source = Language.from_temporal(formula)
    plain = statespan.compile(source)
    compiled = statespan.compile(source, formula=formula)
    assert compiled.report.levels < plain.report.levels
    assert agrees(compiled, ["".join(w) for w in itertools.product("abc", repeat=4)])
    with pytest.raises(InputError, match="formula must say what the language is"):
        statespan.compile(source, formula="O c | O a | O b")


def test_an_automaton_over_the_limit_is_said_so():
    with pytest.raises(LimitError, match="more than"):
        statespan.compile("(a|b)*a(a|b){14}")


@EVERY
def test_a_saved_model_is_the_same_in_a_new_process(target, tmp_path):
    compiled = statespan.compile("d-2", target)
    compiled.save_pretrained(tmp_path / "model")
    script = (
        "import sys; from statespan.compiler import CompiledModel\n"
        "model = CompiledModel.from_pretrained(sys.argv[1])\n"
        "print(sorted((n, t.sum().item()) for n, t in model.tensors.items()))\n"
        "print([sorted(map(str, s)) for s in model.next_symbol_sets('aabbb')])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "model")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    sums = sorted((name, value.sum().item()) for name, value in compiled.tensors.items())
    sets = [sorted(map(str, item)) for item in compiled.next_symbol_sets("aabbb")]
    assert output.splitlines() == [str(sums), str(sets)]
    loaded = CompiledModel.from_pretrained(tmp_path / "model")
    for name, value in compiled.tensors.items():
        assert torch.equal(loaded.tensors[name], value)
    assert loaded.report == compiled.report
    assert loaded.cascade == compiled.cascade


def test_a_broken_manifest_is_said_so(tmp_path):
    statespan.compile("(ab)*").save_pretrained(tmp_path)
    (tmp_path / "statespan.json").write_text("{")
    with pytest.raises(InputError, match=r"statespan.json is broken"):
        CompiledModel.from_pretrained(tmp_path)


def test_the_card_says_what_is_known(tmp_path):
    compiled = statespan.compile("d-2", "mamba2", dtype="bfloat16")
    check = compiled.verify(max_length=5, num_words=4, long_length=200)
    compiled.save_pretrained(tmp_path, verification=check, certificate=compiled.certify())
    card = (tmp_path / "README.md").read_text()
    for part in ("d-2, compiled to mamba2", "Theorem 4", "| every word |", "Closed: ", "bfloat16"):
        assert part in card


@pytest.mark.slow
def test_the_catalogue_compiles_in_five_seconds_each():
    for name in sorted(LANGUAGES.names()):
        for target in TARGETS:
            began = time.perf_counter()
            with contextlib.suppress(InputError):
                statespan.compile(name if name != "word-problem" else WORDS, target)
            assert time.perf_counter() - began < 5, (name, target)


WORDS = "word-problem:group=S_5,generators=adjacent"


def test_the_names_of_the_package_are_the_compilers():
    from statespan.compiler import certify
    from statespan.compiler import compile as compile_exactly

    assert statespan.compile is compile_exactly
    assert statespan.certify is certify
