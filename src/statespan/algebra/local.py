"""Classes that look at a bounded part of the word: definite, reverse definite, locally testable.

They are decided on the minimal automaton, by patterns of states that a common word fixes; each
pattern is the failure of an identity of the syntactic semigroup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from typing import TypeAlias

from statespan.algebra.graphs import strong_components
from statespan.algebra.witnesses import Factor, PumpedPair, make_pair, pumped
from statespan.algebra.words import access_word, distinguishing_word, steering_word
from statespan.errors import LimitError
from statespan.languages.automaton import DFA, minimize

__all__ = [
    "find_definite_violation",
    "find_locally_testable_violation",
    "find_reverse_definite_violation",
]

States: TypeAlias = tuple[int, ...]
PairReach: TypeAlias = Callable[[States, States], bool]

TUPLE_LIMIT = 4_000_000


def find_definite_violation(dfa: DFA) -> PumpedPair | None:
    """Return why membership does not depend on the last k symbols for any k; None if it does.

    The identity is s·x^ω = x^ω. It fails exactly if a nonempty word fixes two states of the
    minimal automaton (Perles, Rabin and Shamir 1963, "The theory of definite automata", IEEE Trans.
    Electronic Computers 12). O(n² k).

    Example:
        >>> from statespan.languages import Language
        >>> find_definite_violation(Language.from_expression("(a|b)*ab").dfa()) is None
        True
    """
    dfa = minimize(dfa)
    for p, q in _cyclic(dfa, 2):
        if p < q:
            return _join_pair(dfa, p, q, _steer(dfa, (p, q), (p, q)))
    return None


def _join_pair(dfa: DFA, p: int, q: int, u: tuple[str, ...]) -> PumpedPair:
    """Return the pair x·u^n·z, y·u^n·z, with x and y leading to `p` and `q`."""
    x, y = access_word(dfa, p), access_word(dfa, q)
    z = distinguishing_word(dfa, p, q)
    tail = (pumped(u), Factor(z))
    return PumpedPair(
        "x·uⁿ·z and y·uⁿ·z end alike, so s·u^ω = u^ω fails",
        (("x", x), ("y", y), ("u", u), ("z", z)),
        (Factor(x), *tail),
        (Factor(y), *tail),
    )


def find_reverse_definite_violation(dfa: DFA) -> PumpedPair | None:
    """Return why membership does not depend on the first k symbols for any k; None if it does.

    The identity is x^ω·s = x^ω. It fails exactly if the minimal automaton can leave a state that
    lies on a cycle (Ginzburg 1966, "About some properties of definite,
    reverse-definite and related automata", IEEE Trans. Electronic Computers 15). O(n k).
    """
    dfa = minimize(dfa)
    for (p,) in _cyclic(dfa, 1):
        for symbol, target in zip(dfa.alphabet, dfa.transitions[p], strict=True):
            if target != p:
                u, v = _steer(dfa, (p,), (p,)), (symbol,)
                reason = "x·uⁿ·z and x·uⁿ·v·z begin alike, so u^ω·v = u^ω fails"
                right = (pumped(u), pumped(v, each=0))
                return make_pair(dfa, p, (pumped(u),), right, reason=reason, u=u, v=v)
    return None


def find_locally_testable_violation(dfa: DFA) -> PumpedPair | None:
    """Return why membership does not depend on the factors of length k, and both ends, for any k.

    None if it does. The syntactic semigroup must be locally idempotent and commutative:
    e·s·e = e·s·e·s·e and e·s·e·t·e = e·t·e·s·e for all idempotents e (Brzozowski and Simon 1973,
    "Characterizations of locally testable events", Discrete Mathematics 4;
    McNaughton 1974, "Algebraic decision procedures for local testability", Math. Systems Theory
    8). On states fixed by a common nonempty word u this fails exactly if, for some q ≠ r:

    1. u fixes q and r, and words lead from q to r and back (two different elements of a local
       monoid are L-equivalent, as in a right zero band, or it holds a group); or
    2. u fixes p, q and r, and one word leads p to q and q to r (s acts unlike s·s); or
    3. u fixes p, q and r, a word leads (p, q, r) to (q, q, r) and a word to (r, q, r)
       (a left zero band).

    Compare Kim, McNaughton and McCloskey 1991, "A polynomial time algorithm for the local
    testability problem of deterministic finite automata", IEEE Trans. Computers 40.
    O(n³ k) for n states where 1 and 2 hold nowhere, and a search among triples for 3.
    """
    dfa = minimize(dfa)
    if (found := _two_way(dfa)) is not None:
        return found
    triples = sorted(states for states in _cyclic(dfa, 3) if len(set(states[1:])) == 2)
    reach = _pair_reach(dfa)
    return _not_idempotent(dfa, triples, reach) or _order_matters(dfa, triples, reach)


def _two_way(dfa: DFA) -> PumpedPair | None:
    k = len(dfa.alphabet)
    component = strong_components([q for row in dfa.transitions for q in row], k)
    for q, r in _cyclic(dfa, 2):
        if q >= r or component[q] != component[r]:
            continue
        u, s, t = _steer(dfa, (q, r), (q, r)), _steer(dfa, (q,), (r,)), _steer(dfa, (r,), (q,))
        left = (pumped(u), pumped(s, each=0), pumped(u), pumped(t, each=0), pumped(u))
        right = (*left, pumped(s, each=0), pumped(u))
        reason = "x·uⁿsuⁿtuⁿ·z and x·uⁿsuⁿtuⁿsuⁿ·z have the same long factors and the same ends"
        return make_pair(dfa, q, left, right, reason=reason, u=u, s=s, t=t)
    return None


def _not_idempotent(dfa: DFA, triples: list[States], reach: PairReach) -> PumpedPair | None:
    for p, q, r in triples:
        if not reach((p, q), (q, r)):
            continue
        u = _steer(dfa, (p, q, r), (p, q, r))
        s = _steer(dfa, (p, q), (q, r))
        once = (pumped(u), pumped(s, each=0), pumped(u))
        twice = (*once, pumped(s, each=0), pumped(u))
        reason = "x·uⁿsuⁿ·z and x·uⁿsuⁿsuⁿ·z have the same long factors and the same ends"
        return make_pair(dfa, p, once, twice, reason=reason, u=u, s=s)
    return None


def _order_matters(dfa: DFA, triples: list[States], reach: PairReach) -> PumpedPair | None:
    for p, q, r in triples:
        if q >= r or not (reach((p, r), (q, r)) and reach((p, q), (r, q))):
            continue
        s = steering_word(dfa, (p, q, r), (q, q, r))
        t = steering_word(dfa, (p, q, r), (r, q, r))
        if s is None or t is None:
            continue
        u = _steer(dfa, (p, q, r), (p, q, r))
        first = (pumped(u), pumped(s, each=0), pumped(u), pumped(t, each=0), pumped(u))
        second = (pumped(u), pumped(t, each=0), pumped(u), pumped(s, each=0), pumped(u))
        reason = "x·uⁿsuⁿtuⁿ·z and x·uⁿtuⁿsuⁿ·z have the same long factors and the same ends"
        return make_pair(dfa, p, first, second, reason=reason, u=u, s=s, t=t)
    return None


def _steer(dfa: DFA, sources: States, targets: States) -> tuple[str, ...]:
    word = steering_word(dfa, sources, targets, nonempty=True)
    assert word is not None
    return word


def _product_components(dfa: DFA, size: int) -> tuple[list[int], list[int]]:
    """Return the edges and strong components of the graph of tuples of `size` states.

    The tuple (q1, …, qm) is the node with the digits q1 … qm to the base n.
    """
    n, k = dfa.num_states, len(dfa.alphabet)
    if n**size > TUPLE_LIMIT:
        raise LimitError(
            f"the minimal automaton has {n} states, so {n**size:,} tuples of {size} states; "
            f"at most {TUPLE_LIMIT:,} are searched."
        )
    edges = [q for row in dfa.transitions for q in row]
    targets = edges
    for _ in range(size - 1):
        num_tuples = len(targets) // k
        targets = [
            targets[node * k + letter] * n + edges[state * k + letter]
            for node in range(num_tuples)
            for state in range(n)
            for letter in range(k)
        ]
    return targets, strong_components(targets, k)


def _cyclic(dfa: DFA, size: int) -> Iterator[States]:
    """Yield the tuples of `size` states that a common nonempty word fixes."""
    n, k = dfa.num_states, len(dfa.alphabet)
    targets, component = _product_components(dfa, size)
    population = Counter(component)
    for node, states in enumerate(product(range(n), repeat=size)):
        if population[component[node]] > 1 or node in targets[node * k : (node + 1) * k]:
            yield states


def _pair_reach(dfa: DFA) -> PairReach:
    """Return the test whether some word leads one pair of states to another."""
    n, k = dfa.num_states, len(dfa.alphabet)
    targets, component = _product_components(dfa, 2)
    below = [0] * (max(component) + 1)
    for node in sorted(range(n * n), key=component.__getitem__):
        below[component[node]] |= 1 << node
        for target in targets[node * k : (node + 1) * k]:
            below[component[node]] |= below[component[target]]

    def reaches(source: States, target: States) -> bool:
        mask = below[component[source[0] * n + source[1]]]
        return bool(mask >> (target[0] * n + target[1]) & 1)

    return reaches
