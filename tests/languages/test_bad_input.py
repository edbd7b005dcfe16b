"""What cannot be used is refused with a message that says what was needed."""

from __future__ import annotations

import copy
import pickle
import re
import sys
from pathlib import Path
from random import Random

import pytest

from statespan import END, Language, errors, language
from statespan.errors import (
    AutomatonError,
    EmptyLanguageError,
    InputError,
    LengthError,
    StatespanError,
    SymbolError,
    UnknownNameError,
)
from statespan.languages import LANGUAGES, End, language_from_file, language_from_text
from statespan.registry import Registry


def test_end_is_a_singleton_and_no_string() -> None:
    assert End() is END
    assert not isinstance(END, str)
    assert repr(END) == "END"
    assert END != "END"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_end_survives_pickle(protocol: int) -> None:
    assert pickle.loads(pickle.dumps(END, protocol)) is END
    following = language("parity").next_symbols("11")
    assert pickle.loads(pickle.dumps(following, protocol)) == following == {"0", "1", END}


def test_end_survives_copies() -> None:
    assert copy.copy(END) is END
    assert copy.deepcopy({"next": [END]})["next"][0] is END


def test_a_symbol_that_looks_like_end_is_not_it() -> None:
    following = Language.from_expression("<END>?").next_symbols(())
    assert following == {"END", END}
    assert len(following) == 2


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown language 'partiy'. Did you mean parity"):
        language("partiy")
    with pytest.raises(UnknownNameError, match=r"Did you mean .*tomita-1"):
        language("tomita-11")
    with pytest.raises(UnknownNameError, match=r"There are: .*word-problem\. .*\(zzzzzz\)"):
        language("zzzzzz")


def test_a_line_that_looks_like_a_name_is_no_expression() -> None:
    for text in ("tomita_1", "Parity", "partiy", "ab-star", "anbm", "dyck"):
        with pytest.raises(InputError):
            language_from_text(text)
    with pytest.raises(UnknownNameError, match=r"goes in parentheses: \(anbm\)"):
        language_from_text("anbm")
    assert language_from_text("ab").accepts("ab")
    assert language_from_text("bounded-dyck:brackets=2, depth=3").parameters == {
        "brackets": 2,
        "depth": 3,
    }


@pytest.mark.parametrize("name", LANGUAGES.names())
def test_every_name_is_found_by_its_line_with_its_parameters(name: str) -> None:
    made = language(name)
    found = language_from_text(made.name)
    assert (found.name, found.alphabet, found.parameters) == (
        made.name,
        made.alphabet,
        made.parameters,
    )


@pytest.mark.parametrize(
    ("word", "symbol", "position"), [("0120", "2", 2), ("x", "x", 0), (["0", "1", "10"], "10", 2)]
)
def test_a_symbol_outside_the_alphabet_is_named_with_its_position(
    word: str | list[str], symbol: str, position: int
) -> None:
    made = language("parity")
    message = rf"symbol '{symbol}' at position {position} is not in the alphabet \(0 1\)"
    for ask in (made.accepts, made.next_symbols, made.next_symbol_sets):
        with pytest.raises(SymbolError, match=message):
            ask(word)


def test_a_symbol_outside_the_alphabet_is_named_after_a_dead_prefix_too() -> None:
    made = language("tomita-1")
    for ask in (made.accepts, made.next_symbols, made.next_symbol_sets):
        with pytest.raises(SymbolError, match="'x' at position 2"):
            ask("10x")


def test_a_string_where_symbols_are_longer_is_told_to_be_a_sequence() -> None:
    with pytest.raises(SymbolError, match="give the word as a sequence of symbols"):
        language("bounded-dyck").accepts("(aa)")


