"""Span-expanded attention (SE-Attn) as a value: what a token may look back at, who chooses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from typing import Any, Final, Literal, get_args

from jaxtyping import Bool, Float
from torch import Tensor

from statespan.errors import ConfigError, suggest
from statespan.memory.attend import causal_attention
from statespan.memory.choosing import choose_blocks
from statespan.memory.layout import Layout
from statespan.memory.merged import merged_attention
from statespan.memory.plan import Plan, Shape
from statespan.memory.rules import RULES
from statespan.memory.rules.all_blocks import AllBlocks
from statespan.memory.selection import Selector
from statespan.memory.sizes import check_whole
from statespan.memory.summaries import SUMMARIES
from statespan.memory.visibility import visible_keys

__all__ = ["RECALL", "SELECTIONS", "SHARES", "Selection", "Share", "SpanAttention"]

Selection = Literal["chunk", "previous", "running", "token"]
Share = Literal["head", "kv_group", "layer"]
SELECTIONS: Final[tuple[str, ...]] = get_args(Selection)
SHARES: Final[tuple[str, ...]] = get_args(Share)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanAttention:
    """Attention to the own chunk and to a few blocks of the past (Nunez et al. 2024, section 3).

    A document is cut into chunks of `chunk` tokens and into blocks of `block` tokens. A token sees
    its own chunk up to itself and, of the blocks before its chunk, those that were chosen for it.
    With several chunk sizes, one is drawn for each layer and step (the paper's regularizer).

    `selection` says whose queries choose: those of the whole `"chunk"` (the paper's; a token's
    retrieval then depends on later tokens of its chunk, so it is not causal), those of the
    `"previous"` chunk, the chunk's `"running"` sum of queries, renewed at each block, or the
    `"token"` alone. `share` says which heads choose together: none (`"head"`), the query heads of
    one key-value head (`"kv_group"`), or all (`"layer"`).

    `local` tokens up to and with itself are seen by each token whatever its place in the chunk, and
    so are the first `keep_first` blocks of its document; both come beside the `top_k` blocks.

    Raises:
        ConfigError: a size out of its range, a block that does not divide a chunk.
        UnknownNameError: a rule or summary that is not registered.

    Example:
        >>> SpanAttention(chunk=2048, selection="token").causal
        True
    """

    chunk: int | tuple[int, ...] = (2048, 4096)
    block: int = 32
    top_k: int = 8
    selection: Selection = "chunk"
    rule: str = "top_k"
    summary: str = "attention"
    share: Share = "head"
    local: int = 0
    keep_first: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        sizes: object = self.chunk
        if isinstance(sizes, list):  # as a config file has it
            object.__setattr__(self, "chunk", tuple(sizes))
        for name in ("block", "top_k", "local", "keep_first", "seed"):
            check_whole(name, getattr(self, name), least=1 if name == "block" else 0)
        if not self.chunks:
            raise ConfigError("chunk must hold at least one size, got ().")
        for chunk in self.chunks:
            check_whole("chunk", chunk, least=1)
            if chunk % self.block:
                raise ConfigError(
                    f"block must divide chunk, got block = {self.block} and chunk = {chunk} "
                    f"(remainder {chunk % self.block})."
                )
        _check_choice("selection", self.selection, SELECTIONS)
        _check_choice("share", self.share, SHARES)
        if self.top_k == 0:
            object.__setattr__(self, "rule", "none")
        for name in ("rule", "summary"):
            if not isinstance(value := getattr(self, name), str):
                raise ConfigError(f"{name} must be a name, got {value!r}.")
        RULES.get(self.rule)
        SUMMARIES.get(self.summary)

    @property
    def chunks(self) -> tuple[int, ...]:
        """The sizes that a chunk may have."""
        return self.chunk if isinstance(self.chunk, tuple) else (self.chunk,)

    @property
    def causal(self) -> bool:
        """Whether no output depends on a later token, by way of a choice of blocks either."""
        return self.selection != "chunk" or not RULES.get(self.rule).reads_scores

    @property
    def nearest_causal(self) -> str:
        """The causal selection that is most like `selection`: itself, or that by previous chunk."""
        return self.selection if self.causal else "previous"

    def chunk_size(self, *, step: int, layer: int) -> int:
        """Return the chunk size of one layer in one step: drawn anew from the seed if several.

        It is a function of (seed, step, layer), so that a recomputation sees what was seen before.
        """
        name = f"{self.seed} {step} {layer}".encode()
        draw = int.from_bytes(blake2b(name, digest_size=8).digest(), "big")
        return self.chunks[draw % len(self.chunks)]

    def selector(self, *, step: int = 0, layer: int = 0) -> Selector:
        """Return how one layer cuts and chooses in one step."""
        chunk = self.chunk_size(step=step, layer=layer)
        stride = {"running": self.block, "token": 1}.get(self.selection, chunk)
        return Selector(
            layout=Layout(
                chunk=chunk,
                block=self.block,
                stride=stride,
                keep_first=self.keep_first,
                local=self.local,
            ),
            selection=self.selection,
            rule=RULES.get(self.rule),
            summary=SUMMARIES.get(self.summary),
            share=self.share,
            top_k=self.top_k,
            seed=self.seed,
            step=step,
            layer=layer,
        )

    def attend(
        self,
        query: Float[Tensor, "batch head length dim"],
        key: Float[Tensor, "batch kv_head length dim"],
        value: Float[Tensor, "batch kv_head length value_dim"],
        *,
        scaling: float,
        step: int = 0,
        layer: int = 0,
    ) -> Float[Tensor, "batch head length value_dim"]:
        """Return the attention; each row is a document without padding."""
        selector = self.selector(step=step, layer=layer)
        if query.shape[2] <= selector.layout.chunk or isinstance(selector.rule, AllBlocks):
            return causal_attention(query, key, value, scaling=scaling)
        blocks = choose_blocks(query, key, value, selector, scaling=scaling)
        plan = Plan(selector.layout, Shape.of(query, key, value), blocks)
        return merged_attention(query, key, value, plan, scaling=scaling)

    def visible(
        self,
        query: Float[Tensor, "head length dim"],
        key: Float[Tensor, "kv_head length dim"],
        value: Float[Tensor, "kv_head length value_dim"],
        *,
        scaling: float,
        step: int = 0,
        layer: int = 0,
    ) -> Bool[Tensor, "head length length"]:
        """Return which query of one document sees which key."""
        selector = self.selector(step=step, layer=layer)
        return visible_keys(query, key, value, selector, scaling=scaling)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for a config file."""
        plain = asdict(self)
        return {**plain, "chunk": list(self.chunk)} if isinstance(self.chunk, tuple) else plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SpanAttention:
        """Return the value that `to_dict` wrote.

        Raises:
            ConfigError: a key that is no field.
        """
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise ConfigError(f"SpanAttention has no field {name!r}. {suggest(name, known)}")
        return cls(**values)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


RECALL: Final = SpanAttention(
    chunk=2048, block=16, top_k=15, selection="token", summary="bound", keep_first=1
)
"""What is read with where nothing else is said: causal, and made to recall single tokens.

Beside its chunk, each token reads 256 tokens: the first block, and those that it chooses by itself,
block by block, by the largest logit that a key of the block can have.
`experiments/expansion_span/causal_rules.toml` compares it with other causal choices, and
`causal_blocks.toml` with finer blocks, which recall more and take longer to search.
"""
