"""The theorems that verdicts rest on: statement, source, and how far we vouch for it.

`basis` is "theorem" (published), "reasoning" (a consequence we drew ourselves, with the argument in
the statement) or "conjecture". `checked` says whether the statement was read again in a source
(the paper, its authors' code or figures, or a later paper that quotes it); otherwise it is
recalled, and to be re-read before it is relied on.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, final

__all__ = ["THEOREMS", "Basis", "Theorem"]

Basis: TypeAlias = Literal["theorem", "reasoning", "conjecture"]


@final
@dataclass(frozen=True, slots=True)
class Theorem:
    """One statement and its source."""

    key: str
    statement: str
    source: str
    basis: Basis = "theorem"
    checked: bool = True


_SARROF = "Sarrof, Veitsman, Hahn 2024, arXiv:2405.17394"
_GRAZZI = "Grazzi et al. 2025, arXiv:2411.12537"
_ALSMANN = "Alsmann, Noori, Lange 2026, arXiv:2601.19467"
_OURS = "our own argument"

_ALL = (
    Theorem(
        "flip-flop",
        "A state-space model of two layers predictively models Flip-Flop at every length.",
        f"{_SARROF}, Theorem 1 (its number is recalled)",
    ),
    Theorem(
        "nonnegative-parity",
        "No state-space model whose gates are non-negative recognizes PARITY at every length in "
        "finite precision.",
        f"{_SARROF}, Theorem 2",
    ),
    Theorem(
        "nonnegative-star-free",
        "A state-space model with non-negative gates predictively models a regular language at "
        "every length in finite precision (a fixed number of fractional bits) if and only if the "
        "language is star-free.",
        f"{_SARROF}, Theorem 4",
    ),
    Theorem(
        "counters",
        "Dyck-1, Shuffle-Dyck-k, n-ary Boolean expressions, a^n b^n, a^n b^n c^n and "
        "a^n b^n c^n d^n are predictively modeled by one layer of counters (gate 1, increments "
        "±k); the integers grow with the length.",
        f"{_SARROF}, Theorem 5",
    ),
    Theorem(
        "bounded-dyck",
        "Two layers with O(h log K) numbers predictively model Dyck(K, h) in finite precision; "
        "every model of it needs Ω(h log K) bits.",
        f"{_SARROF}, Theorem 6 (its number is recalled); the bound is from Hewitt et al. 2020, "
        "arXiv:2010.07515",
    ),
    Theorem(
        "tied-star-free",
        "The construction for star-free languages uses only gates that keep (1, input 0), set "
        "(0, input v) or delay (a constant below 1); with the input scaled by 1 - gate all three "
        "remain, so tied inputs lose nothing there.",
        f"{_OURS}, on the construction of {_SARROF}, Theorem 4",
        basis="reasoning",
    ),
    Theorem(
        "tied-counters",
        "With the input scaled by 1 - gate a number cannot be kept whole (gate 1) and raised "
        "(input not 0) at once, so no exact unbounded counter exists.",
        _OURS,
        basis="reasoning",
    ),
    Theorem(
        "last-symbol",
        "If the last symbol alone decides what may follow, no memory is needed: a table from "
        "symbol to next set predicts the language.",
        _OURS,
        basis="reasoning",
    ),
    Theorem(
        "short-memory",
        "If the last k symbols decide what may follow, k - 1 delay channels (h ← h/4 + bit) hold "
        "all that is needed.",
        f"{_OURS}, on the delay channel of {_SARROF}, Theorem 4",
        basis="reasoning",
    ),
    Theorem(
        "memory-limit",
        "How much memory the prediction needs was not decided: the search met its limit.",
        "this program",
        basis="conjecture",
    ),
    Theorem(
        "fading-memory",
        "With fixed decays below 1 the influence of a symbol fades at a fixed rate through every "
        "layer, so at a margin that does not shrink only the last k symbols count, for some k, "
        "in exact arithmetic: a state stuck by rounding does not count as memory.",
        _OURS,
        basis="reasoning",
    ),
    Theorem(
        "time-invariant-lower-bound",
        "Fixed-width diagonal models with time-invariant complex gates express unary past "
        "temporal logic with modular predicates; with it all R-trivial languages, and those that "
        "the position modulo m and the last k symbols decide.",
        f"{_ALSMANN} (lower bound); what it contains is our reading",
    ),
    Theorem(
        "time-invariant-parity",
        "Time-invariant gates, of any sign or phase and at any depth, do not recognize PARITY; "
        "two blocks of equal length that act as a generator and as the identity of a group carry "
        "this over to every regular language outside AC0.",
        "Khavari et al. 2025, arXiv:2508.07395 (abstract), for PARITY; the step to other "
        "languages is our own argument",
        basis="reasoning",
    ),
    Theorem(
        "time-invariant-since",
        "Time-invariant models are conjectured not to express `since`, and so not all star-free "
        "languages; which of those that no other rule decides they express is open.",
        f"{_ALSMANN}, Conjecture 1",
        basis="conjecture",
    ),
    Theorem(
        "time-invariant-counters",
        "The counters of Theorem 5 have gate 1 at every step, so they are time-invariant; the "
        "eigenvalue must be exactly 1.",
        f"{_OURS}, on {_SARROF}, Theorem 5",
        basis="reasoning",
    ),
    Theorem(
        "decaying-counters",
        "A number that decays at a fixed rate below 1 stays bounded, so it cannot hold an "
        "unbounded count at a margin that does not shrink.",
        _OURS,
        basis="reasoning",
    ),
    Theorem(
        "real-counting",
        "Counting modulo m, for m not a power of two, needs an eigenvalue that is not real.",
        f"{_GRAZZI}, Theorem 2",
    ),
    Theorem(
        "signed-cascade",
        "A regular language whose groups are 2-groups is a cascade of resets and of counters "
        "modulo 2 (Krohn and Rhodes 1965); a gate in {-1, 0, 1} makes each of them one layer.",
        f"{_OURS}, on {_GRAZZI}, Theorem 1",
        basis="reasoning",
    ),
    Theorem(
        "complex-solvable",
        "Input-dependent complex diagonal layers: one layer tracks a group if and only if it is "
        "abelian, k layers if and only if it has a subnormal series of length k with abelian "
        "factors. So no number of layers tracks a group that is not solvable.",
        "Shakerinava et al. 2026, arXiv:2603.01959",
    ),
    Theorem(
        "complex-cascade",
        "A regular language whose groups are solvable is a cascade of resets and of counters "
        "modulo primes (Krohn and Rhodes 1965); a gate that is 0 or a root of unity makes each of "
        "them one layer.",
        f"{_OURS}, on Shakerinava et al. 2026, arXiv:2603.01959",
        basis="reasoning",
    ),
    Theorem(
        "reflections",
        "Layers with one reflection a token solve the word problem of every S_n (in one layer when "
        "the letters are transpositions, in four for all letters); resets are a reflection's "
        "halfway point (β = 1).",
        "Siems et al. 2025 (DeltaProduct), arXiv:2502.10297; with resets by Krohn and Rhodes 1965, "
        "our own",
        basis="reasoning",
    ),
    Theorem(
        "products",
        "Finitely many layers with products of generalized Householder matrices of eigenvalues in "
        "[-1, 1] recognize every regular language; column one-hot times diagonal does it in one "
        "layer with as many numbers as the automaton has states.",
        f"{_GRAZZI}, Theorem 4; Terzić et al. 2025 (PD-SSM), arXiv:2509.22284",
    ),
    Theorem(
        "dense-counters",
        "A dense or diagonal-plus-rank-one transition can be the identity while the input is "
        "free, which makes the counters of Theorem 5; so can two equal reflections, one of which "
        "writes.",
        f"{_OURS}, on {_SARROF}, Theorem 5",
        basis="reasoning",
    ),
    Theorem(
        "delta-counters",
        "With β = 2 the delta rule is h ← -h + 2 v; with v = ½ (-1)^t δ, where a layer below gives "
        "the parity of the position t, h is (-1)^t times the sum of the δ: a counter.",
        _OURS,
        basis="reasoning",
    ),
    Theorem(
        "delta-contraction",
        "With β in [0, 1] every transition of a delta rule is a positive contraction: under a "
        "repeated word the state converges, and what is written is orthogonal to what stays, so "
        "no group and no unbounded counter is held.",
        f"{_OURS} (a sketch)",
        basis="reasoning",
    ),
    Theorem(
        "delta-star-free",
        "A delta rule can reset (β = 1) and hold (β = 0), so the cascades of star-free languages "
        "should be within reach; it has not been built or proven.",
        "open",
        basis="conjecture",
    ),
    Theorem(
        "nonlinear-regular",
        "A nonlinear recurrence simulates every finite automaton.",
        "Merrill et al. 2024, arXiv:2404.08819, Theorem 5.1 (for RNNs); classical",
    ),
    Theorem(
        "nonlinear-counters",
        "An LSTM counts without bound when its precision grows with the length; GRUs and tanh "
        "RNNs do not.",
        "Weiss, Goldberg, Yahav 2018, arXiv:1805.04908",
        checked=False,
    ),
    Theorem(
        "transformer-r-trivial",
        "Softmax transformers of fixed precision with a strict causal mask and no positions "
        "recognize exactly the R-trivial languages (left-deterministic polynomials).",
        "Li, Cotterell 2025, arXiv:2505.23623 (abstract)",
    ),
    Theorem(
        "transformer-cycle",
        "If two different states of one strong component of the minimal automaton are entered by "
        "the same letter from inside it, pasts that no R-trivial language tells apart, before the "
        "same last letter, lead to both; a predictor, which sees the last letter besides, needs "
        "two answers.",
        f"{_OURS}, on Li, Cotterell 2025, arXiv:2505.23623",
        basis="reasoning",
    ),
    Theorem(
        "transformer-finite",
        "Softmax transformers of fixed precision with a strict causal mask and no positions "
        "recognize regular languages only.",
        "Li, Cotterell 2025, arXiv:2505.23623 (abstract)",
    ),
    Theorem(
        "transformer-periodic",
        "With positions that include their remainder modulo m, and a window on the last k symbols, "
        "what position and last symbols decide is a table.",
        _OURS,
        basis="reasoning",
    ),
    Theorem(
        "transformer-parity",
        "PARITY is expressed by a softmax transformer with positions whose precision grows, though "
        "it is not learned at growing lengths.",
        "Chiang, Cholak 2022, arXiv:2202.12172",
        checked=False,
    ),
    Theorem(
        "transformer-tc0",
        "Transformers of logarithmic precision are in uniform TC0, so they solve no word problem "
        "of a group that is not solvable, unless TC0 = NC1.",
        "Merrill, Sabharwal 2023, arXiv:2207.00729",
        checked=False,
    ),
    Theorem(
        "transformer-counters",
        "C-RASP programs are softmax transformers without positions, and they compare linear "
        "combinations of counts: Dyck-1, shuffles of it, Boolean expressions in prefix notation, "
        "a^n b^n and its relatives are predicted so.",
        "Yang, Chiang 2024, arXiv:2404.04393",
        checked=False,
    ),
    Theorem(
        "transformer-open",
        "Which other regular languages softmax transformers express at every length is not known.",
        "open, see Strobl et al. 2024, arXiv:2311.00208",
        basis="conjecture",
    ),
    Theorem(
        "finite-state",
        "A recurrence of fixed width has finitely many states, so it knows regular languages only.",
        "classical",
    ),
    Theorem(
        "unbounded-open",
        "A language that neither counters nor a stack describe: no theorem here speaks of it.",
        "open",
        basis="conjecture",
    ),
    Theorem(
        "stack",
        "Predicting Dyck-2 of unbounded depth needs the whole stack, a number of bits linear in "
        "the length; a recurrence with numbers of logarithmic precision holds fewer.",
        _OURS,
        basis="reasoning",
    ),
    Theorem(
        "hybrid",
        "A layer of the one kind may leave everything to layers of the other kind: what either "
        "part expresses, the hybrid does.",
        _OURS,
        basis="reasoning",
    ),
    Theorem(
        "hybrid-tc0",
        "Diagonal state-space layers and attention layers of logarithmic precision are both in "
        "uniform TC0, which is closed under composition; so together they solve no word problem "
        "of a group that is not solvable, unless TC0 = NC1.",
        f"{_OURS}, on Merrill, Petty, Sabharwal 2024, arXiv:2404.08819, and Merrill, Sabharwal "
        "2023, arXiv:2207.00729",
        basis="reasoning",
    ),
    Theorem(
        "hybrid-open",
        "What state-space and attention layers express together beyond either alone is not known.",
        "open",
        basis="conjecture",
    ),
)

THEOREMS: Final = MappingProxyType({theorem.key: theorem for theorem in _ALL})
"""Key -> theorem."""
