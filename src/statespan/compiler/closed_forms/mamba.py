"""The weights of a closed form for Mamba."""

from __future__ import annotations

from statespan.compiler.closed_forms.bounded_dyck import bounded_dyck_weights
from statespan.compiler.closed_forms.closed_form import BoundedDyck, ClosedForm, FlipFlop
from statespan.compiler.closed_forms.counter_language import CounterLanguage
from statespan.compiler.closed_forms.counters import counter_weights
from statespan.compiler.closed_forms.flip_flop import flip_flop_weights
from statespan.compiler.weights import Weights

__all__ = ["mamba_weights"]


def mamba_weights(form: ClosedForm) -> Weights:
    """Return the weights of `form` for `transformers.MambaForCausalLM`, and for our Mamba.

    One block for the flip-flop and two for the others. Counters are right on all strings, the
    other two after every prefix of a word.

    Raises:
        InputError: it is too deep, or its counters cannot be held in one block.
    """
    match form:
        case FlipFlop():
            return flip_flop_weights(form)
        case BoundedDyck():
            return bounded_dyck_weights(form)
        case CounterLanguage():
            return counter_weights(form)
