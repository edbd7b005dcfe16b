"""`statespan refute` and `statespan extract`: from a trained model back to the language."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statespan.cli.languages import AlphabetOption
from statespan.cli.output import JsonOption, print_json, print_text
from statespan.errors import InputError

if TYPE_CHECKING:
    from statespan.evaluation import Extraction, Loop, Refutation
    from statespan.languages import Language

__all__ = ["extract", "refute"]

CheckpointArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT",
        help="The run directory of a probe, or a compiled checkpoint.",
        show_default=False,
    ),
]
LanguageArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[LANGUAGE]",
        help="A name of the catalogue, an automaton's .json file, or a regular expression. "
        "[default: the one that the probe trained on]",
        show_default=False,
    ),
]


def refute(
    checkpoint: CheckpointArgument,
    language: LanguageArgument = None,
    alphabet: AlphabetOption = None,
    max_length: Annotated[int, typer.Option(help="The longest word that is read.")] = 1_000,
    budget: Annotated[int, typer.Option(help="Prefixes that are read one and all.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The seed of the random words.")] = 0,
    json: JsonOption = False,
) -> None:
    """Search for the shortest word on which a trained model errs.

    All prefixes are read, shorter first, as far as the budget goes; then words are pumped, the
    hidden counter of the language first; then come random words. Where the language counts, it is
    also told at which step the state stopped changing.
    """
    from random import Random

    from statespan.evaluation import open_predictor
    from statespan.evaluation import refute as search

    item = _language(checkpoint, language, alphabet)
    predictor = open_predictor(checkpoint)
    found = search(predictor, item, max_length=max_length, budget=budget, rng=Random(seed))
    if json:
        print_json(_refutation_facts(found, item))
    else:
        print_text(*_refutation_lines(found, item))


def extract(
    checkpoint: CheckpointArgument,
    language: LanguageArgument = None,
    alphabet: AlphabetOption = None,
    max_states: Annotated[int, typer.Option(help="Where the search ends.")] = 200,
    max_length: Annotated[int, typer.Option(help="The longest word that is compared.")] = 100,
    seed: Annotated[int, typer.Option(help="The seed of the random words.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "--out", help="Write the automaton to this .json file."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Learn a deterministic automaton from a trained model, and compare it with the language.

    The automaton can be given to every verb that takes a language: judge, compile, probe.
    """
    from random import Random

    from statespan.evaluation import extract as learn
    from statespan.evaluation import open_predictor

    item = _language(checkpoint, language, alphabet)
    found = learn(
        open_predictor(checkpoint),
        language=item,
        max_states=max_states,
        max_length=max_length,
        rng=Random(seed),
    )
    facts = _extraction_facts(found, item)
    if output is not None:
        from json import dumps

        from statespan.records import write_atomically

        write_atomically(output, (dumps(facts["automaton"], ensure_ascii=False) + "\n").encode())
    if json:
        print_json(facts)
        return
    print_text(*_extraction_lines(found, facts))
    if output is not None:
        print_text(f"automaton: {output}")


def _language(checkpoint: Path, text: str | None, alphabet: str | None) -> Language:
    from statespan.cli.languages import parse_language

    if text is not None:
        return parse_language(text, alphabet)
    if not (checkpoint / "config.toml").is_file():
        raise InputError(
            f"{checkpoint} is not the run directory of a probe, and does not say which language it "
            "is for: give LANGUAGE."
        )
    from statespan.jobs.probe_stages import reopen_probe
    from statespan.languages import Language

    subject = reopen_probe(checkpoint)[1]
    if not isinstance(subject, Language):
        raise InputError(f"{checkpoint} is of the task {subject.name}; a language is needed.")
    return subject


