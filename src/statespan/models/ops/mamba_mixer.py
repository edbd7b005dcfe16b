"""A whole Mamba layer as one operation: projections, convolution, scan and their one backward.

The operations within are those of this package and matrix products. Together they are one node of
autograd's graph, write their gradients side by side where a projection wants them in one piece, and
serve many small models at once with batched products: for small models that is half of the time.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

from statespan.models.ops.causal_convolution import causal_convolution
from statespan.models.ops.causal_convolution_kernel import (
    ConvolutionKernel,
    has_convolution_kernel,
)
from statespan.models.ops.checks import check_documents, check_dtypes, check_shape
from statespan.models.ops.operator import (
    Kind,
    empty_gradients,
    gradients_by_recomputation,
    make_operation,
)
from statespan.models.ops.selective_scan import selective_scan
from statespan.models.ops.selective_scan_kernel import CHUNK, ScanKernel, has_scan_kernel
from statespan.models.ops.tokens import PADDING, STARTS, token_kinds

__all__ = ["mamba_mixer"]


def mamba_mixer(
    hidden: Float[Tensor, "batch length width"],
    in_projection: Float[Tensor, "channels2 width"],
    convolution: Float[Tensor, "channel window"],
    convolution_bias: Float[Tensor, " channel"],
    x_projection: Float[Tensor, "selected channel"],
    delta_projection: Float[Tensor, "channel rank"],
    delta_bias: Float[Tensor, " channel"],
    transition_log: Float[Tensor, "channel state"],
    skip: Float[Tensor, " channel"],
    out_projection: Float[Tensor, "width channel"],
    initial_window: Float[Tensor, "batch past channel"] | None = None,
    initial_state: Float[Tensor, "batch channel state"] | None = None,
    *,
    documents: Int[Tensor, "batch length"] | None = None,
) -> tuple[
    Float[Tensor, "batch length width"],
    Float[Tensor, "batch past channel"],
    Float[Tensor, "batch channel state"],
]:
    """Return the outputs of a Mamba layer, its last window and its last state (Gu and Dao 2023).

    `in_projection` gives the channels and their gates; the convolved channels, through silu, give
    by `x_projection` the low-rank step (`rank` numbers), the writes and the reads; then comes
    `selective_scan` with A = -exp(`transition_log`). Missing initial values are zeros; `documents`
    is as in `selective_scan`. All tensors are of one dtype, float32 or float64.

    Raises:
        InputError: a shape, dtype or device does not fit; the message names the argument.
    """
    parameters = {
        "in_projection": in_projection, "convolution": convolution,
        "convolution_bias": convolution_bias, "x_projection": x_projection,
        "delta_projection": delta_projection, "delta_bias": delta_bias,
        "transition_log": transition_log, "skip": skip, "out_projection": out_projection,
    }  # fmt: skip
    initial = {"initial_window": initial_window, "initial_state": initial_state}
    every: dict[str, Any] = {"hidden": hidden, **parameters, **initial}
    check_dtypes(**every)
    check_shape("hidden", hidden, None, None, None)
    batch, length, width = hidden.shape
    check_shape("transition_log", transition_log, None, None)
    channel, state = transition_log.shape
    check_shape("delta_projection", delta_projection, channel, None)
    rank = delta_projection.shape[1]
    check_shape("in_projection", in_projection, 2 * channel, width)
    check_shape("convolution", convolution, channel, None)
    past = convolution.shape[1] - 1
    check_shape("x_projection", x_projection, rank + 2 * state, channel)
    check_shape("out_projection", out_projection, width, channel)
    for name in ("convolution_bias", "delta_bias", "skip"):
        check_shape(name, parameters[name], channel)
    check_shape("initial_window", initial_window, batch, past, channel)
    check_shape("initial_state", initial_state, batch, channel, state)
    check_documents(documents, batch, length)
    if initial_window is None:
        initial_window = hidden.new_zeros(batch, past, channel)
    if initial_state is None:
        initial_state = hidden.new_zeros(batch, channel, state)
    if documents is not None:
        # What lies in padding would else come into the gradient of the first projection.
        hidden = hidden.masked_fill((documents < 0)[..., None], 0)
    outputs, window, last, *_ = _mamba_mixer(
        hidden,
        *(parameter[None] for parameter in parameters.values()),
        None if documents is None else token_kinds(documents),
        initial_window,
        initial_state.transpose(1, 2),
    )
    return outputs, window, last.transpose(1, 2)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Return left @ right for each member."""
    return torch.mm(left[0], right[0])[None] if len(left) == 1 else torch.bmm(left, right)


def _has_kernel(hidden: Tensor, convolution: Tensor, transition_log: Tensor) -> bool:
    return has_convolution_kernel(hidden, convolution.mT) and has_scan_kernel(
        hidden, transition_log.mT
    )