@pytest.mark.parametrize("sampler", ["uniform", "published"])
def test_an_empty_language_has_nothing_to_sample(sampler: str) -> None:
    empty = Language.from_expression("a&b")
    assert empty.is_empty
    assert not empty.accepts("")
    assert empty.next_symbols("") == frozenset()
    assert empty.next_symbol_sets("ab") == [frozenset()] * 2
    assert [empty.count(n) for n in range(4)] == [0] * 4
    assert list(empty.words(4)) == []
    assert empty.dfa().num_states == 1
    with pytest.raises(EmptyLanguageError, match="a&b has no words"):
        empty.sample(length=2, count=1, rng=Random(0), sampler=sampler)
    with pytest.raises(EmptyLanguageError, match="a&b has no words"):
        empty.sample_negatives(length=2, count=1, rng=Random(0))


@pytest.mark.parametrize(
    ("made", "length", "nearest"),
    [
        (language("anbncn"), 10, 9),
        (language("anbncn"), 11, 12),
        (language("aaaa-star"), (5, 7), "(4|8)"),
        (Language.from_expression("a{20}"), (1, 3), 20),
        (Language.from_expression("a{3}"), 30, 3),
        (Language.from_expression("a{100}"), 3, 100),
    ],
    ids=str,
)
def test_a_length_that_no_word_has_names_the_nearest(
    made: Language, length: int | tuple[int, int], nearest: object
) -> None:
    message = rf"no word of .* has length .*nearest length that has one is {nearest}\."
    with pytest.raises(LengthError, match=message):
        made.sample(length=length, count=1, rng=Random(0))


def test_a_length_that_only_the_published_sampler_lacks_is_not_denied_to_the_language(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules[Language.__module__], "MAX_TRIES", 1_000)
    made = language("ab-star-d-bc-star")
    with pytest.raises(LengthError, match="published sampler") as caught:
        made.sample(length=6, count=1, rng=Random(0), sampler="published")
    assert made.count(6) > 0
    assert "no word of ab-star-d-bc-star has length 6" not in str(caught.value)


@pytest.mark.parametrize("length", [-1, (3, 2), (-1, 2)])
def test_what_is_no_length_is_refused(length: int | tuple[int, int]) -> None:
    made = language("parity")
    with pytest.raises(LengthError, match="length"):
        made.sample(length=length, count=1, rng=Random(0))
    with pytest.raises(LengthError, match="length"):
        made.sample_negatives(length=length, count=1, rng=Random(0))


def test_a_negative_count_is_refused_and_none_is_an_empty_list() -> None:
    made = language("parity")
    assert made.sample(length=3, count=0, rng=Random(0)) == []
    assert made.sample_negatives(length=3, count=0, rng=Random(0)) == []
    with pytest.raises(InputError, match="count must be at least 0, got -1"):
        made.sample(length=3, count=-1, rng=Random(0))
    with pytest.raises(InputError, match="count must be at least 0, got -1"):
        made.sample_negatives(length=3, count=-1, rng=Random(0))


