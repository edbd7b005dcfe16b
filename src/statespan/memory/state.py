"""Decoding with span-expanded attention: a state that takes tokens as they come."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statespan.errors import ConfigError, InputError
from statespan.memory.choices import Choice
from statespan.memory.protocol import Attention
from statespan.memory.span import SpanAttention
from statespan.memory.span_attention import span_attention
from statespan.memory.state_compact import Compact
from statespan.memory.state_config import decoded_as
from statespan.memory.state_inputs import check_tokens, without_backward
from statespan.memory.state_pass import Pass
from statespan.memory.state_records import ChoiceRecord
from statespan.memory.state_rows import Count, RowBuffer, agreed, largest

__all__ = ["SpanState"]


@final
class SpanState:
    """What attention remembers of the tokens so far, so that it can take further ones.

    The rows that `extend` returns are those of one whole pass over all tokens that were given, in
    whatever pieces they came. The cost of a token does not grow with the context, but for the
    scores of the summaries where a decision falls due. Padding is not kept.

    Gradients flow through the first call. Later ones work where gradients are on, but a backward
    pass through what they return is an error: it would miss the tokens before.

    Args:
        config: a `SpanAttention`, or `FullAttention` or `SlidingAttention`.
        layer: index of the layer, and `step` that of the training step, of which chunk sizes and
            chance are drawn.
        offload: the device that keeps the keys and values of blocks; only those of the last tokens
            and of retrieved blocks are then on the device of the model. None keeps all of them
            there.
        record: whether to keep what is retrieved, for `choices`; `recording` changes that.

    Raises:
        ConfigError: a config that has no decoding.

    Example:
        >>> state = SpanState(SpanAttention(chunk=64, selection="running"))
        >>> prompt, token = torch.ones(1, 2, 100, 8), torch.ones(1, 2, 1, 8)
        >>> state.extend(prompt, prompt, prompt).shape, state.extend(token, token, token).shape
        (torch.Size([1, 2, 100, 8]), torch.Size([1, 2, 1, 8]))
        >>> state.length
        101
    """

    def __init__(
        self,
        config: Attention,
        *,
        layer: int = 0,
        step: int = 0,
        offload: torch.device | str | None = None,
        record: bool = False,
    ) -> None:
        self.config: Final = config
        self.recording = record
        self._layer, self._step = layer, step
        self._selector = decoded_as(config).selector(step=step, layer=layer)
        self._offload = None if offload is None else torch.device(offload)
        self.reset()

    def reset(self) -> None:
        """Forget all tokens."""
        self._length = 0
        self._rows = 0
        self._real: RowBuffer | None = None
        self._pass: Pass | None = None
        self._ended = False
        self._record = ChoiceRecord(self._selector)
        self._heads = 0

    @property
    def length(self) -> int:
        """How many tokens were given, with their padding."""
        return self._length

    def extend(
        self,
        query: Float[Tensor, "batch head token dim"],
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        *,
        scaling: float | None = None,
        real: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch head token value_dim"]:
        """Append tokens and return their attention.

        Args:
            query: as `span_attention` takes them, as are `key` and `value`.
            key: with a head for one or more of the queries'.
            value: with the heads of the keys.
            scaling: what products of queries and keys are multiplied by; None is D**-0.5.
            real: False for padding, which is not kept and whose output is 0.

        Raises:
            InputError: shapes that do not fit each other, or the tokens so far.
            ConfigError: there are tokens, and the selection of blocks is not causal.
        """
        check_tokens(query, key, value, real)
        if self._length and len(query) != self._rows:
            raise InputError(f"query must have the {self._rows} rows so far, got {len(query)}.")
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        real = None if real is None or bool(real.all()) else real
        compact = Compact(real, query.shape[2])
        if self._pass is not None:
            self._pass.check(query, key, value)
            output = self._continued(query, key, value, compact, scaling)
        elif self._ended:
            raise ConfigError(self._refusal())
        else:
            output = self._begun(query, key, value, compact, scaling, real)
        self._heads = query.shape[1]
        self._note(real, query.shape[0], query.shape[2])
        return output

    def select(self, rows: Int[Tensor, " chosen"]) -> None:
        """Keep some rows of the batch, in the order given; one may be kept more than once.

        Raises:
            InputError: a row that there is not.
        """
        if self._length == 0:
            return
        if torch.equal(rows.cpu(), torch.arange(self._rows)):
            return
        if rows.ndim != 1 or bool(((rows < 0) | (rows >= self._rows)).any()):
            raise InputError(f"rows must be from 0 to {self._rows - 1}, got {rows.tolist()}.")
        if self._real is not None:
            self._real.select(rows, self._length)
        if self._pass is not None:
            self._pass.select(rows)
        self._record.select(rows)
        self._rows = len(rows)

    def reorder(self, rows: Int[Tensor, " batch"]) -> None:
        """Put the rows of the batch in another order, as beam search does.

        Raises:
            InputError: a row that there is not, or not as many as there are.
        """
        if self._length and len(rows) != self._rows:
            raise InputError(f"rows must be {self._rows}, as many as there are, got {len(rows)}.")
        self.select(rows)

    def repeat(self, times: int) -> None:
        """Repeat each row of the batch, the copies side by side."""
        self.select(torch.arange(self._rows).repeat_interleave(times))

    def crop(self, length: int) -> None:
        """Forget all tokens but the first `length`, which count padding.

        The last 128 tokens, or the last block if that is longer, can always be taken back. More of
        them can be where nothing is needed that is gone by then: the queries of the last tokens,
        which `"previous"` and `"running"` and the attention summary use; and, without retrieval,
        keys and values.

        Raises:
            InputError: a length that there is not, or one of which too little is kept. Nothing is
                forgotten then.
        """
        if not 0 <= length <= self._length:
            raise InputError(f"length must be from 0 to {self._length}, got {length}.")
        end = length if self._real is None else self._real_before(length)
        if largest(end) == 0:
            self._pass, self._ended = None, False
        if length == 0:
            self._real = None
        if self._pass is not None and not self._pass.crop(end):
            raise InputError(
                f"length = {length} is too far back: of the {self._length} tokens, too little is "
                f"kept of those before {length}. Take fewer tokens back, or reset and begin again."
            )
        self._length = length

    def choices(self, *, begin: int = 0) -> list[Choice]:
        """Return what decisions retrieved while `recording` was on, as `chosen_blocks` does.

        Places are those among all tokens that were given, with their padding; what queries before
        `begin` retrieved is left out.
        """
        every = torch.arange(self._length)
        places = [every] * self._rows
        if self._real is not None:
            places = [every[real] for real in self._real.data[:, 0, : self._length, 0]]
        listed = self._record.listed(places, num_heads=self._heads)
        return [
            replace(choice, first=max(choice.first, begin))
            for choice in listed
            if choice.last >= begin
        ]

    def memory(self) -> dict[torch.device, int]:
        """Return the bytes of the buffers on each device, with the room that they have left."""
        sizes: dict[torch.device, int] = {}
        buffers = [] if self._pass is None else self._pass.tensors()
        for tensor in buffers if self._real is None else [*buffers, self._real.data]:
            size = tensor.numel() * tensor.element_size()
            sizes[tensor.device] = sizes.get(tensor.device, 0) + size
        return sizes

    def _begun(
        self,
        query: Float[Tensor, "batch head token dim"],
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        compact: Compact,
        scaling: float,
        real: Bool[Tensor, "batch token"] | None,
    ) -> Float[Tensor, "batch head token value_dim"]:
        output = span_attention(
            query,
            key,
            value,
            self.config,
            scaling=scaling,
            documents=None if real is None else real.long() - 1,
            step=self._step,
            layer=self._layer,
        )
        if largest(compact.count) == 0 or query.shape[0] == 0:
            return output
        with torch.no_grad():
            queries, keys, values = (compact.take(t.detach()) for t in (query, key, value))
            if self._records:
                self._record.begin(queries, keys, values, compact.count, scaling=scaling)
            self._ended = not self.config.causal
            if self.config.causal:
                self._pass = Pass(
                    queries,
                    keys,
                    values,
                    compact.count,
                    selector=self._selector,
                    scaling=scaling,
                    offload=self._offload,
                )
        return output

    def _continued(
        self,
        query: Float[Tensor, "batch head token dim"],
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        compact: Compact,
        scaling: float,
    ) -> Float[Tensor, "batch head token value_dim"]:
        assert self._pass is not None
        exact = torch.autocast(query.device.type, enabled=False)
        with torch.no_grad(), exact:
            queries, keys, values = (compact.take(t) for t in (query, key, value))
            output = self._pass.extend(
                queries,
                keys,
                values,
                compact.count,
                scaling=scaling,
                record=self._record if self._records else None,
            )
            output = compact.put_back(output)
        return without_backward(output, query, key, value)

    def _note(self, real: Bool[Tensor, "batch token"] | None, rows: int, num_tokens: int) -> None:
        """Keep which tokens are padding, for `crop`, from the first padding on."""
        if real is not None and self._real is None and rows:
            self._real = RowBuffer(rows, 1, 1, dtype=torch.bool, device=torch.device("cpu"))
            self._real.write(0, torch.ones(rows, 1, self._length, 1, dtype=torch.bool))
        if self._real is not None:
            marks = torch.ones(rows, num_tokens, dtype=torch.bool) if real is None else real
            self._real.write(self._length, marks[:, None, :, None])
        self._rows = rows
        self._length += num_tokens

    @property
    def _records(self) -> bool:
        return self.recording and isinstance(self.config, SpanAttention)

    def _real_before(self, length: int) -> Count:
        assert self._real is not None
        return agreed(self._real.data[:, 0, :length, 0].sum(dim=1))

    def _refusal(self) -> str:
        nearest = getattr(self.config, "nearest_causal", "previous")
        return (
            "the blocks that a chunk retrieves depend on later tokens of the chunk with "
            'selection = "chunk", so that a pass cannot be continued. Use selection = '
            f'"{nearest}", or give all tokens in one call.'
        )