def _refutation_facts(found: Refutation, language: Language) -> dict[str, Any]:
    from statespan.languages import sort_next_symbols

    facts: dict[str, Any] = {
        "language": language.name,
        "refuted": found.prefix is not None,
        "all_up_to": found.all_up_to,
        "longest": found.longest,
        "counter": None if found.counter is None else _loop_facts(found.counter),
    }
    if found.prefix is not None:
        facts |= {
            "prefix": list(found.prefix),
            "length": len(found.prefix),
            "expected": sort_next_symbols(found.expected, language.alphabet),
            "predicted": sort_next_symbols(found.predicted, language.alphabet),
            "found_by": found.found_by,
            "is_shortest": found.is_shortest,
            "loop": None if found.loop is None else _loop_facts(found.loop),
        }
    return facts


def _loop_facts(loop: Loop) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(loop), "prefix": list(loop.prefix), "word": list(loop.word)}


def _refutation_lines(found: Refutation, language: Language) -> list[str]:
    facts = _refutation_facts(found, language)
    if found.prefix is None:
        read = f"all prefixes of up to {found.all_up_to} symbols"
        further = f"pumped and random words of up to {found.longest}"
        lines = [f"no error on {language.name}: {read}, and {further}"]
    else:
        kind = "the shortest there is" if found.is_shortest else f"found by {found.found_by}"
        where = f"{_shown(found.prefix)} ({len(found.prefix)} symbols, {kind})"
        lines = [
            f"wrong on {language.name} after {where}",
            f"  may follow: {_set(facts['expected'])}",
            f"  the model says: {_set(facts['predicted'])}",
        ]
        if not found.is_shortest:
            lines.append(f"  right after all prefixes of up to {found.all_up_to} symbols")
    if found.loop is not None and found.loop != found.counter:
        lines.append(f"pumped: {_loop_line(found.loop)}")
    if found.counter is not None:
        lines.append(f"hidden counter: {_loop_line(found.counter)}")
    return lines


def _loop_line(loop: Loop) -> str:
    after = f" after {_shown(loop.prefix)}" if loop.prefix else ""
    cycle = f", modulo {loop.period}" if loop.is_counter else ""
    wrong = "no error" if loop.wrong_at is None else f"wrong at {loop.wrong_at} symbols"
    if loop.settled_at is not None:
        settled = f"the state stopped changing at {loop.settled_at}"
    else:
        settled = "the state went on changing" if loop.is_watched else "its state is not told"
    return f"{_shown(loop.word)} again and again{after}{cycle}: {wrong}; {settled}"


def _shown(symbols: tuple[str, ...]) -> str:
    from statespan.languages import show_word
    from statespan.languages.symbols import to_word

    word = show_word(to_word(symbols, symbols) if symbols else "")
    return word if len(word) <= 60 else f"{word[:40]} … {word[-12:]}"


def _set(names: list[str]) -> str:
    return ", ".join(names) or "nothing"


def _extraction_facts(found: Extraction, language: Language) -> dict[str, Any]:
    from statespan.languages.automaton import dfa_to_table

    dfa = found.language.dfa()
    return {
        "language": language.name,
        "states": dfa.num_states,
        "queries": found.queries,
        "is_exact": found.is_exact,
        "tested": found.tested,
        "equal": None if not language.is_regular else found.counterexample is None,
        "counterexample": None if found.counterexample is None else list(found.counterexample),
        "purity": found.purity,
        "automaton": dfa_to_table(dfa),
    }


def _extraction_lines(found: Extraction, facts: dict[str, Any]) -> list[str]:
    word = found.counterexample
    beside = {
        None: f"{facts['language']} is not regular: no automaton is equal to it",
        True: f"equal to {facts['language']}",
        False: f"not {facts['language']}: they differ on {_shown(tuple(word or ()))}",
    }[facts["equal"]]
    state = (
        f"right on all words that it was compared on, of up to {found.tested} symbols"
        if found.is_exact
        else "given up: the model allows more than an automaton of so many states"
    )
    lines = [
        f"an automaton of {facts['states']} states, from {found.queries:,} prefixes: {state}",
        beside,
    ]
    if found.purity is not None:
        lines.append(
            f"states of the model that lie nearest to the mean of their own state of the "
            f"automaton: {100 * found.purity:.1f} %"
        )
    return lines
