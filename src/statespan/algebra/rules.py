"""The rules from a language's algebra to what an architecture can predict, one a family.

A family is keyed by what decides the matter: the set that the eigenvalues of the transition may
come from, and whether it depends on the input. The task is predictive modeling at every length.
A rule gives two answers: with numbers of fixed width, and with integers that may grow with the
length while the number of fractional bits stays fixed ("growing").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias, final

from statespan.algebra.facts import Facts
from statespan.algebra.theorems import THEOREMS, Theorem

__all__ = ["ARCHITECTURES", "Answer", "Answers", "Architecture", "Verdict"]

Verdict: TypeAlias = Literal["yes", "no", "open"]


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """One verdict, the theorem it rests on, and what to know beside it.

    `cost` says what the construction takes when the verdict is yes; `condition` what else must
    hold for the verdict.
    """

    verdict: Verdict
    theorem: Theorem
    cost: str = ""
    condition: str = ""


class Answers(NamedTuple):
    """The answers at fixed width and at growing precision."""

    fixed: Answer
    growing: Answer


@final
@dataclass(frozen=True, slots=True)
class Architecture:
    """A family of architectures with one answer to every language."""

    name: str
    eigenvalues: str
    models: tuple[str, ...]
    rule: Callable[[Facts], Answers]


def _yes(key: str, cost: str = "", condition: str = "") -> Answer:
    return Answer("yes", THEOREMS[key], cost, condition)


def _no(key: str, condition: str = "") -> Answer:
    return Answer("no", THEOREMS[key], condition=condition)


def _open(key: str, condition: str = "") -> Answer:
    return Answer("open", THEOREMS[key], condition=condition)


def _both(answer: Answer) -> Answers:
    return Answers(answer, answer)


def _easy(facts: Facts) -> Answers | None:
    """Return the answer that every architecture shares where the last symbol decides."""
    if facts.is_regular and facts.last_symbol_decides:
        return _both(_yes("last-symbol", "no memory at all"))
    return None


def _unbounded(facts: Facts, counters: Answer) -> Answers | None:
    """Return the answers of a recurrence to a language that is not regular."""
    if facts.is_regular:
        return None
    growing = {"counters": counters, "stack": _no("stack")}.get(facts.memory)
    return Answers(_no("finite-state"), growing or _open("unbounded-open"))


def _shared(facts: Facts, counters: Answer) -> Answers | None:
    """Return the answers that do not depend on the eigenvalues, if that is all there is to say."""
    return _unbounded(facts, counters) or _easy(facts)


def _cascade(facts: Facts) -> str:
    numbers = facts.bounded_dyck_numbers
    if numbers is not None:
        return f"2 layers, {numbers} numbers (Theorem 6)"
    if facts.is_flip_flop:
        return "2 layers, 5 bits (Theorem 1)"
    return _levels(facts)


def _levels(facts: Facts) -> str:
    if facts.height is None:
        return "a cascade, each level a layer or two"
    return f"a cascade of at most {_count(facts.height, 'level')}, each a layer or two"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _nonnegative(facts: Facts) -> Answers:
    reached = "float32 holds counts to 2^24, bfloat16 to 2^8; Mamba needs a decay of exactly 1"
    if answers := _shared(facts, _yes("counters", "1 layer of counters", reached)):
        return answers
    if facts.star_free:
        closed = "bounded-dyck" if facts.is_bounded_dyck else "nonnegative-star-free"
        return _both(_yes("flip-flop" if facts.is_flip_flop else closed, _cascade(facts)))
    return _both(_no("nonnegative-parity" if facts.is_parity else "nonnegative-star-free"))


def _tied(facts: Facts) -> Answers:
    if answers := _shared(facts, _no("tied-counters")):
        return answers
    if facts.star_free:
        zero = "a gate that reaches 0 (HGRN: its lower bound must be 0)"
        return _both(_yes("tied-star-free", _levels(facts), zero))
    return _both(_no("nonnegative-parity" if facts.is_parity else "nonnegative-star-free"))


def _fixed_decay(facts: Facts) -> Answers:
    if answers := _shared(facts, _no("decaying-counters")):
        return answers
    order = facts.memory_order
    if order == "unknown":
        return _both(_open("memory-limit"))
    if order is not None:
        condition = "a decay of at most 1/4 is among them (RetNet's are near 1)"
        return _both(_yes("short-memory", _count(order - 1, "delay layer"), condition))
    smooth = "exact arithmetic, a uniformly continuous readout (a quotient of sums is none)"
    return _both(_no("fading-memory", smooth))


def _time_invariant(facts: Facts) -> Answers:
    exact = "an eigenvalue of modulus exactly 1"
    if answers := _shared(facts, _yes("time-invariant-counters", "1 layer", exact)):
        return answers
    if (periodic := facts.periodic_memory) is not None:
        modulus, order = periodic
        delays = _count(max(0, order - 1), "delay layer")
        if modulus == 1:
            return _both(_yes("short-memory", delays))
        if modulus not in {2, 4}:
            exact = "a permutation as gate: a turn by 1/m is exact in binary for m = 2 and 4 only"
        cost = f"a rotation by 1/{modulus} turn, {delays}"
        return _both(_yes("time-invariant-lower-bound", cost, exact))
    if facts.is_r_trivial:
        return _both(_yes("time-invariant-lower-bound", "a latch a level", exact))
    if not facts.is_quasi_aperiodic:
        return _both(_no("time-invariant-parity"))
    return _both(_open("time-invariant-since"))


def _signed(facts: Facts) -> Answers:
    if answers := _shared(facts, _yes("counters", "1 layer of counters")):
        return answers
    if facts.star_free:
        return _both(_yes("nonnegative-star-free", _cascade(facts)))
    if facts.has_only_2_groups:
        return _both(_yes("signed-cascade", _levels(facts)))
    return _both(_no("real-counting"))


def _complex(facts: Facts) -> Answers:
    modulus = "gates of modulus exactly 1, as AUSSM has; Mamba-3's decay a little at each step"
    if answers := _shared(facts, _yes("counters", "1 layer of counters", modulus)):
        return answers
    if facts.star_free:
        return _both(_yes("nonnegative-star-free", _cascade(facts)))
    if facts.is_solvable:
        length = facts.analysis.groups.derived_length or 0
        cost = f"at least {_count(length, 'layer')} for the groups"
        exact = f"{modulus}; only quarter turns are exact in binary"
        return _both(_yes("complex-cascade", cost, exact))
    return _both(_no("complex-solvable", "at growing precision, unless TC0 = NC1"))


def _delta(facts: Facts) -> Answers:
    if answers := _shared(facts, _no("delta-contraction")):
        return answers
    return _both(_open("delta-star-free") if facts.star_free else _no("delta-contraction"))


def _reflections(facts: Facts) -> Answers:
    full = "β reaches 2"
    if answers := _shared(facts, _yes("delta-counters", "2 layers", full)):
        return answers
    return _both(_yes("reflections", "a few layers for each level of a cascade", full))


def _products(facts: Facts) -> Answers:
    if answers := _shared(facts, _yes("dense-counters", "1 layer of counters")):
        return answers
    size = facts.num_states
    numbers = "" if size is None else f", {_count(size, 'number')}"
    return _both(_yes("products", f"1 layer{numbers} as PD-SSM; more layers as DeltaProduct"))


def _nonlinear(facts: Facts) -> Answers:
    counters = _yes("nonlinear-counters", "1 layer", "LSTM, not GRU")
    return _shared(facts, counters) or _both(_yes("nonlinear-regular", "1 layer"))


def _attention_counts(facts: Facts) -> Answer:
    return _yes("transformer-counters") if facts.memory == "counters" else _open("transformer-open")


def _attention_grows(facts: Facts) -> Answer:
    """Return what attention of growing precision does with a regular language, at the least."""
    if not facts.is_solvable:
        return _no("transformer-tc0", "unless TC0 = NC1")
    return _open("transformer-open")


def _transformer(facts: Facts) -> Answers:
    if not facts.is_regular:
        return Answers(_no("transformer-finite"), _attention_counts(facts))
    if easy := _easy(facts):
        return easy
    if facts.is_r_trivial:
        return _both(_yes("transformer-r-trivial"))
    growing = _attention_grows(facts)
    if growing.verdict == "no" or not facts.has_twin_entries:
        return _both(growing)
    return Answers(_no("transformer-cycle"), growing)


def _transformer_with_positions(facts: Facts) -> Answers:
    if not facts.is_regular:
        return Answers(_open("transformer-open"), _attention_counts(facts))
    if easy := _easy(facts):
        return easy
    if facts.is_r_trivial:
        return _both(_yes("transformer-r-trivial"))
    if (periodic := facts.periodic_memory) is not None:
        modulus, order = periodic
        window = f"a window of the last {_count(order, 'symbol')}"
        return _both(_yes("transformer-periodic", window, f"positions modulo {modulus}"))
    if facts.is_parity:
        return Answers(_open("transformer-open"), _yes("transformer-parity"))
    return _both(_attention_grows(facts))


def _hybrid(facts: Facts) -> Answers:
    """Combine a non-negative selective layer with attention without positions."""
    state, attention = _nonnegative(facts), _transformer(facts)
    return Answers(
        _either(facts, state.fixed, attention.fixed),
        _either(facts, state.growing, attention.growing),
    )


def _either(facts: Facts, *answers: Answer) -> Answer:
    for answer in answers:
        if answer.verdict == "yes":
            by = f"by {answer.theorem.key}"
            condition = f"{by}; {answer.condition}" if answer.condition else by
            return _yes("hybrid", answer.cost, condition)
    if facts.is_regular and not facts.is_solvable:
        return _no("hybrid-tc0", "unless TC0 = NC1")
    return _open("hybrid-open")


ARCHITECTURES: Final = (
    Architecture(
        "time-invariant complex",
        "any complex number of modulus at most 1, the same at every step",
        ("S4", "S4D", "S5", "LRU"),
        _time_invariant,
    ),
    Architecture(
        "fixed real decay",
        "real numbers in (0, 1), the same at every step",
        ("RetNet", "RWKV-4"),
        _fixed_decay,
    ),
    Architecture(
        "non-negative selective",
        "real numbers in [0, 1], by the input; the input is free",
        ("Mamba", "Mamba-2", "GLA", "mLSTM", "RWKV-6"),
        _nonnegative,
    ),
    Architecture(
        "non-negative tied",
        "real numbers in [0, 1], by the input; the input is scaled by 1 - gate",
        ("HGRN", "HGRN2", "Griffin", "minGRU"),
        _tied,
    ),
    Architecture(
        "real selective",
        "real numbers in [-1, 1], by the input",
        ("Mamba with signed gates",),
        _signed,
    ),
    Architecture(
        "complex selective",
        "complex numbers of modulus at most 1, by the input",
        ("AUSSM", "Mamba-3"),
        _complex,
    ),
    Architecture(
        "delta rule",
        "identity minus β k kᵀ, β in (0, 1), by the input",
        ("DeltaNet", "Gated DeltaNet", "KDA", "Qwen3-Next"),
        _delta,
    ),
    Architecture(
        "reflections",
        "identity minus β k kᵀ, β in (0, 2), by the input",
        ("OLMo Hybrid", "DeltaNet with allow_neg_eigval"),
        _reflections,
    ),
    Architecture(
        "products and dense",
        "products of reflections, or dense matrices, by the input",
        ("DeltaProduct", "RWKV-7", "PD-SSM"),
        _products,
    ),
    Architecture(
        "nonlinear recurrence",
        "a nonlinear function of state and input",
        ("LSTM", "sLSTM"),
        _nonlinear,
    ),
    Architecture(
        "transformer",
        "softmax attention without positions",
        ("NoPE transformer",),
        _transformer,
    ),
    Architecture(
        "transformer with positions",
        "softmax attention with positions, periodic ones included",
        ("transformer",),
        _transformer_with_positions,
    ),
    Architecture(
        "hybrid",
        "non-negative selective layers beside attention without positions",
        ("Jamba", "Zamba", "Nemotron-H"),
        _hybrid,
    ),
)
"""The families, in the order of the table."""
