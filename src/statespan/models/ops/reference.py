"""What the operations mean: slow, obvious, one time step after the other, in float64."""

from __future__ import annotations

import torch
from jaxtyping import Float, Inexact, Int
from torch import Tensor

__all__ = [
    "reference_causal_convolution",
    "reference_diagonal_recurrence",
    "reference_gated_delta_rule",
    "reference_gated_linear_attention",
    "reference_gated_norm",
    "reference_linear",
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
    *,
    skip: Float[Tensor, " channel"] | None = None,
    gate: Float[Tensor, "batch length channel"] | None = None,
    delta_bias: Float[Tensor, " channel"] | None = None,
    softplus: bool = False,
) -> tuple[Float[Tensor, "batch length channel"], Float[Tensor, "batch channel state"]]:
    """Return the outputs and the last state of Mamba's recurrence (Gu and Dao 2023, algorithm 2).

    h_t = exp(Δ_t A) ∘ h_{t-1} + Δ_t x_t B_t and y_t = (h_t C_t + D ∘ x_t) ∘ silu(z_t), with A
    `transition`, B `write`, C `read`, D `skip`, z `gate`, and Δ `delta` + `delta_bias`, through
    softplus if `softplus`.
    """
    inputs, delta, transition, write, read = (
        tensor.double() for tensor in (inputs, delta, transition, write, read)
    )
    if delta_bias is not None:
        delta = delta + delta_bias.double()
    if softplus:
        delta = torch.nn.functional.softplus(delta)
    batch, _, channel = inputs.shape
    state = inputs.new_zeros(batch, channel, transition.shape[1])
    if initial_state is not None:
        state = initial_state.double()
    outputs = []
    # Unbound once: the gradient of an index would fill a whole tensor for each time.
    steps = zip(*(tensor.unbind(1) for tensor in (inputs, delta, write, read)), strict=True)
    for x, step, b, c in steps:
        state = torch.exp(step[..., None] * transition) * state
        state = state + (step * x)[..., None] * b[:, None, :]
        output = (state * c[:, None, :]).sum(-1)
        outputs.append(output if skip is None else output + skip.double() * x)
    together = torch.stack(outputs, dim=1) if outputs else inputs
    if gate is not None:
        together = together * torch.nn.functional.silu(gate.double())
    return together, state


def reference_state_space_dual(
    inputs: Float[Tensor, "batch length head dim"],
    delta: Float[Tensor, "batch length head"],
    transition: Float[Tensor, " head"],
    write: Float[Tensor, "batch length *group state"],
    read: Float[Tensor, "batch length *group state"],
    initial_state: Float[Tensor, "batch head dim state"] | None = None,
    *,
    skip: Float[Tensor, " head"] | None = None,
    delta_bias: Float[Tensor, " head"] | None = None,
    softplus: bool = False,
    delta_limits: tuple[float, float] | None = None,
    documents: Int[Tensor, "batch length"] | None = None,
) -> tuple[Float[Tensor, "batch length head dim"], Float[Tensor, "batch head dim state"]]:
    """Return the outputs and the last state of Mamba-2's recurrence (Dao and Gu 2024, eq. 1).

    As Mamba's, with one decay a head: h_t = exp(Δ_t a) h_{t-1} + Δ_t x_t B_tᵀ and
    y_t = h_t C_t + D x_t.
    """
    real, fresh = _document_bounds(documents, inputs)
    inputs, delta, write, read = (
        _without_padding(tensor, real) for tensor in (inputs, delta, write, read)
    )
    batch, _, head, dim = inputs.shape
    write, read = (_for_each_head(tensor, head) for tensor in (write, read))
    delta = _step_sizes(delta, delta_bias, softplus, delta_limits)
    state = inputs.new_zeros(batch, head, dim, write.shape[-1])
    if initial_state is not None:
        state = initial_state.double()
    outputs = [inputs.new_zeros(batch, 0, head, dim)]
    steps = zip(*(tensor.unbind(1) for tensor in (inputs, delta, write, read)), strict=True)
    for t, (x, size, b, c) in enumerate(steps):
        before = torch.where(fresh[:, t, None, None, None], 0, state)
        decay = torch.exp(size * transition.double())[..., None, None]
        drive = (size[..., None] * x)[..., None] * b[:, :, None, :]
        state = torch.where(real[:, t, None, None, None], decay * before + drive, state)
        seen = (state * c[:, :, None, :]).sum(-1)
        if skip is not None:
            seen = seen + skip.double()[:, None] * x
        outputs.append(torch.where(real[:, t, None, None], seen, 0)[:, None])
    return torch.cat(outputs, dim=1), state


