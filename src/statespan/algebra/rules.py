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
    if facts.is_regular and facts.memory_order in {0, 1}:
        return _both(_yes("last-symbol", "no memory at all"))
    return None


def _unbounded(facts: Facts, counters: Answer) -> Answers | None:
    """Return the answers of a recurrence to a language that is not regular."""
    if facts.is_regular:
        return None
    growing = counters if facts.memory == "counters" else _no("stack")
    return Answers(_no("finite-state"), growing)


def _cascade(facts: Facts) -> str:
    numbers = facts.bounded_dyck_numbers
    if numbers is not None:
        return f"2 layers, {numbers} numbers (Theorem 6)"
    if facts.language.name.partition(":")[0] == "flip-flop":
        return "2 layers, 5 bits (Theorem 1)"
    if facts.height is None:
        return "a layer for each level of a cascade"
    return f"at most {facts.height} levels of a cascade, so at most {facts.height + 1} layers"


def _automaton(facts: Facts) -> str:
    size = facts.num_states
    return "1 layer" if size is None else f"1 layer, {size} numbers"


def _nonnegative(facts: Facts) -> Answers:
    reached = "float32 holds counts to 2^24, bfloat16 to 2^8; Mamba needs a decay of exactly 1"
    if unbounded := _unbounded(facts, _yes("counters", "1 layer of counters", reached)):
        return unbounded
    if easy := _easy(facts):
        return easy
    if facts.star_free:
        key = "bounded-dyck" if facts.memory == "bounded-stack" else "nonnegative-star-free"
        return _both(_yes(key, _cascade(facts)))
    return _both(_no("nonnegative-star-free"))


def _tied(facts: Facts) -> Answers:
    if unbounded := _unbounded(facts, _no("tied-counters")):
        return unbounded
    if easy := _easy(facts):
        return easy
    if facts.star_free:
        return _both(_yes("tied-star-free", _cascade_without_counters(facts)))
    return _both(_no("nonnegative-star-free"))


def _cascade_without_counters(facts: Facts) -> str:
    if facts.height is None:
        return "a layer for each level of a cascade"
    return f"at most {facts.height + 1} layers"


def _fixed_decay(facts: Facts) -> Answers:
    if unbounded := _unbounded(facts, _no("decaying-counters")):
        return unbounded
    if easy := _easy(facts):
        return easy
    order = facts.memory_order
    if order is not None:
        condition = "a decay of at most 1/4 is among them (RetNet's are near 1)"
        return _both(_yes("short-memory", f"{order - 1} delay layers", condition))
    return _both(_no("fading-memory"))


def _time_invariant(facts: Facts) -> Answers:
    exact = "an eigenvalue of modulus exactly 1"
    if unbounded := _unbounded(facts, _yes("time-invariant-counters", "1 layer", exact)):
        return unbounded
    if easy := _easy(facts):
        return easy
    if (periodic := facts.periodic_memory) is not None:
        modulus, order = periodic
        if modulus == 1:
            return _both(_yes("short-memory", f"{order - 1} delay layers"))
        cost = f"a rotation by 1/{modulus} turn and {max(0, order - 1)} delay layers"
        return _both(_yes("time-invariant-lower-bound", cost, exact))
    if facts.is_r_trivial:
        return _both(_yes("time-invariant-lower-bound", "a latch a level", exact))
    if not facts.is_quasi_aperiodic:
        return _both(_no("time-invariant-parity"))
    return _both(_open("time-invariant-since", "conjectured: no"))


def _signed(facts: Facts) -> Answers:
    if unbounded := _unbounded(facts, _yes("counters", "1 layer of counters")):
        return unbounded
    if easy := _easy(facts):
        return easy
    if facts.star_free:
        return _both(_yes("nonnegative-star-free", _cascade(facts)))
    if facts.has_only_2_groups:
        return _both(_yes("signed-cascade", "a layer for each level of a cascade"))
    return _both(_no("real-counting"))


