"""Where a predictor errs is found, as short as it can be; an automaton is learned back from it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from statespan.compiler import compile as compile_language
from statespan.errors import InputError, MissingExtraError
from statespan.evaluation import Predictor, extract, extraction, open_predictor, refute
from statespan.evaluation.predictor import TrainedPredictor, _numbers
from statespan.jobs import probe, probe_config
from statespan.languages import Language, NextSymbols, Word, language

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Told(Predictor):
    """What a function says after each prefix, and the states that another one gives."""

    def __init__(
        self,
        alphabet: Sequence[str],
        answer: Callable[[tuple[str, ...]], NextSymbols],
        state: Callable[[tuple[str, ...]], float] | None = None,
    ) -> None:
        self.alphabet = tuple(alphabet)
        self.answer, self.state = answer, state
        self.longest_read = 0

    def predict(self, words: Sequence[Word]) -> list[list[NextSymbols]]:
        self.longest_read = max([self.longest_read, *map(len, words)])
        return [[self.answer(tuple(word[:n])) for n in range(len(word) + 1)] for word in words]

    def states(self, word: Word) -> Tensor | None:
        if self.state is None:
            return None
        return torch.tensor([[self.state(tuple(word[:n]))] for n in range(len(word) + 1)])


def faithful(item: Language) -> Told:
    return Told(item.alphabet, item.next_symbols)


def search(predictor: Predictor, item: Language, **settings: Any) -> Any:
    return refute(
        predictor, item, **{"max_length": 120, "budget": 300, "rng": Random(0), **settings}
    )


REGULAR = ["parity", "d-2", "tomita-4", "012-star-02-star", "aa-star"]


@pytest.mark.parametrize("name", [*REGULAR, "dyck-1"])
def test_nothing_is_said_of_a_model_that_is_right(name: str) -> None:
    item = language(name)
    predictor = faithful(item)
    found = search(predictor, item)
    assert found.prefix is None
    assert found.found_by is None
    assert not found.is_shortest
    assert predictor.longest_read == found.longest == 120
    assert (found.counter is not None) == (name in {"parity", "aa-star"})


@pytest.mark.parametrize("seed", range(12))
def test_the_shortest_error_is_found_among_all_prefixes(seed: int) -> None:
    rng = Random(seed)
    item = Language.from_expression("(a|bb)*a?", alphabet="ab")
    words = [word for word in item.words(7) if item.next_symbols(word)]
    wrong = {tuple(word) for word in rng.sample(words, 3)}
    predictor = Told(
        "ab", lambda prefix: frozenset() if prefix in wrong else item.next_symbols(prefix)
    )
    found = search(predictor, item)
    assert found.prefix in wrong
    assert len(found.prefix) == min(map(len, wrong))
    assert found.is_shortest
    assert found.found_by == "all prefixes"
    assert found.expected == item.next_symbols(found.prefix)
    assert found.predicted == frozenset()


def test_a_counter_that_saturates_is_found_by_pumping_and_its_state_by_watching() -> None:
    item = language("aa-star")
    kept = 70

    def remembered(prefix: tuple[str, ...]) -> tuple[str, ...]:
        return prefix[:kept]

    predictor = Told(
        item.alphabet,
        lambda prefix: item.next_symbols(remembered(prefix)),
        lambda prefix: float(len(remembered(prefix))),
    )
    found = search(predictor, item, budget=20)
    assert (found.found_by, len(found.prefix), found.is_shortest) == ("pumping", kept + 1, False)
    assert (found.counter.wrong_at, found.counter.settled_at) == (kept + 1, kept)
    assert found.counter.is_counter
    assert found.counter.period == 2
    assert found.counter.is_watched
    assert found.loop == found.counter
    assert found.all_up_to < kept


def test_a_state_that_goes_around_never_settles() -> None:
    item = language("aa-star")
    predictor = Told(item.alphabet, item.next_symbols, lambda prefix: float(len(prefix) % 2))
    counter = search(predictor, item).counter
    assert counter.wrong_at is None
    assert counter.settled_at is None
    assert counter.is_watched


def test_a_counter_that_shows_only_behind_its_suffix_is_found() -> None:
    """After a^n b the parity of n decides, and after a^n alone nothing does."""
    item = Language.from_expression("(aa)*bc|a(aa)*bd", alphabet="abcd")

    def answer(prefix: tuple[str, ...]) -> NextSymbols:
        length = next((n for n, symbol in enumerate(prefix) if symbol != "a"), len(prefix))
        return item.next_symbols(prefix if length <= 40 else ("a",) * 40 + prefix[length:])

    found = search(Told("abcd", answer), item, budget=20)
    assert found.found_by == "pumping"
    assert found.prefix[-1] == "b"
    assert 42 <= len(found.prefix) <= 120
    assert not found.counter.is_watched
    assert found.counter.settled_at is None


def test_what_is_forgotten_along_a_loop_is_found_though_the_counter_holds() -> None:
    item = language("parity")

    def answer(prefix: tuple[str, ...]) -> NextSymbols:
        zeros = len(prefix) - len("".join(prefix).rstrip("0"))
        return item.next_symbols(() if zeros > 50 else prefix)

    found = search(Told(item.alphabet, answer), item, budget=60)
    assert found.prefix == ("1", *"0" * 51)
    assert found.counter.wrong_at is None
    assert (found.loop.prefix, found.loop.word) == (("1",), ("0",))


def test_random_words_find_what_no_loop_does() -> None:
    item = Language.from_expression("(a|b)*", alphabet="ab")

    def answer(prefix: tuple[str, ...]) -> NextSymbols:
        return item.next_symbols(prefix) if "aababbabb" not in "".join(prefix) else frozenset()

    found = search(Told("ab", answer), item, budget=20, max_length=600)
    assert found.found_by == "random words"
    assert found.loop is None
    assert "".join(found.prefix).endswith("aababbabb")


def test_no_more_is_read_than_the_model_can() -> None:
    item = language("parity")
    predictor = faithful(item)
    predictor.longest = 30
    assert search(predictor, item).longest == predictor.longest_read == 30


def test_wrong_settings_are_told() -> None:
    item = language("parity")
    with pytest.raises(InputError, match="knows the alphabet 1 0, and parity has 0 1"):
        search(Told("10", item.next_symbols), item)
    with pytest.raises(InputError, match="budget must be at least 1, got 0"):
        search(faithful(item), item, budget=0)
    with pytest.raises(InputError, match="has no words"):
        search(faithful(item), Language.from_expression("0&1", alphabet="01"))
    with pytest.raises(InputError, match="max_states must be at least 1, got 0"):
        extract(faithful(item), max_states=0, rng=Random(0))
    with pytest.raises(InputError, match=r"symbols of the checkpoint, \('1', '0'\)"):
        extract(Told("10", item.next_symbols), language=item, rng=Random(0))


@pytest.mark.parametrize("name", REGULAR)
def test_the_language_comes_back_from_a_model_that_is_right(name: str) -> None:
    item = language(name)
    found = extract(faithful(item), language=item, max_length=40, rng=Random(0))
    assert found.is_exact
    assert found.counterexample is None
    assert found.purity is None
    assert found.language.dfa() == item.dfa()


def test_the_shortest_difference_to_the_language_is_told() -> None:
    item = Language.from_expression("a*b?", alphabet="ab")
    learned = Language.from_expression("a{0,4}b?", alphabet="ab")
    found = extract(faithful(learned), language=item, max_length=20, rng=Random(0))
    assert found.is_exact
    assert found.counterexample == "aaaaa"
    assert found.language.counterexample_to_equivalence(learned) is None


def test_states_that_lie_by_the_automaton_are_pure() -> None:
    item = language("parity")

    def count(prefix: tuple[str, ...]) -> float:
        return float(prefix.count("1") % 2)

    pure = extract(Told("01", item.next_symbols, count), max_length=20, rng=Random(0))
    mixed = extract(
        Told("01", item.next_symbols, lambda prefix: float(len(prefix))),
        max_length=20,
        rng=Random(0),
    )
    assert pure.purity == 1.0
    assert mixed.purity is not None
    assert mixed.purity < 0.8


def test_a_search_without_an_end_is_given_up() -> None:
    found = extract(faithful(language("dyck-1")), max_states=5, max_length=40, rng=Random(0))
    assert not found.is_exact


def test_without_its_package_it_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        assert name == "aalpy"

    monkeypatch.setattr(extraction, "find_spec", absent)
    with pytest.raises(MissingExtraError, match=r"statespan\[extraction\]"):
        extract(faithful(language("parity")), rng=Random(0))
    assert importlib.util.find_spec("aalpy") is not None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe of few steps: wrong, as it should be."""
    table = {
        "language": "parity",
        "model": {"name": "lstm", "layers": 1, "d_model": 8},
        "data": {"bins": [[1, 8], [9, 12]], "train_words": 20, "test_words": 5},
        "training": {"steps": 2, "loss": "class-mse"},
        "evaluation": {"curve_lengths": 0, "negatives": 0},
    }
    path = tmp_path_factory.mktemp("runs") / "run"
    probe(probe_config(table), path)
    return path


