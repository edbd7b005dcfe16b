"""One token through a whole Mamba layer, for decoding."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from statespan.native import call, is_native

__all__ = ["has_step_kernel", "mamba_step"]

MOST_ROWS = 8
"""With more rows, products of matrices share the reading of the weights."""


def has_step_kernel(*tensors: Tensor | None, rows: int) -> bool:
    """Return whether `mamba_step` takes these tensors: few rows, float32, CPU, without gaps."""
    return (
        0 < rows <= MOST_ROWS
        and is_native(*tensors)
        and all(tensor is None or tensor.is_contiguous() for tensor in tensors)
    )


def mamba_step(
    hidden: Float[Tensor, "batch width"],
    in_projection: Float[Tensor, "channels2 width"],
    in_bias: Float[Tensor, " channels2"] | None,
    convolution: Float[Tensor, "channel window"],
    convolution_bias: Float[Tensor, " channel"] | None,
    x_projection: Float[Tensor, "selected channel"],
    delta_projection: Float[Tensor, "channel rank"],
    delta_bias: Float[Tensor, " channel"],
    transition_log: Float[Tensor, "channel state"],
    skip: Float[Tensor, " channel"],
    out_projection: Float[Tensor, "width channel"],
    out_bias: Float[Tensor, " width"] | None,
    windows: Float[Tensor, "batch channel window"],
    states: Float[Tensor, "batch channel state"],
) -> Float[Tensor, "batch width"]:
    """Return a Mamba layer's outputs at one token; `windows` and `states` move on in place.

    A window holds the last inputs of a channel, the oldest first, as the caches of `transformers`
    do. Without gradients, and for tensors of `has_step_kernel` only: nothing else is checked.
    """
    outputs = hidden.new_empty(hidden.shape)
    batch, width = hidden.shape
    channel, state = transition_log.shape
    call(
        "mamba_step", hidden, in_projection, in_bias, convolution, convolution_bias, x_projection,
        delta_projection, delta_bias, transition_log, skip, out_projection, out_bias, windows,
        states, outputs, batch, width, channel, delta_projection.shape[1], state,
        convolution.shape[1],
    )  # fmt: skip
    return outputs
