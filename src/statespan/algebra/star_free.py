"""Star-free expressions, recognized by their syntax."""

from __future__ import annotations

from statespan.languages.expression import (
    AnySymbol,
    Complement,
    Expression,
    Intersection,
    Repeat,
    Sequenced,
    Symbol,
    Union,
)

__all__ = ["is_star_free_expression"]


def is_star_free_expression(tree: Expression) -> bool:
    """Return whether `tree` uses no repetition without a bound, but of any symbol.

    Such an expression describes a star-free language: `.*` is the complement of the empty
    language, `.+` is `.` and then `.*`, and a bounded repetition is a union of products. The
    converse fails: `a*` describes a star-free language, and is no star-free expression. Whether a
    language has one is decided by `is_aperiodic`.

    Example:
        >>> from statespan.languages.expression import parse_expression
        >>> [is_star_free_expression(parse_expression(t)) for t in ("~(.*aa.*)", "(ab)*")]
        [True, False]
    """
    match tree:
        case Symbol() | AnySymbol():
            return True
        case Repeat(part, _, None):
            return isinstance(part, AnySymbol)
        case Complement(part) | Repeat(part):
            return is_star_free_expression(part)
        case Sequenced(parts) | Union(parts) | Intersection(parts):
            return all(map(is_star_free_expression, parts))
