"""Languages whose weights can be written down without an automaton, and those weights."""

from statespan.compiler.closed_forms.bounded_dyck_cascade import bounded_dyck_cascade
from statespan.compiler.closed_forms.closed_form import (
    BoundedDyck,
    ClosedForm,
    FlipFlop,
    closed_form,
)
from statespan.compiler.closed_forms.counter_language import (
    Condition,
    Counter,
    CounterLanguage,
    boolean,
    equal_runs,
    shuffle,
)
from statespan.compiler.closed_forms.mamba import mamba_weights

__all__ = [
    "BoundedDyck",
    "ClosedForm",
    "Condition",
    "Counter",
    "CounterLanguage",
    "FlipFlop",
    "boolean",
    "bounded_dyck_cascade",
    "closed_form",
    "equal_runs",
    "mamba_weights",
    "shuffle",
]
