"""What the operations mean: slow, obvious, one time step after the other, in float64."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "reference_causal_convolution",
    "reference_selective_scan",
    "reference_state_space_dual",
]


def reference_selective_scan(
    inputs: Float[Tensor, "batch length channel"],
    delta: Float[Tensor, "batch length channel"],
    transition: Float[Tensor, "channel state"],
    write: Float[Tensor, "batch length state"],
    read: Float[Tensor, "batch length state"],
    initial_state: Float[Tensor, "batch channel state"] | None = None,
) -> tuple[Float[Tensor, "batch length channel"], Float[Tensor, "batch channel state"]]:
    """Return the outputs and the last state of Mamba's recurrence (Gu and Dao 2023, algorithm 2).

    h_t = exp(Δ_t A) ∘ h_{t-1} + Δ_t x_t B_t and y_t = h_t C_t, with A `transition`, B `write` and
    C `read`.
    """
    inputs, delta, transition, write, read = (
        tensor.double() for tensor in (inputs, delta, transition, write, read)
    )
    batch, length, channel = inputs.shape
    state = inputs.new_zeros(batch, channel, transition.shape[1])
    if initial_state is not None:
        state = initial_state.double()
    outputs = []
    for t in range(length):
        decay = torch.exp(delta[:, t, :, None] * transition)
        state = decay * state + (delta[:, t] * inputs[:, t])[..., None] * write[:, t, None, :]
        outputs.append((state * read[:, t, None, :]).sum(-1))
    return torch.stack(outputs, dim=1), state


def reference_state_space_dual(
    inputs: Float[Tensor, "batch length head dim"],
    delta: Float[Tensor, "batch length head"],
    transition: Float[Tensor, " head"],
    write: Float[Tensor, "batch length state"],
    read: Float[Tensor, "batch length state"],
    initial_state: Float[Tensor, "batch head dim state"] | None = None,
) -> tuple[Float[Tensor, "batch length head dim"], Float[Tensor, "batch head dim state"]]:
    """Return the outputs and the last state of Mamba-2's recurrence (Dao and Gu 2024, eq. 1).

    As Mamba's, with one decay a head: h_t = exp(Δ_t a) h_{t-1} + Δ_t x_t B_tᵀ and y_t = h_t C_t.
    """
    inputs, delta, transition, write, read = (
        tensor.double() for tensor in (inputs, delta, transition, write, read)
    )
    batch, length, head, dim = inputs.shape
    state = inputs.new_zeros(batch, head, dim, write.shape[-1])
    if initial_state is not None:
        state = initial_state.double()
    outputs = []
    for t in range(length):
        decay = torch.exp(delta[:, t] * transition)[..., None, None]
        drive = (delta[:, t, :, None] * inputs[:, t])[..., None] * write[:, t, None, None, :]
        state = decay * state + drive
        outputs.append((state * read[:, t, None, None, :]).sum(-1))
    return torch.stack(outputs, dim=1), state


def reference_causal_convolution(
    inputs: Float[Tensor, "batch length channel"],
    weight: Float[Tensor, "channel width"],
    bias: Float[Tensor, " channel"],
    initial_state: Float[Tensor, "batch past channel"] | None = None,
) -> tuple[Float[Tensor, "batch length channel"], Float[Tensor, "batch past channel"]]:
    """Return the causal depthwise convolution, and the last width - 1 inputs.

    y_t = bias + Σ_k weight[:, k] x_{t - width + 1 + k}; inputs before the first are zero.
    """
    inputs, weight, bias = (tensor.double() for tensor in (inputs, weight, bias))
    width = weight.shape[1]
    past = inputs.new_zeros(inputs.shape[0], width - 1, inputs.shape[2])
    if initial_state is not None:
        past = initial_state.double()
    padded = torch.cat((past, inputs), dim=1)
    outputs = [
        bias + sum(weight[:, k] * padded[:, t + k] for k in range(width))
        for t in range(inputs.shape[1])
    ]
    return torch.stack(outputs, dim=1), padded[:, padded.shape[1] - width + 1 :]