def test_a_probe_is_opened_and_its_pieces_are_its_whole(run: Path) -> None:
    predictor = open_predictor(run)
    assert isinstance(predictor, TrainedPredictor)
    assert open_predictor(run / "model").predict(["0110"]) == predictor.predict(["0110"])
    words = ["", "0", "1", "0110", "111", "0" * 30]
    together = predictor.predict(words)
    assert [predictor.predict([word])[0] for word in words] == together
    assert [len(sets) for sets in together] == [len(word) + 1 for word in words]
    states = predictor.states("0110")
    assert states is not None
    assert states.shape[0] == 5
    item = language("parity")
    found = search(predictor, item)
    assert found.is_shortest
    assert found.expected == item.next_symbols(found.prefix)
    assert found.predicted == predictor.predict([found.prefix])[0][-1]


def test_a_compiled_checkpoint_is_opened_and_holds(tmp_path: Path) -> None:
    item = language("d-2")
    compile_language(item, "mamba").save_pretrained(tmp_path / "d2")
    predictor = open_predictor(tmp_path / "d2")
    assert search(predictor, item, budget=60, max_length=40).prefix is None
    assert extract(predictor, language=item, max_length=12, rng=Random(0)).counterexample is None


def test_what_is_no_checkpoint_is_told(tmp_path: Path, run: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        open_predictor(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no checkpoint of a probe and no compiled one"):
        open_predictor(tmp_path)
    (tmp_path / "config.toml").write_bytes((run / "config.toml").read_bytes())
    with pytest.raises(InputError, match="not finished: --resume it"):
        open_predictor(tmp_path)


def test_the_state_of_a_complex_model_is_given_whole() -> None:
    parts = torch.tensor([[1 + 2j, 3 - 4j]])
    assert _numbers(parts).tolist() == [1, 2, 3, -4]


def test_a_counter_is_followed_as_deep_as_words_are_long() -> None:
    found = extract(faithful(language("dyck-1")), max_length=60, rng=Random(0))
    assert found.is_exact
    assert found.language.accepts("(" * 30 + ")" * 30)
