"""statespan tells what a sequence model's state can hold, and makes it hold more."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statespan import (
        adapters,
        algebra,
        compiler,
        conformance,
        errors,
        evaluation,
        jobs,
        languages,
        memory,
        models,
        pretrained,
        records,
        registry,
        report,
        tasks,
        training,
    )
    from statespan.adapters import adapt, audit, hylora, merge
    from statespan.algebra import judge
    from statespan.compiler import certify, compile  # noqa: A004
    from statespan.languages import END, Language, language
    from statespan.memory import SpanAttention
    from statespan.pretrained import (
        accelerate,
        attention,
        attention_setting,
        decelerate,
        disable,
        enable,
        watch,
    )

__all__ = [
    "END",
    "Language",
    "SpanAttention",
    "accelerate",
    "adapt",
    "adapters",
    "algebra",
    "attention",
    "attention_setting",
    "audit",
    "certify",
    "compile",
    "compiler",
    "conformance",
    "decelerate",
    "disable",
    "enable",
    "errors",
    "evaluation",
    "hylora",
    "jobs",
    "judge",
    "language",
    "languages",
    "memory",
    "merge",
    "models",
    "pretrained",
    "records",
    "registry",
    "report",
    "tasks",
    "training",
    "watch",
]

_HOMES = {
    "END": "languages",
    "Language": "languages",
    "SpanAttention": "memory",
    "accelerate": "pretrained",
    "adapt": "adapters",
    "attention": "pretrained",
    "attention_setting": "pretrained",
    "audit": "adapters",
    "certify": "compiler",
    "compile": "compiler",
    "decelerate": "pretrained",
    "disable": "pretrained",
    "enable": "pretrained",
    "hylora": "adapters",
    "judge": "algebra",
    "language": "languages",
    "merge": "adapters",
    "watch": "pretrained",
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
