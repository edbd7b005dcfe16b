"""A language in, exact weights out."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal, TypeAlias, final, get_args

import msgspec

from statespan.algebra import Judgment, judge
from statespan.compiler.cascade import Cascade, cascade_fault
from statespan.compiler.closed_forms import BoundedDyck, bounded_dyck_cascade, closed_form
from statespan.compiler.compiled_model import CompiledModel
from statespan.compiler.decomposition import decompose
from statespan.compiler.manifest import Form, Report
from statespan.compiler.margin import smallest_margin
from statespan.compiler.models import sizes
from statespan.compiler.oracle import Oracle
from statespan.compiler.refusal import refuse, verdict_text, witness_text
from statespan.compiler.targets import TARGETS, Target
from statespan.compiler.temporal import cascade_from_temporal
from statespan.compiler.weights import Weights, convert
from statespan.errors import EmptyLanguageError, InputError, LimitError, NotExpressibleError
from statespan.languages import DFA, Language, language_from_text

__all__ = ["FormChoice", "compile"]

FormChoice: TypeAlias = Literal["auto", "cascade", "closed"]

STATES_LIMIT = 20_000


def compile(  # noqa: A001
    language: Language | DFA | str,
    target: str = "mamba",
    *,
    dtype: str = "float32",
    form: FormChoice = "auto",
    robust: bool = False,
    formula: str | None = None,
) -> CompiledModel:
    """Return a model of `target` that says after every prefix which symbols may follow.

    `language` is a language, an automaton, or a text as `statespan.judge` takes it. `form` says
    how: through a `cascade`, by the paper's `closed` form, or (`auto`) a cascade where there is
    one within the limits. `robust` weights survive noise (`mamba` only). `formula` is a formula of
    past-time temporal logic for the same language: its operators make a second cascade, and the
    smaller of the two is taken.

    Raises:
        UnknownNameError: no such target.
        InputError: no such dtype or form, or `robust` for a target without it.
        EmptyLanguageError: the language has no words.
        NotExpressibleError: the target cannot express the language (with the verdict and the
            witness), or the compiler has no construction for it.
        LimitError: the automaton or its cascade is over a limit.
        InputError: `formula` does not say what `language` is.

    Example:
        >>> compiled = compile("(ab)*", "mamba")
        >>> compiled.next_symbol_sets("ab") == compiled.language.next_symbol_sets("ab")
        True
        >>> compiled.report.layers
        2
    """
    begun = time.perf_counter()
    chosen = _check(target, dtype, form, robust)
    language = _language(language)
    if language.is_empty:
        raise EmptyLanguageError(f"the language {language.name} has no words to compile.")
    judgment = judge(language)
    refuse(judgment, chosen)
    made = _make(judgment, chosen, form, robust, formula)
    report = _report(judgment, chosen, dtype, made)
    weights = made.weights
    tensors = convert(weights, dtype)
    compiled = CompiledModel(
        language, weights.config, tensors, weights.plan, report, made.dfa, made.cascade
    )
    return _measured(compiled, begun)


def _check(target: str, dtype: str, form: str, robust: bool) -> Target:
    chosen = TARGETS.get(target)
    if dtype not in chosen.dtypes:
        raise InputError(f"dtype must be {' or '.join(chosen.dtypes)} for {target}, got {dtype!r}.")
    if form not in get_args(FormChoice):
        raise InputError(f"form must be {', '.join(get_args(FormChoice))}, got {form!r}.")
    if robust and not chosen.robust:
        raise InputError(f"robust weights are there for mamba only, not for {target}.")
    return chosen


def _language(language: Language | DFA | str) -> Language:
    if isinstance(language, str):
        return language_from_text(language)
    return Language.from_dfa(language) if isinstance(language, DFA) else language


@final
@dataclass(frozen=True, slots=True)
class _Made:
    form: Form
    weights: Weights
    dfa: DFA | None = None
    cascade: Cascade | None = None


def _make(
    judgment: Judgment, target: Target, form: FormChoice, robust: bool, formula: str | None
) -> _Made:
    language = judgment.language
    options: dict[str, Any] = {"robust": True} if robust else {}
    if form == "closed" or not language.is_regular:
        return _closed(language, target)
    try:
        dfa = language.dfa(limit=STATES_LIMIT)
        special = None if form == "cascade" else target.from_automaton(dfa)
        if special is not None:
            return _Made("reflections", special, dfa)
        cascade = _decompose(judgment, target, dfa)
        if formula is not None:
            cascade = min(cascade, _by_formula(formula, dfa), key=_cost)
    except LimitError:
        spec = closed_form(language)
        if form == "auto" and spec is not None and target.from_closed_form(spec) is not None:
            return _closed(language, target)
        if not isinstance(spec, BoundedDyck):
            raise
        cascade = bounded_dyck_cascade(spec)
        return _Made("cascade", target.from_cascade(cascade, **options), None, cascade)
    return _Made("cascade", target.from_cascade(cascade, **options), dfa, cascade)


def _decompose(judgment: Judgment, target: Target, dfa: DFA) -> Cascade:
    try:
        return decompose(dfa, swaps=target.swaps)
    except InputError as error:
        raise NotExpressibleError(
            f"the compiler knows no weights of {target.name} for {judgment.language.name}: {error} "
            f"The verdict on the architecture itself: {verdict_text(judgment, target)}."
            f"{witness_text(judgment)}"
        ) from error


def _by_formula(formula: str, dfa: DFA) -> Cascade:
    cascade = cascade_from_temporal(formula, dfa.alphabet)
    fault = cascade_fault(cascade, dfa)
    if fault is not None:
        raise InputError(
            f"formula must say what the language is, but the cascade differs: {fault}."
        )
    return cascade


def _cost(cascade: Cascade) -> tuple[int, int]:
    return cascade.num_levels, sum(len(component.terms) for component in cascade.components)


def _closed(language: Language, target: Target) -> _Made:
    spec = closed_form(language)
    weights = None if spec is None else target.from_closed_form(spec)
    if weights is None:
        raise InputError(
            f"{language.name} has no closed form for {target.name}. There are some for mamba and "
            "diagonal: of the flip-flop language, bounded Dyck languages and counters."
        )
    return _Made("closed form", weights)


def _report(judgment: Judgment, target: Target, dtype: str, made: _Made) -> Report:
    weights, cascade = made.weights, made.cascade
    layers, d_model, d_state = sizes(weights.config)
    components = () if cascade is None else cascade.components
    return Report(
        language=judgment.language.name,
        target=target.name,
        dtype=dtype,
        form=made.form,
        verdict=verdict_text(judgment, target),
        layers=layers,
        d_model=d_model,
        d_state=d_state,
        parameters=weights.num_parameters,
        states=None if made.dfa is None else made.dfa.num_states,
        levels=None if cascade is None else cascade.num_levels,
        components=[component.num_values for component in components],
        terms=[len(component.terms) for component in components],
        margin=0.0,
        max_count=weights.max_count.get(dtype),
        valid_prefixes_only=weights.valid_prefixes_only,
        remarks=list(weights.remarks),
        seconds=0.0,
    )


def _measured(compiled: CompiledModel, begun: float) -> CompiledModel:
    """Return the model with the margin that a few random words show."""
    margin = smallest_margin(
        compiled.model,
        Oracle.of(compiled.language),
        rng=Random(0),
        valid_prefixes_only=compiled.report.valid_prefixes_only,
    )
    assert margin > 0, (
        f"{compiled.report.language} was compiled wrongly for {compiled.report.target}"
    )
    seconds = time.perf_counter() - begun
    report = msgspec.structs.replace(compiled.report, margin=margin, seconds=seconds)
    return replace(compiled, report=report)