def reference_gated_delta_rule(
    query: Float[Tensor, "batch length head key"],
    key: Float[Tensor, "batch length head key"],
    value: Float[Tensor, "batch length head value"],
    log_decay: Float[Tensor, "batch length head"],
    rate: Float[Tensor, "batch length head"],
    initial_state: Float[Tensor, "batch head key value"] | None = None,
    *,
    documents: Int[Tensor, "batch length"] | None = None,
) -> tuple[Float[Tensor, "batch length head value"], Float[Tensor, "batch head key value"]]:
    """Return the outputs and the last state of the gated delta rule (Yang et al. 2024, eq. 10).

    S is faded to exp(g_t) S_{t-1}, what it answers to the key is moved towards the value,
    S_t = S + β_t k_t (v_t - kᵀ_t S)ᵀ, and the query reads: o_t = S_tᵀ q_t.
    """
    real, fresh = _document_bounds(documents, query)
    query, key, value, log_decay, rate = (
        _without_padding(tensor, real) for tensor in (query, key, value, log_decay, rate)
    )
    batch, _, head, width = value.shape
    state = value.new_zeros(batch, head, key.shape[-1], width)
    if initial_state is not None:
        state = initial_state.double()
    outputs = [value.new_zeros(batch, 0, head, width)]
    given = (query, key, value, log_decay, rate)
    steps = zip(*(tensor.unbind(1) for tensor in given), strict=True)
    for t, (q, k, v, g, beta) in enumerate(steps):
        before = torch.where(fresh[:, t, None, None, None], 0, state)
        faded = torch.exp(g)[..., None, None] * before
        answer = (k[..., None] * faded).sum(-2)
        change = beta[..., None] * (v - answer)
        updated = faded + k[..., None] * change[:, :, None, :]
        state = torch.where(real[:, t, None, None, None], updated, state)
        seen = (q[..., None] * state).sum(-2)
        outputs.append(torch.where(real[:, t, None, None], seen, 0)[:, None])
    return torch.cat(outputs, dim=1), state


def reference_gated_linear_attention(
    query: Float[Tensor, "batch length head key"],
    key: Float[Tensor, "batch length head key"],
    value: Float[Tensor, "batch length head value"],
    log_decay: Float[Tensor, "batch length head key"],
    initial_state: Float[Tensor, "batch head key value"] | None = None,
    *,
    documents: Int[Tensor, "batch length"] | None = None,
) -> tuple[Float[Tensor, "batch length head value"], Float[Tensor, "batch head key value"]]:
    """Return the outputs and the last state of gated linear attention (Yang et al. 2023).

    S_t = diag(exp(g_t)) S_{t-1} + k_t v_tᵀ and o_t = S_tᵀ q_t.
    """
    real, fresh = _document_bounds(documents, query)
    query, key, value, log_decay = (
        _without_padding(tensor, real) for tensor in (query, key, value, log_decay)
    )
    batch, _, head, width = value.shape
    state = value.new_zeros(batch, head, key.shape[-1], width)
    if initial_state is not None:
        state = initial_state.double()
    outputs = [value.new_zeros(batch, 0, head, width)]
    given = (query, key, value, log_decay)
    steps = zip(*(tensor.unbind(1) for tensor in given), strict=True)
    for t, (q, k, v, g) in enumerate(steps):
        before = torch.where(fresh[:, t, None, None, None], 0, state)
        updated = torch.exp(g)[..., None] * before + k[..., None] * v[:, :, None, :]
        state = torch.where(real[:, t, None, None, None], updated, state)
        seen = (q[..., None] * state).sum(-2)
        outputs.append(torch.where(real[:, t, None, None], seen, 0)[:, None])
    return torch.cat(outputs, dim=1), state


def reference_diagonal_recurrence(
    inputs: Inexact[Tensor, "batch length channel"],
    decay: Inexact[Tensor, "batch length channel"],
    initial_state: Inexact[Tensor, "batch channel"] | None = None,
    *,
    documents: Int[Tensor, "batch length"] | None = None,
) -> tuple[Inexact[Tensor, "batch length channel"], Inexact[Tensor, "batch channel"]]:
    """Return all states and the last one of h_t = a_t ∘ h_{t-1} + x_t, real or complex."""
    real, fresh = _document_bounds(documents, inputs)
    inputs, decay = (_without_padding(tensor, real) for tensor in (inputs, decay))
    batch, _, channel = inputs.shape
    state = inputs.new_zeros(batch, channel)
    if initial_state is not None:
        state = _in_double(initial_state)
    states = [inputs.new_zeros(batch, 0, channel)]
    for t, (x, fade) in enumerate(zip(inputs.unbind(1), decay.unbind(1), strict=True)):
        before = torch.where(fresh[:, t, None], 0, state)
        state = torch.where(real[:, t, None], fade * before + x, state)
        states.append(torch.where(real[:, t, None], state, 0)[:, None])
    return torch.cat(states, dim=1), state


