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
        manifest = msgspec.json.decode(read_bytes(path), type=Manifest)
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is broken: {error}.") from error
    fault = _fault(manifest)
    if fault is not None:
        raise InputError(f"{path} is broken: {fault}.")
    return manifest


def _fault(manifest: Manifest) -> str | None:
    """Return what in a manifest does not fit together; None if all does."""
    dfa, cascade = manifest.automaton, manifest.cascade
    if dfa is not None:
        states = range(dfa.num_states)
        if list(dfa.alphabet) != manifest.alphabet:
            return "the automaton has another alphabet"
        rows = [(dfa.start, *dfa.accepting), *dfa.transitions]
        if any(state not in states for row in rows for state in row):
            return "the automaton names a state that it does not have"
        if any(len(row) != len(dfa.alphabet) for row in dfa.transitions):
            return "the automaton is not complete"
    if cascade is None:
        return None
    sizes = [component.num_values for component in cascade.components]
    lists = [t.conditions for c in cascade.components for t in c.terms]
    lists += [term.conditions for term in cascade.answers]
    if any(c >= len(sizes) or max(v, default=0) >= sizes[c] for item in lists for c, v in item):
        return "the cascade names a component or a value that it does not have"
    if any(label >= len(cascade.labels) for label in (cascade.default, *_labels(cascade))):
        return "the cascade names an answer that it does not have"
    return _plan_fault(manifest, len(sizes))


def _labels(cascade: CascadeTable) -> list[int]:
    return [term.label for term in cascade.answers]


def _plan_fault(manifest: Manifest, num_components: int) -> str | None:
    groups, width = manifest.plan.groups, manifest.report.d_model
    if [group.kind for group in groups].count("letter") != 1:
        return "the plan has no letter"
    for group in groups:
        if group.component is not None and group.component >= num_components:
            return f"the group {group.name} is about a component that is not there"
        if any(not 0 <= channel < width for channel in group.channels):
            return f"the group {group.name} is in channels that are not there"
    if len(manifest.plan.letter_classes) not in {0, len(manifest.alphabet) + 2}:
        return "the plan has not one class for each letter"
    return None


def manifest_language(manifest: Manifest) -> Language:
    """Return the language that a checkpoint was compiled from."""
    if manifest.automaton is not None:
        return Language.from_dfa(manifest.automaton, name=manifest.report.language)
    return language_from_text(manifest.report.language)
