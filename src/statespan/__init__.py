"""statespan tells what a sequence model's state can hold, and makes it hold more."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statespan import (
        algebra,
        compiler,
        errors,
        evaluation,
        jobs,
        languages,
        models,
        pretrained,
        records,
        registry,
        report,
        training,
    )
    from statespan.algebra import judge
    from statespan.compiler import certify, compile  # noqa: A004
    from statespan.languages import END, Language, language
    from statespan.pretrained import accelerate, decelerate

__all__ = [
    "END",
    "Language",
    "accelerate",
    "algebra",
    "certify",
    "compile",
    "compiler",
    "decelerate",
    "errors",
    "evaluation",
    "jobs",
    "judge",
    "language",
    "languages",
    "models",
    "pretrained",
    "records",
    "registry",
    "report",
    "training",
]

_HOMES = {
    "END": "languages",
    "Language": "languages",
    "accelerate": "pretrained",
    "certify": "compiler",
    "compile": "compiler",
    "decelerate": "pretrained",
    "judge": "algebra",
    "language": "languages",
}


def __getattr__(name: str) -> Any:
    """Load a public name, or a sub-package, on first use, so that importing this is light."""
    if name not in __all__:
        raise AttributeError(f"module 'statespan' has no attribute {name!r}")
    if name in _HOMES:
        value = getattr(import_module(f"statespan.{_HOMES[name]}"), name)
    else:
        value = import_module(f"statespan.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
