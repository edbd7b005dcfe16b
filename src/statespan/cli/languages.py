"""`statespan languages`: list, show, sample and compare formal languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from statespan.cli.output import JsonOption, print_json, print_text

if TYPE_CHECKING:
    from statespan.languages import Language

__all__ = ["AlphabetOption", "app", "parse_language", "split_alphabet"]

SHOWN_LENGTH = 24

app = typer.Typer(no_args_is_help=True, help="Formal languages: list, show, sample, compare.")

LanguageArgument = Annotated[
    str,
    typer.Argument(
        metavar="LANGUAGE",
        help="A name of the catalogue (bounded-dyck:brackets=2,depth=3), an automaton's .json "
        "file, or a regular expression.",
        show_default=False,
    ),
]
AlphabetOption = Annotated[
    str | None,
    typer.Option(
        help="The alphabet of an expression, when it is more than the symbols used: single "
        "characters, or symbols with blanks between.",
        show_default=False,
    ),
]


@app.command("list")
def list_languages(json: JsonOption = False) -> None:
    """List the catalogue."""
    from statespan.languages import LANGUAGES, language

    made = [language(name) for name in sorted(LANGUAGES.names())]
    if json:
        print_json([_facts(item) for item in made])
        return
    width = max(len(item.name) for item in made)
    for item in made:
        kind = "regular" if item.is_regular else "not regular"
        print_text(f"{item.name:{width}}  {kind:11}  {item.description}")


@app.command("show")
def show(
    language: LanguageArgument,
    alphabet: AlphabetOption = None,
    word: Annotated[
        str | None,
        typer.Option(
            help="Also say whether this is a word, and what may follow each prefix. Symbols of "
            "several characters have blanks between.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show a language: its alphabet, its automaton, how many words there are, its short words."""
    item = parse_language(language, alphabet)
    facts = _facts(item)
    if item.is_regular:
        facts["states"] = _num_states(item)
    facts["words_by_length"] = [item.count(length) for length in range(9)]
    facts["shortest_words"] = _shortest_words(item)
    if word is not None:
        facts["word"] = _word_facts(item, word)
    if json:
        print_json(facts)
    else:
        print_text(*_show_facts(facts))


@app.command("sample")
def sample(
    language: LanguageArgument,
    length: Annotated[
        str, typer.Option(help="A length, or the first and last of a range: 10, or 2-50.")
    ] = "0-20",
    count: Annotated[int, typer.Option(min=0, help="The number of words.")] = 10,
    sampler: Annotated[str, typer.Option(help="uniform, or published.")] = "uniform",
    negatives: Annotated[
        bool, typer.Option("--negatives", help="Near misses instead of words.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same words.")] = 0,
    alphabet: AlphabetOption = None,
    json: JsonOption = False,
) -> None:
    """Draw words of a language, or near misses."""
    from random import Random
    from typing import cast

    from statespan.languages import Sampler, show_word

    item = parse_language(language, alphabet)
    bounds = _parse_length(length)
    rng = Random(seed)
    if negatives:
        words = item.sample_negatives(length=bounds, count=count, rng=rng)
    else:
        kind = cast("Sampler", sampler)
        words = item.sample(length=bounds, count=count, rng=rng, sampler=kind)
    if json:
        print_json(words)
    else:
        print_text(*(show_word(word) for word in words))


@app.command("compare")
def compare(
    left: LanguageArgument,
    right: LanguageArgument,
    alphabet: AlphabetOption = None,
    json: JsonOption = False,
) -> None:
    """Compare two regular languages: equal, included, or a shortest word that tells them apart."""
    from statespan.languages import show_word

    first, second = (parse_language(text, alphabet) for text in (left, right))
    missing = first.counterexample_to_inclusion(second)
    extra = second.counterexample_to_inclusion(first)
    facts = {
        "equal": missing is None and extra is None,
        "left_in_right": missing is None,
        "right_in_left": extra is None,
        "only_in_left": missing,
        "only_in_right": extra,
    }
    if json:
        print_json(facts)
        return
    print_text("equal" if facts["equal"] else "not equal")
    for side, name, word in (("left", left, missing), ("right", right, extra)):
        shown = "nothing" if word is None else f"for one, {show_word(word)}"
        print_text(f"only in the {side} one ({name}): {shown}")


def parse_language(text: str, alphabet: str | None) -> Language:
    """Return the language that an argument and an `--alphabet` name."""
    from statespan.languages import language_from_text

    return language_from_text(text, alphabet=split_alphabet(alphabet))


def split_alphabet(alphabet: str | None) -> list[str] | None:
    """Return the symbols of an `--alphabet`."""
    if alphabet is None:
        return None
    return alphabet.split() if " " in alphabet else list(alphabet)


def _parse_length(text: str) -> int | tuple[int, int]:
    from statespan.errors import LengthError

    first, dash, last = text.partition("-")
    try:
        return (int(first), int(last)) if dash else int(first)
    except ValueError:
        raise LengthError(
            f"--length must be a number or a range like 2-50, got {text!r}."
        ) from None


def _facts(item: Language) -> dict[str, Any]:
    return {
        "name": item.name,
        "description": item.description,
        "parameters": dict(item.parameters),
        "alphabet": list(item.alphabet),
        "regular": item.is_regular,
        "empty": item.is_empty,
        "published_sampler": item.published is not None,
    }


def _num_states(item: Language) -> int | None:
    from statespan.errors import LimitError

    try:
        return item.dfa(limit=20_000).num_states
    except LimitError:
        return None


def _shortest_words(item: Language) -> list[str]:
    from itertools import islice

    from statespan.languages import show_word

    return [show_word(word) for word in islice(item.words(SHOWN_LENGTH), 8)]


def _word_facts(item: Language, text: str) -> dict[str, Any]:
    from statespan.languages import sort_next_symbols
    from statespan.languages.symbols import read_word

    word = read_word(text, item.alphabet)
    sets = [item.next_symbols(word[:0]), *item.next_symbol_sets(word)]
    return {
        "word": word if isinstance(word, str) else list(word),
        "accepted": item.accepts(word),
        "next_symbols": [sort_next_symbols(symbols, item.alphabet) for symbols in sets],
    }


def _show_facts(facts: dict[str, Any]) -> list[str]:
    from statespan.languages.symbols import show_symbols

    lines = [facts["name"]]
    if facts["description"]:
        lines.append(facts["description"])
    lines.append(f"alphabet: {show_symbols(facts['alphabet'])}")
    if facts["regular"]:
        states = facts["states"]
        lines.append(f"regular: minimal automaton of {states or 'more than 20000'} states")
    else:
        lines.append("not regular")
    lines.append("words of length 0 to 8: " + " ".join(map(str, facts["words_by_length"])))
    lines.append(
        "shortest words: "
        + (", ".join(facts["shortest_words"]) or f"none of up to {SHOWN_LENGTH} symbols")
    )
    if "word" in facts:
        word = facts["word"]
        lines.append(f"is a word: {'yes' if word['accepted'] else 'no'}")
        prefixes = ["(start)", *word["word"]]
        for symbol, following in zip(prefixes, word["next_symbols"], strict=True):
            lines.append(f"  after {symbol}: {' '.join(following) or 'nothing'}")
    return lines