def reference_causal_convolution(
    inputs: Float[Tensor, "batch length channel"],
    weight: Float[Tensor, "channel width"],
    bias: Float[Tensor, " channel"],
    initial_state: Float[Tensor, "batch past channel"] | None = None,
    *,
    activation: str | None = None,
) -> tuple[Float[Tensor, "batch length channel"], Float[Tensor, "batch past channel"]]:
    """Return the causal depthwise convolution, and the last width - 1 inputs.

    y_t = f(bias + Σ_k weight[:, k] x_{t - width + 1 + k}), where f is silu if `activation` is
    "silu" and else nothing; inputs before the first are zero.
    """
    inputs, weight, bias = (tensor.double() for tensor in (inputs, weight, bias))
    width = weight.shape[1]
    past = inputs.new_zeros(inputs.shape[0], width - 1, inputs.shape[2])
    if initial_state is not None:
        past = initial_state.double()
    padded = torch.cat((past, inputs), dim=1)
    steps = padded.unbind(1)
    outputs = [
        bias + sum(weight[:, k] * steps[t + k] for k in range(width))
        for t in range(inputs.shape[1])
    ]
    together = torch.stack(outputs, dim=1)
    if activation == "silu":
        together = torch.nn.functional.silu(together)
    return together, padded[:, padded.shape[1] - width + 1 :]


def reference_gated_norm(
    hidden: Float[Tensor, "batch length channel"],
    gate: Float[Tensor, "batch length channel"],
    weight: Float[Tensor, " channel"],
    epsilon: float,
    groups: int = 1,
) -> Float[Tensor, "batch length channel"]:
    """Return the gated norm of Mamba-2's block (Dao and Gu 2024, section 7.2).

    u = x ∘ silu(z) and y = u / sqrt(mean(u²) + ε) ∘ `weight`, the mean over each of the `groups`.
    """
    gated = hidden.double() * torch.nn.functional.silu(gate.double())
    parts = gated.chunk(groups, dim=-1)
    sizes = [(part.square().mean(-1, keepdim=True) + epsilon).sqrt() for part in parts]
    normed = [part / size for part, size in zip(parts, sizes, strict=True)]
    return torch.cat(normed, dim=-1) * weight.double()


def reference_linear(
    inputs: Float[Tensor, "*batch columns"],
    weight: Float[Tensor, "rows columns"],
    bias: Float[Tensor, " rows"] | None = None,
) -> Float[Tensor, "*batch rows"]:
    """Return y = W x + b at each place."""
    outputs = torch.einsum("...c,rc->...r", inputs.double(), weight.double())
    return outputs if bias is None else outputs + bias.double()


def _document_bounds(documents: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return which tokens are no padding, and which of them start a document, [batch, length]."""
    batch, length = like.shape[:2]
    if documents is None:
        documents = torch.zeros(batch, length, dtype=torch.int64)
    real, fresh = documents >= 0, torch.zeros(batch, length, dtype=torch.bool)
    for row, numbers in enumerate(documents.tolist()):
        current = None
        for t, number in enumerate(numbers):
            if number >= 0:
                fresh[row, t] = current is not None and number != current
                current = number
    return real.to(like.device), fresh.to(like.device)


def _in_double(tensor: Tensor) -> Tensor:
    return tensor.to(torch.complex128) if tensor.is_complex() else tensor.double()


def _without_padding(tensor: Tensor, real: Tensor) -> Tensor:
    """Return `tensor` [batch, length, ...] in double precision, with 0 where it is padding."""
    padding = ~real.reshape(*real.shape, *[1] * (tensor.ndim - 2))
    return _in_double(tensor).masked_fill(padding, 0)


def _for_each_head(tensor: Tensor, heads: int) -> Tensor:
    """Return `tensor` [batch, length, state] or [..., group, state] as [..., head, state]."""
    grouped = tensor if tensor.ndim == 4 else tensor[:, :, None]
    return grouped.repeat_interleave(heads // grouped.shape[2], dim=2)


def _step_sizes(
    delta: Tensor,
    bias: Tensor | None,
    softplus: bool,
    limits: tuple[float, float] | None = None,
) -> Tensor:
    if bias is not None:
        delta = delta + bias.double()
    if softplus:
        delta = torch.nn.functional.softplus(delta)
    return delta if limits is None else delta.clamp(*limits)