class _Layer:
    """The parts of a layer that its forward and its backward pass share."""

    def __init__(
        self,
        hidden: Tensor,
        convolution: Tensor,
        convolution_bias: Tensor,
        delta_bias: Tensor,
        transition_log: Tensor,
        skip: Tensor,
        tokens: Tensor | None,
    ) -> None:
        self.row, self.length, _ = hidden.shape
        self.members, self.channel, self.state = transition_log.shape
        self.convolution, self.convolution_bias = convolution.mT, convolution_bias
        self.delta_bias, self.skip, self.tokens = delta_bias, skip, tokens
        self.transition = transition_log.mT.exp().neg_()

    def by_row(self, tensor: Tensor) -> Tensor:
        """Return [member, token, …] as [row, length, …]."""
        return tensor.view(self.row, self.length, tensor.shape[-1])

    def by_member(self, tensor: Tensor) -> Tensor:
        """Return [row, length, …] as [member, token, …]."""
        tokens = self.row * self.length // self.members
        return tensor.reshape(self.members, tokens, tensor.shape[-1])

    def convolve(self, projected: Tensor) -> ConvolutionKernel:
        """Return the convolution of the first half of `projected` [row, length, 2 · channel]."""
        inputs = projected[..., : self.channel]
        return ConvolutionKernel(
            inputs, self.convolution, self.convolution_bias, self.tokens, activated=True
        )

    def scan(
        self, projected: Tensor, convolved: Tensor, selected: Tensor, delta: Tensor
    ) -> ScanKernel:
        """Return the scan; `selected` [row, length, rank + 2 · state]."""
        write, read = (
            part[:, :, None] for part in selected[..., -2 * self.state :].chunk(2, dim=-1)
        )
        gate = projected[..., self.channel :]
        return ScanKernel(
            convolved, delta, self.transition, write, read, self.skip, gate, self.delta_bias,
            self.tokens, softplus=True,
        )  # fmt: skip


