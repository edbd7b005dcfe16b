"""What every target is: something exact in, weights out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from statespan.compiler.weights import Weights
from statespan.languages.automaton import DFA
from statespan.registry import Registry

__all__ = ["TARGETS", "Target"]


@final
@dataclass(frozen=True, slots=True)
class Target:
    """An architecture that the compiler can write weights for.

    Attributes:
        name: what a user says.
        family: an architecture of the verdict (`statespan.judge`) that it is.
        from_cascade: the weights of a cascade; takes `robust` where `robust` is true.
        from_closed_form: the weights of a closed form, None where there are none for it.
        from_automaton: the weights of an automaton of a special kind, None if it is not.
        flips: whether components may be flipped.
        swaps: whether symbols may swap two values of a component.
        robust: whether weights that survive noise can be asked for.
        dtypes: the precisions that the weights can have.
    """

    name: str
    family: str
    from_cascade: Callable[..., Weights]
    from_closed_form: Callable[[Any], Weights | None] = lambda _: None
    from_automaton: Callable[[DFA], Weights | None] = lambda _: None
    flips: bool = False
    swaps: bool = False
    robust: bool = False
    dtypes: tuple[str, ...] = ("float32", "bfloat16")


TARGETS: Registry[Target] = Registry("target", "targets")
"""Name -> target."""
