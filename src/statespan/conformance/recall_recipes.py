"""The recall checkpoints of the kit: as they are, and with every causal choice of blocks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from statespan.conformance.recall_checkpoint import RecallCheckpoint, make_recall_checkpoint
from statespan.conformance.recipes import RECIPES, Recipe
from statespan.memory import SpanAttention

__all__ = ["SPANS"]

SEEN: Final = SpanAttention(
    chunk=32, block=8, top_k=3, selection="token", summary="bound", local=2, keep_first=1
)
SPANS: Final[dict[str, SpanAttention]] = {
    **{rule: replace(SEEN, rule=rule) for rule in ("all", "none", "random", "recency")},
    **{
        f"{selection}-{summary}": replace(SEEN, selection=selection, summary=summary)
        for selection in ("previous", "running", "token")
        for summary in ("bound", "key")
    },
}
"""Name -> attention: the rules that read no scores, and the best blocks by each causal choice."""


def _write(folder: Path, *, dtype: str, attention: SpanAttention | None = None) -> None:
    make_recall_checkpoint(folder, dtype=dtype, attention=attention)


for _short, _dtype in (("f32", "float32"), ("bf16", "bfloat16")):
    _recipe = Recipe(f"recall-llama-{_short}", partial(_write, dtype=_dtype), RecallCheckpoint)
    RECIPES.add(_recipe.name, _recipe)
    for _name, _attention in SPANS.items():
        _recipe = Recipe(
            f"recall-span-{_name}-{_short}",
            partial(_write, dtype=_dtype, attention=_attention),
            RecallCheckpoint,
            thorough=_dtype == "bfloat16" and _name != "token-bound",
            engines=("extended",),
        )
        RECIPES.add(_recipe.name, _recipe)
