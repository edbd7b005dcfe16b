"""`transformers` with span-expanded attention: `statespan.enable`."""

from __future__ import annotations

from importlib.metadata import version
from typing import final

from statespan.compiler.folder import load_model
from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.engines.transformers import TransformersEngine, TransformersRunner
from statespan.conformance.protocol import ENGINES, Runner
from statespan.errors import UnsupportedError
from statespan.pretrained import attention_setting, enable

__all__ = ["ExtendedEngine"]


@final
@ENGINES.register("extended")
class ExtendedEngine(TransformersEngine):
    """`transformers` on the CPU, attending as the config of the checkpoint says."""

    name = "extended"

    @property
    def version(self) -> str:  # type: ignore[override]
        """The releases of this package, `transformers` and torch."""
        return f"statespan {version('statespan')}, transformers {super().version}"

    def load(self, checkpoint: Checkpoint) -> Runner:
        model = load_model(checkpoint.folder)
        if attention_setting(model).config is None:
            raise UnsupportedError("the checkpoint's config says nothing of another attention.")
        enable(model)
        return TransformersRunner(model)
