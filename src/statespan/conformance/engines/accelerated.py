"""`transformers` with this package's operations: `statespan.accelerate`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import final

from transformers import PreTrainedModel

from statespan.conformance.engines.transformers import TransformersEngine, TransformersRunner
from statespan.conformance.protocol import ENGINES
from statespan.pretrained import accelerate

__all__ = ["AcceleratedEngine"]


@final
class _Runner(TransformersRunner):
    """An accelerated model, which keeps packed documents apart by their numbers."""

    packs_by_numbers = True


@final
@ENGINES.register("accelerated")
class AcceleratedEngine(TransformersEngine):
    """`transformers` on the CPU, with its mixers on the operations of this package."""

    name = "accelerated"
    disclaimed = MappingProxyType({})
    runner = _Runner

    @property
    def version(self) -> str:  # type: ignore[override]
        """The releases of this package, `transformers` and torch."""
        return f"statespan {version('statespan')}, transformers {super().version}"

    def load_model(self, folder: Path) -> PreTrainedModel:
        model = super().load_model(folder)
        accelerate(model)
        return model