@pytest.mark.parametrize("distance", [0, 3])
def test_a_distance_other_than_one_or_two_is_refused(distance: int) -> None:
    with pytest.raises(InputError, match=f"distance must be 1, 2 or None, got {distance}"):
        language("parity").sample_negatives(length=3, count=1, rng=Random(0), distance=distance)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("bounded-dyck", {"brakets": 2}, "no parameter 'brakets'. Did you mean brackets"),
        ("parity", {"modulus": 2}, "parity has no parameter 'modulus'. There are none"),
        ("bounded-dyck", {"depth": "deep"}, "depth of bounded-dyck must be a whole number"),
        ("bounded-dyck", {"depth": 2.5}, "depth of bounded-dyck must be a whole number, got 2.5"),
        ("bounded-dyck", {"depth": True}, "depth of bounded-dyck must be a whole number, got True"),
        ("bounded-dyck", {"depth": None}, "depth of bounded-dyck must be a whole number, got None"),
        ("bounded-dyck", {"depth": 0}, "must be at least 1, got brackets=8, depth=0"),
        ("bounded-dyck", {"brackets": -3}, "must be at least 1, got brackets=-3"),
        ("flip-flop", {"ignore": "often"}, "ignore of flip-flop must be a number, got 'often'"),
        ("flip-flop", {"ignore": 1.5}, "ignore is a chance from 0 to 1, got 1.5"),
        ("flip-flop", {"ignore": "nan"}, "ignore is a chance from 0 to 1, got nan"),
        ("word-problem", {"group": 5}, "group of word-problem must be a string, got 5"),
        ("word-problem", {"group": "Q_8"}, "group must be Z_n, S_n .* got 'Q_8'"),
        ("word-problem", {"group": "Z_1"}, "group must be Z_n"),
        ("word-problem", {"group": "A_2"}, "group must be Z_n"),
        ("word-problem", {"group": "Z_2x"}, "group must be Z_n"),
        ("word-problem", {"group": "S_7"}, "S_7 has 5,040 elements; at most 1,000"),
        ("word-problem", {"group": "Z_40xZ_40"}, "has 1,600 elements"),
        ("word-problem", {"generators": "some"}, "generators must be 'all' or 'adjacent'"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        language(name, **parameters)


@pytest.mark.parametrize("line", ["bounded-dyck:depth", "bounded-dyck:depth=2,,", "flip-flop:0.5"])
def test_a_parameter_on_a_line_is_key_and_value(line: str) -> None:
    with pytest.raises(InputError, match="a parameter is key=value"):
        language_from_text(line)


def test_a_parameter_takes_an_int_for_a_number_and_text_for_both() -> None:
    assert language("flip-flop", ignore=1).parameters == {"ignore": 1.0}
    assert language("flip-flop", ignore="0.5").name == "flip-flop:ignore=0.5"
    assert language("bounded-dyck", depth="3").name == "bounded-dyck:depth=3"


GOOD = '{"alphabet": "ab", "start": 0, "accepting": [0], "transitions": [[0, "a", 0], [0, "b", 0]]}'


def test_an_automaton_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "all words.json"
    path.write_text(GOOD, encoding="utf-8")
    for made in (language_from_file(path), language_from_text(str(path))):
        assert (made.name, made.alphabet, made.count(5)) == ("all words", ("a", "b"), 32)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        AutomatonError, match=r"cannot read the automaton .*none\.json: No such file"
    ):
        language_from_text(str(tmp_path / "none.json"))
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(AutomatonError, match=r"cannot read the automaton .*folder\.json"):
        language_from_file(tmp_path / "folder.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bad.json is no JSON"),
        (b"{", "bad.json is no JSON"),
        (b"\xff\xfe\x00", "bad.json is no JSON"),
        (b'{"alphabet": "ab"}', "the table has no 'start'"),
        (GOOD.replace("start", "begin").encode(), "unknown key 'begin'"),
        (GOOD.replace('[0, "b", 0]', '[0, "b"]').encode(), "state, symbol, next state"),
        (GOOD.replace("[0]", "[[0]]").encode(), r"a state is an int or a string, got \[0\]"),
        (b"[1, 2]", "an automaton is a table"),
        (b"null", "an automaton is a table"),
        (b"[" * 100_000, "bad.json"),
    ],
    ids=range(10),
)
def test_a_file_that_is_no_automaton_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(AutomatonError, match=message):
        language_from_file(path)


def test_a_name_is_registered_once() -> None:
    registry: Registry[list[int]] = Registry("list", "lists")
    first: list[int] = []
    assert registry.add("x", first) is first
    assert registry.add("x", first) is first
    with pytest.raises(InputError, match="the list name 'x' is already taken"):
        registry.add("x", [])
    assert "x" in registry
    assert "y" not in registry
    assert registry.names() == ["x"]


def test_every_error_is_a_statespan_error_with_an_exit_code() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert all(issubclass(kind, StatespanError) for kind in kinds)
    for kind in kinds:
        assert kind.exit_code == 2 if issubclass(kind, InputError) else kind.exit_code in {1, 2}
        assert issubclass(kind, ValueError) == issubclass(kind, InputError)


def test_every_error_is_drawn_in_the_tree() -> None:
    drawn = set(re.findall(r"\w+Error\b", (errors.__doc__ or "").replace("ValueError", "")))
    assert drawn == {name for name in errors.__all__ if name.endswith("Error")}
