"""The tasks, one file a family; importing this package registers them."""

from statespan.tasks.definitions import (  # noqa: F401
    associative_recall,
    automata,
    bounded_grammar,
    copying,
    dynamic_smoothness,
    linear_functions,
    word_problem,
)

__all__: list[str] = []
