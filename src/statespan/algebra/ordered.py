"""Trivial relations of Green: R-trivial, L-trivial, piecewise testable languages, and DA."""

from __future__ import annotations

from statespan.algebra.aperiodic import CounterWitness, find_counter
from statespan.algebra.graphs import strong_components
from statespan.algebra.green import green_classes
from statespan.algebra.images import IMAGE_LIMIT
from statespan.algebra.monoid import MONOID_LIMIT, TransitionMonoid, syntactic_monoid
from statespan.algebra.witnesses import Factor, PumpedPair, make_pair, pumped
from statespan.algebra.words import run_word, steering_word
from statespan.languages.automaton import DFA, determinize, minimize

__all__ = [
    "find_da_violation",
    "find_l_trivial_violation",
    "find_piecewise_testable_violation",
    "find_r_trivial_violation",
    "reverse",
]


def find_r_trivial_violation(dfa: DFA) -> PumpedPair | None:
    """Return why the syntactic monoid is not R-trivial, None if it is.

    The identity is (st)^ω·s = (st)^ω. It holds exactly if the minimal automaton has no cycles but
    loops (Brzozowski and Fich 1980,
    "Languages of R-trivial monoids", J. Comput. Syst. Sci. 20). O(n k).

    Example:
        >>> from statespan.languages import Language
        >>> find_r_trivial_violation(Language.from_expression("(ab)*").dfa()).words(0)
        (('a', 'b'), ('a', 'b', 'a'))
    """
    dfa = minimize(dfa)
    component = strong_components([q for row in dfa.transitions for q in row], len(dfa.alphabet))
    first: dict[int, int] = {}
    for q in range(dfa.num_states):
        p = first.setdefault(component[q], q)
        if p != q:
            s, t = steering_word(dfa, (p,), (q,)), steering_word(dfa, (q,), (p,))
            assert s is not None
            assert t is not None
            right = (pumped(s + t), pumped(s, each=0))
            reason = "(st)^ω·s = (st)^ω fails"
            return make_pair(dfa, p, (pumped(s + t),), right, reason=reason, s=s, t=t)
    return None


def reverse(dfa: DFA, *, limit: int = MONOID_LIMIT) -> DFA:
    """Return the minimal automaton of the reversed words.

    Reversed and made deterministic, a reachable automaton is minimal (Brzozowski 1962). There are
    at most as many states as elements of the transition monoid, and at most 2^n.

    Raises:
        LimitError: there are more than `limit` states.
    """
    dfa = minimize(dfa)
    n = dfa.num_states
    sources: list[list[int]] = [[0] * n for _ in dfa.alphabet]
    for state, row in enumerate(dfa.transitions):
        for letter, target in enumerate(row):
            sources[letter][target] |= 1 << state

    def step(states: int, letter: int) -> int:
        preimage, into = 0, sources[letter]
        while states:
            low = states & -states
            preimage |= into[low.bit_length() - 1]
            states ^= low
        return preimage

    accepting = sum(1 << state for state in dfa.accepting)
    return determinize(
        dfa.alphabet, accepting, step, lambda states: bool(states >> dfa.start & 1), limit=limit
    )


def find_l_trivial_violation(dfa: DFA, *, limit: int = MONOID_LIMIT) -> PumpedPair | None:
    """Return why the syntactic monoid is not L-trivial, None if it is.

    The identity is t·(st)^ω = (st)^ω, and the class is that of the reversed R-trivial languages.

    Raises:
        LimitError: the reversed language needs more than `limit` states.
    """
    dfa = minimize(dfa)
    mirrored = find_r_trivial_violation(reverse(dfa, limit=limit))
    if mirrored is None:
        return None
    flipped = [
        tuple(Factor(f.word[::-1], f.once, f.each) for f in reversed(pattern))
        for pattern in (mirrored.left, mirrored.right)
    ]
    words = {name: word[::-1] for name, word in mirrored.names}
    names = (("x", words["z"]), ("s", words["t"]), ("t", words["s"]), ("z", words["x"]))
    return PumpedPair("t·(st)^ω = (st)^ω fails", names, flipped[0], flipped[1])


