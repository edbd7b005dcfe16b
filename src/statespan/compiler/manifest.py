"""What a checkpoint's folder says beside the weights: `statespan.json`, exact and plain."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from statespan.compiler.cascade import Cascade, Component, Readout, ReadoutTerm
from statespan.compiler.weights import Plan
from statespan.errors import InputError
from statespan.languages import Language, language_from_text
from statespan.languages.automaton import DFA
from statespan.records import read_bytes
from statespan.training import Vocabulary

__all__ = [
    "MANIFEST",
    "CascadeTable",
    "Form",
    "Manifest",
    "Report",
    "cascade_table",
    "manifest_language",
    "read_manifest",
    "table_cascade",
]

MANIFEST = "statespan.json"

Form: TypeAlias = Literal["cascade", "closed form", "reflections"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a compiled model is, in numbers.

    Attributes:
        language: its name.
        target: the architecture.
        dtype: the precision.
        form: how the weights were found.
        verdict: what algebra says of this architecture and language, with its theorem.
        layers: the number of layers.
        d_model: the width of the residual stream.
        d_state: numbers a channel (Mamba), a head's width (Mamba-2), or in all (diagonal).
        parameters: the number of weights.
        states: states of the minimal automaton; None where there is none of a usable size.
        levels: levels of the cascade; None for other forms.
        components: values of each component of the cascade.
        terms: rules of each component of the cascade.
        margin: the smallest distance of a logit from 0, on the right side, that was measured.
        max_count: the largest count that is exact in this precision; None without counters.
        valid_prefixes_only: whether only prefixes of words are answered rightly.
        remarks: what else to know, a sentence each.
        seconds: how long it took.
    """

    language: str
    target: str
    dtype: str
    form: Form
    verdict: str
    layers: int
    d_model: int
    d_state: int
    parameters: int
    states: int | None
    levels: int | None
    components: list[int]
    terms: list[int]
    margin: float
    max_count: int | None
    valid_prefixes_only: bool
    remarks: list[str]
    seconds: float


class CascadeTable(msgspec.Struct, frozen=True):
    """A cascade as plain values; a label says which answers are yes: the symbols, then the end."""

    components: list[Component]
    labels: list[list[bool]]
    default: int
    answers: list[ReadoutTerm]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All that `certify`, `explain` and other tools need beside the weights.

    Attributes:
        alphabet: the symbols; their tokens are 3, 4, ….
        report: the model in numbers.
        config: what `config.json` was made from.
        automaton: the minimal automaton, where it was made: start, accepting, rows.
        cascade: the cascade, where the weights come from one.
        plan: what is where in the model.
    """

    format: Literal[1] = 1
    alphabet: list[str]
    report: Report
    config: dict[str, Any]
    automaton: DFA | None
    cascade: CascadeTable | None
    plan: Plan


def cascade_table(cascade: Cascade) -> CascadeTable:
    """Return `cascade` as plain values."""
    vocabulary = Vocabulary(cascade.alphabet)
    readout = cascade.readout
    labels = [vocabulary.answers(label) for label in readout.labels]
    return CascadeTable(list(cascade.components), labels, readout.default, list(readout.terms))


def table_cascade(table: CascadeTable, alphabet: tuple[str, ...]) -> Cascade:
    """Return the cascade of a table."""
    vocabulary = Vocabulary(alphabet)
    labels = tuple(vocabulary.symbols(label) for label in table.labels)
    readout = Readout(labels, table.default, tuple(table.answers))
    return Cascade(alphabet, tuple(table.components), readout)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a compiled checkpoint.

    Raises:
        InputError: the folder has none, or it is broken.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder} is no compiled checkpoint: it has no {MANIFEST}. Make one with "
            "`statespan compile LANGUAGE --out FOLDER`."
        )
    try:
        return msgspec.json.decode(read_bytes(path), type=Manifest)
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is broken: {error}.") from error


def manifest_language(manifest: Manifest) -> Language:
    """Return the language that a checkpoint was compiled from."""
    if manifest.automaton is not None:
        return Language.from_dfa(manifest.automaton, name=manifest.report.language)
    return language_from_text(manifest.report.language)