def _forward(
    hidden: Tensor,
    in_projection: Tensor,
    convolution: Tensor,
    convolution_bias: Tensor,
    x_projection: Tensor,
    delta_projection: Tensor,
    delta_bias: Tensor,
    transition_log: Tensor,
    skip: Tensor,
    out_projection: Tensor,
    tokens: Tensor | None,
    initial_window: Tensor,
    initial_state: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return outputs, last windows and states, and what the backward pass wants kept.

    Rows: hidden [row, length, width], tokens, the initial window and state [row, state, channel].
    Members: every parameter, as in `mamba_mixer` behind an axis of members.
    """
    if not _has_kernel(hidden, convolution, transition_log):
        outputs, window, last = _composite(
            hidden, in_projection, convolution, convolution_bias, x_projection, delta_projection,
            delta_bias, transition_log, skip, out_projection, tokens, initial_window, initial_state,
        )  # fmt: skip
        a, b, c, d, e, f = _keep_nothing(hidden)
        return outputs, window, last, a, b, c, d, e, f
    layer = _Layer(hidden, convolution, convolution_bias, delta_bias, transition_log, skip, tokens)
    projected = layer.by_row(_product(layer.by_member(hidden), in_projection.mT))
    convolved, window = layer.convolve(projected).forward(initial_window)
    selected = _product(layer.by_member(convolved), x_projection.mT)
    rank = delta_projection.shape[2]
    delta = layer.by_row(_product(selected[..., :rank], delta_projection.mT))
    selected = layer.by_row(selected)
    scanned, last, starts = layer.scan(projected, convolved, selected, delta).forward(initial_state)
    outputs = layer.by_row(_product(layer.by_member(scanned), out_projection.mT))
    return outputs, window, last, projected, convolved, selected, delta, scanned, starts


def _backward(
    hidden: Tensor,
    in_projection: Tensor,
    convolution: Tensor,
    convolution_bias: Tensor,
    x_projection: Tensor,
    delta_projection: Tensor,
    delta_bias: Tensor,
    transition_log: Tensor,
    skip: Tensor,
    out_projection: Tensor,
    tokens: Tensor | None,
    initial_window: Tensor,
    initial_state: Tensor,
    projected: Tensor,
    convolved: Tensor,
    selected: Tensor,
    delta: Tensor,
    scanned: Tensor,
    starts: Tensor,
    grad_outputs: Tensor | None,
    grad_window: Tensor | None,
    grad_last: Tensor | None,
) -> tuple[
    Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
    Tensor,
]:  # fmt: skip
    """Return the gradients of the tensors that `_forward` takes, an empty one for the tokens."""
    if projected.ndim == 2:  # nothing was kept: torch went forward
        arguments = (
            hidden, in_projection, convolution, convolution_bias, x_projection, delta_projection,
            delta_bias, transition_log, skip, out_projection, tokens, initial_window, initial_state,
        )  # fmt: skip
        return gradients_by_recomputation(  # type: ignore[return-value]
            _composite, arguments, grad_outputs, grad_window, grad_last
        )
    layer = _Layer(hidden, convolution, convolution_bias, delta_bias, transition_log, skip, tokens)
    grad = layer.by_member(hidden.new_zeros(hidden.shape) if grad_outputs is None else grad_outputs)
    grad_out_projection = _product(grad.mT, layer.by_member(scanned))
    grad_projected = torch.empty_like(projected)
    scan = layer.scan(projected, convolved, selected, delta).backward(
        starts,
        layer.by_row(_product(grad, out_projection)),
        grad_last,
        grad_gate=grad_projected[..., layer.channel :],
    )
    grad_delta = layer.by_member(scan.delta)
    grad_step = layer.by_row(_product(grad_delta, delta_projection))
    grad_selected = torch.cat((grad_step, scan.write[:, :, 0], scan.read[:, :, 0]), dim=-1)
    grad_selected = layer.by_member(grad_selected)
    selected = layer.by_member(selected)
    grad_delta_projection = _product(grad_delta.mT, selected[..., : delta_projection.shape[2]])
    grad_convolved = layer.by_member(scan.inputs).baddbmm_(grad_selected, x_projection)
    grad_x_projection = _product(grad_selected.mT, layer.by_member(convolved))
    windows = layer.convolve(projected).backward(
        initial_window,
        layer.by_row(grad_convolved),
        grad_window,
        grad_projected[..., : layer.channel],
    )
    grad_projected = layer.by_member(grad_projected)
    return (
        layer.by_row(_product(grad_projected, in_projection)),
        _product(grad_projected.mT, layer.by_member(hidden)),
        windows.weight.mT.contiguous(),
        windows.bias,
        grad_x_projection,
        grad_delta_projection,
        scan.delta_bias,
        (scan.transition * layer.transition).mT.contiguous(),
        scan.skip,
        grad_out_projection,
        hidden.new_empty(0),
        windows.initial,
        scan.initial,
    )


def _keep_nothing(hidden: Tensor) -> list[Tensor]:
    return [hidden.new_empty(len(hidden), 0) for _ in range(6)]


def _composite(hidden: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, last windows and states by this package's other operations."""
    *parameters, tokens, windows, states = rest
    members = len(parameters[0])
    results = []
    for member in range(members):
        part = slice(len(hidden) * member // members, len(hidden) * (member + 1) // members)
        results.append(
            _one_member(
                hidden[part],
                [parameter[member] for parameter in parameters],
                None if tokens is None else tokens[part],
                windows[part],
                states[part],
            )
        )
    outputs, lasts, finals = (torch.cat(parts) for parts in zip(*results, strict=True))
    return outputs, lasts, finals


def _one_member(
    hidden: Tensor, parameters: list[Tensor], tokens: Tensor | None, window: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    in_projection, convolution, convolution_bias, x_projection, *rest = parameters
    delta_projection, delta_bias, transition_log, skip, out_projection = rest
    documents = None
    if tokens is not None:
        documents = (tokens == STARTS).cumsum(1).masked_fill(tokens == PADDING, -1)
    inputs, gate = linear(hidden, in_projection).chunk(2, dim=-1)
    inputs, window = causal_convolution(
        inputs, convolution, convolution_bias, window, activation="silu", documents=documents
    )
    rank, state_size = delta_projection.shape[1], transition_log.shape[1]
    selected = linear(inputs, x_projection)
    step, write, read = torch.split(selected, [rank, state_size, state_size], dim=-1)
    outputs, last = selective_scan(
        inputs,
        linear(step, delta_projection),
        -transition_log.exp(),
        write,
        read,
        state.transpose(1, 2),
        skip=skip,
        gate=gate,
        delta_bias=delta_bias,
        softplus=True,
        documents=documents,
    )
    return linear(outputs, out_projection), window, last.transpose(1, 2)


def _fake(hidden: Tensor, in_projection: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    convolution, _, x_projection, _, _, transition_log, *_, windows, states = rest
    row, length, _ = hidden.shape
    if _has_kernel(hidden, convolution, transition_log):
        channel = in_projection.shape[1] // 2
        widths = (2 * channel, channel, x_projection.shape[1], channel, channel)
        kept = [hidden.new_empty(row, length, width) for width in widths]
        kept.append(hidden.new_empty(row, -(-length // CHUNK), *states.shape[1:]))
    else:
        kept = _keep_nothing(hidden)
    results = (hidden.new_empty(hidden.shape), windows.new_empty(windows.shape))
    return *results, states.new_empty(states.shape), *kept


_KINDS: tuple[Kind, ...] = ("row", *(("member",) * 9), "row", "row", "row")

_mamba_mixer = make_operation(
    "mamba_mixer",
    _forward,
    _backward,
    kinds=_KINDS,
    fake=_fake,
    fake_backward=empty_gradients(13),
    num_results=3,
)