def _complex(facts: Facts) -> Answers:
    decay = "gates of modulus exactly 1, as AUSSM has; Mamba-3's decay a little at each step"
    if unbounded := _unbounded(facts, _yes("counters", "1 layer of counters", decay)):
        return unbounded
    if easy := _easy(facts):
        return easy
    if facts.star_free:
        return _both(_yes("nonnegative-star-free", _cascade(facts)))
    if facts.is_solvable:
        length = facts.analysis.groups.derived_length
        cost = f"at least {length} layer{'s' if length != 1 else ''} for the groups"
        return _both(_yes("complex-cascade", cost, decay))
    return _both(_no("complex-solvable"))


def _reflections(facts: Facts) -> Answers:
    if unbounded := _unbounded(facts, _open("delta-counters")):
        return unbounded
    if easy := _easy(facts):
        return easy
    return _both(_yes("reflections", "a few layers for each level of a cascade"))


def _products(facts: Facts) -> Answers:
    if unbounded := _unbounded(facts, _yes("dense-counters", "1 layer of counters")):
        return unbounded
    return _easy(facts) or _both(_yes("products", _automaton(facts)))


def _nonlinear(facts: Facts) -> Answers:
    if unbounded := _unbounded(facts, _yes("nonlinear-counters", "1 layer", "LSTM, not GRU")):
        return unbounded
    return _easy(facts) or _both(_yes("nonlinear-regular", "1 layer"))


def _transformer(facts: Facts) -> Answers:
    if not facts.is_regular:
        fixed = _no("transformer-r-trivial")
        is_counter = facts.memory == "counters"
        return Answers(
            fixed, _yes("transformer-counters") if is_counter else _open("transformer-open")
        )
    if easy := _easy(facts):
        return easy
    if facts.is_r_trivial:
        return _both(_yes("transformer-r-trivial"))
    fixed = _no("transformer-r-trivial")
    return Answers(fixed, _transformer_growing(facts))


def _transformer_growing(facts: Facts) -> Answer:
    if not facts.is_solvable:
        return _no("transformer-tc0", "unless TC0 = NC1")
    return _open("transformer-open")


def _transformer_with_positions(facts: Facts) -> Answers:
    if not facts.is_regular:
        is_counter = facts.memory == "counters"
        growing = _yes("transformer-counters") if is_counter else _open("transformer-open")
        return Answers(_open("transformer-open"), growing)
    if easy := _easy(facts):
        return easy
    if facts.is_r_trivial:
        return _both(_yes("transformer-r-trivial"))
    if (periodic := facts.periodic_memory) is not None:
        modulus, order = periodic
        return _both(
            _yes("transformer-periodic", f"a window of {order}", f"positions modulo {modulus}")
        )
    if facts.language.name == "parity":
        return Answers(_open("transformer-open"), _yes("transformer-parity"))
    growing = _transformer_growing(facts)
    return Answers(growing if growing.verdict == "no" else _open("transformer-open"), growing)


def _hybrid(facts: Facts) -> Answers:
    """Combine a non-negative selective layer with attention without positions."""
    parts = (_nonnegative(facts), _transformer(facts))
    return Answers(
        _either(facts, [answers.fixed for answers in parts], at_fixed_width=True),
        _either(facts, [answers.growing for answers in parts], at_fixed_width=False),
    )


def _either(facts: Facts, answers: list[Answer], *, at_fixed_width: bool) -> Answer:
    for answer in answers:
        if answer.verdict == "yes":
            return Answer("yes", THEOREMS["hybrid"], answer.cost, answer.theorem.source)
    if facts.is_regular and not facts.is_solvable:
        return _no("diagonal-tc0", "unless TC0 = NC1")
    return _open("hybrid-open", "neither part alone at fixed width" if at_fixed_width else "")


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
        ("Mamba-3", "AUSSM"),
        _complex,
    ),
    Architecture(
        "reflections",
        "identity minus β k kᵀ, β in (0, 2), by the input",
        ("DeltaNet", "Gated DeltaNet"),
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
        ("Jamba", "Bamba", "Zamba"),
        _hybrid,
    ),
)
"""The families, in the order of the table."""