def find_piecewise_testable_violation(dfa: DFA) -> PumpedPair | None:
    """Return why membership does not depend on the subwords of length k for any k, None if it does.

    A language is piecewise testable exactly if its syntactic monoid is J-trivial (Simon 1975,
    doi:10.1007/3-540-07407-4_23), that is if its minimal automaton has no cycles but loops and is
    confluent: for any state and symbols a, b, going on with a and b after a, or after b, can end
    in one and the same state (Klíma and Polák 2013, "Alternative automata characterization of
    piecewise testable languages", DLT). O(n² k²).
    """
    dfa = minimize(dfa)
    if (found := find_r_trivial_violation(dfa)) is not None:
        return found
    for state, row in enumerate(dfa.transitions):
        for i, a in enumerate(dfa.alphabet):
            for j in range(i):
                b = dfa.alphabet[j]
                both = (a, b) * dfa.num_states
                if run_word(dfa, both, row[i]) != run_word(dfa, both, row[j]):
                    return _not_confluent(dfa, state, (a,), (b,))
    return None


def _not_confluent(dfa: DFA, state: int, a: tuple[str, ...], b: tuple[str, ...]) -> PumpedPair:
    both = pumped(a + b, once=dfa.num_states)
    left, right = (pumped(a, each=0), both), (pumped(b, each=0), both)
    reason = "a·(ab)^ω = (ab)^ω = b·(ab)^ω fails: x·a·(ab)ⁿ·z, x·b·(ab)ⁿ·z have the same subwords"
    return make_pair(dfa, state, left, right, reason=reason, a=a, b=b)


def find_da_violation(
    dfa: DFA, *, limit: int = MONOID_LIMIT, image_limit: int = IMAGE_LIMIT
) -> PumpedPair | None:
    """Return why the syntactic monoid is not in DA, None if it is.

    DA is the class of two-variable first-order logic with < (Thérien and Wilke 1998,
    doi:10.1145/276698.276749). The identity is (st)^ω·s·(st)^ω = (st)^ω, and it holds exactly if
    every element of a regular J-class is idempotent (Tesson and Thérien 2002,
    "Diamonds are forever: the variety DA"). A language that is not star-free is refused, and an
    R-trivial one admitted, without the monoid.

    Raises:
        LimitError: the monoid, or the image sets, go over their limit before that decides it.
    """
    dfa = minimize(dfa)
    counter = find_counter(dfa, limit=image_limit)
    if counter is not None:
        return _da_pair_of_counter(dfa, counter)
    if find_r_trivial_violation(dfa) is None:
        return None
    monoid = syntactic_monoid(dfa, limit=limit)
    green = green_classes(monoid)
    regular = {green.j_class_of[e] for e in monoid.idempotents}
    idempotent = set(monoid.idempotents)
    for s in range(len(monoid)):
        if s not in idempotent and green.j_class_of[s] in regular:
            return _da_pair(dfa, monoid, s, green.right_inverse(s))
    return None


def _da_pair_of_counter(dfa: DFA, counter: CounterWitness) -> PumpedPair:
    """Take s = u and t = u^(p-1), with p the period: st moves no state of the cycle."""
    u, p = counter.word, counter.period
    left, right = (pumped(u, once=p, each=p),), (pumped(u, once=2 * p + 1, each=2 * p),)
    t = u * (p - 1)
    reason = "(st)^ω·s·(st)^ω = (st)^ω fails, with a word u = s that counts"
    return make_pair(dfa, counter.state, left, right, reason=reason, s=u, t=t)


def _da_pair(dfa: DFA, monoid: TransitionMonoid, s: int, t: int) -> PumpedPair:
    idempotent = monoid.product(s, t)
    changed = monoid.product(monoid.product(idempotent, s), idempotent)
    before, after = monoid.elements[idempotent], monoid.elements[changed]
    state = next(q for q in range(dfa.num_states) if before[q] != after[q])
    words = {"s": monoid.word(s), "t": monoid.word(t)}
    both = pumped(words["s"] + words["t"])
    right = (both, pumped(words["s"], each=0), both)
    reason = "(st)^ω·s·(st)^ω = (st)^ω fails"
    return make_pair(dfa, state, (both,), right, reason=reason, **words)
