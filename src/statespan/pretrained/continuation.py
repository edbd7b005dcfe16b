"""What one call of a mixer continues, and what it leaves for the next: the caches' side of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad, silu

from statespan.models.ops import causal_convolution
from statespan.models.ops.checks import computing_dtype

__all__ = ["Continuation", "RecurrentCache"]


class RecurrentCache(Protocol):
    """The part of a cache of `transformers` that mixers use."""

    def get_conv_state(self, layer_idx: int) -> Tensor | None:
        """Return the last inputs, [batch, channel, time], of a layer; none before the first."""

    def get_recurrent_state(self, layer_idx: int) -> Tensor | None:
        """Return the recurrent state of a layer; none before its first token."""

    def update_conv_state(
        self, conv_states: Tensor, layer_idx: int, *, conv_kernel_size: int
    ) -> Tensor:
        """Add inputs to those of a layer; return all of them, the old ones first."""

    def update_recurrent_state(self, recurrent_states: Tensor, layer_idx: int) -> Tensor:
        """Overwrite the recurrent state of a layer."""

    def is_recording_past(self, layer_idx: int) -> bool:
        """Return whether a layer keeps all inputs, to be cropped later."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """One call of a mixer, as a piece of longer sequences.

    Attributes:
        documents: the number of each token's document, negative for padding; none if the call is
            one document without padding.
        cache: what earlier calls left, and where this one leaves its own; none to start from zero
            and leave nothing.
        layer: the layer's place in the cache.
    """

    documents: Int[Tensor, "batch length"] | None
    cache: RecurrentCache | None
    layer: int

    def state(self) -> Tensor | None:
        """Return the recurrent state that the call starts from; none stands for zero."""
        state = None if self.cache is None else self.cache.get_recurrent_state(self.layer)
        # The cache is overwritten in place, and a backward pass needs what was there.
        return state.clone() if state is not None and torch.is_grad_enabled() else state

    def step_window(self, width: int) -> Tensor | None:
        """Return the cache's own window of the last inputs, [batch, channel, width], if it is so.

        None if there is no cache, if it keeps all inputs, or if the call is not one document.
        """
        if self.cache is None or self.documents is not None:
            return None
        window = self.cache.get_conv_state(self.layer)
        fits = window is not None and window.shape[2] == width
        return window if fits and not self.cache.is_recording_past(self.layer) else None

    def leave_state(self, state: Tensor) -> None:
        """Store the recurrent state after the call's last token."""
        if self.cache is not None:
            self.cache.update_recurrent_state(state.contiguous(), self.layer)

    def convolve(
        self, mixer: Any, inputs: Float[Tensor, "batch length channel"]
    ) -> Float[Tensor, "batch length channel"]:
        """Return the activation of the mixer's convolution of `inputs` and of what came before."""
        convolution, width = mixer.conv1d, mixer.conv_kernel_size
        is_silu = mixer.activation in {"silu", "swish"}
        weight, bias = convolution.weight[:, 0], convolution.bias
        if self.cache is not None and self.documents is None and inputs.shape[1] == 1:
            outputs = _convolve_last(self._leave_inputs(inputs, width), weight, bias)
            return (silu if is_silu else mixer.act)(outputs)
        outputs, window = causal_convolution(
            inputs,
            weight,
            bias,
            self._window(width - 1),
            activation="silu" if is_silu else None,
            documents=self.documents,
        )
        if self.cache is not None:
            self._leave_inputs(self._recent(self.cache, inputs, window, width), width)
        return outputs if is_silu else mixer.act(outputs)

    def _window(self, past: int) -> Tensor | None:
        window = None if self.cache is None else self.cache.get_conv_state(self.layer)
        if window is None:
            return None
        # A cache that records its past holds more than the convolution reads, or less.
        window = pad(window, (past - window.shape[2], 0))
        return window.transpose(1, 2).clone(memory_format=torch.contiguous_format)

    def _recent(self, cache: RecurrentCache, inputs: Tensor, window: Tensor, width: int) -> Tensor:
        """Return the inputs to be kept: the last `width`, or all if the cache records its past."""
        real = None if self.documents is None else (self.documents >= 0)[..., None]
        if cache.is_recording_past(self.layer):
            return inputs if real is None else inputs.where(real, 0)
        if real is None:
            return inputs[:, -width:]
        # Stock caches hold one input more than the next call reads.
        oldest = inputs.where(real, 0)[:, -width:][:, :1]
        missing = max(0, width - inputs.shape[1])
        return torch.cat((pad(oldest, (0, 0, missing, 0))[:, :1], window), dim=1)

    def _leave_inputs(self, inputs: Tensor, width: int) -> Tensor:
        """Store inputs; return [batch, channel, time], with those before them if there were any."""
        assert self.cache is not None, "there is nowhere to leave inputs"
        return self.cache.update_conv_state(
            inputs.transpose(1, 2), self.layer, conv_kernel_size=width
        )


def _convolve_last(
    past: Float[Tensor, "batch channel time"],
    weight: Float[Tensor, "channel width"],
    bias: Float[Tensor, " channel"] | None,
) -> Float[Tensor, "batch 1 channel"]:
    """Return the convolution at the last time alone, which is one product: the step of decoding."""
    window = past[..., -weight.shape[1] :]
    weight = weight[:, -window.shape[2] :]  # of a sequence that is still shorter than the window
    outputs = (window.to(computing_dtype(window)) * weight).sum(-1)
    outputs = outputs if bias is None else outputs + bias
    return outputs.to(past.dtype)[:, None]
