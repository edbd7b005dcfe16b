"""Takes what causal-conv1d takes, refuses what its library refuses, and counts its calls."""

from __future__ import annotations

import torch
from old_style import apply
from torch import Tensor
from torch.nn.functional import pad, silu

CALLS: list[str] = []


def causal_conv1d_fn(
    x,
    weight,
    bias=None,
    seq_idx=None,
    initial_states=None,
    return_final_states=False,
    final_states_out=None,
    activation=None,
):
    batch, dim, length = x.shape
    width = weight.shape[1]
    assert final_states_out is None
    assert activation in (None, "silu", "swish")
    assert {x.dtype, weight.dtype} <= {torch.float32, torch.float16, torch.bfloat16}
    assert 2 <= width <= 4
    assert x.stride(1) == 1
    assert dim % 8 == x.stride(0) % 8 == x.stride(2) % 8 == 0
    assert bias is None or bias.dtype == weight.dtype
    if seq_idx is not None:
        assert initial_states is None
        assert not return_final_states
        assert seq_idx.dtype == torch.int32
        assert seq_idx.is_contiguous()
        assert seq_idx.shape == (batch, length)
    if initial_states is not None:
        assert initial_states.dtype == x.dtype
        assert initial_states.shape == (batch, dim, width - 1)
        assert initial_states.stride(1) == 1
    CALLS.append("causal_convolution")

    def run(
        x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None
    ) -> tuple[Tensor, ...]:
        past = pad(x, (width - 1, 0)) if initial is None else torch.cat((initial, x), dim=2)
        past, number = past.double(), seq_idx
        outputs = torch.zeros_like(x).double()
        if bias is not None:
            outputs = outputs + bias.double()[:, None]
        for k in range(width):
            part = past[:, :, k : k + length]
            if number is not None:
                same = pad(number, (width - 1, 0), value=-1)[:, k : k + length] == number
                part = part * same[:, None]
            outputs = outputs + weight.double()[:, k, None] * part
        outputs = outputs if activation is None else silu(outputs)
        last = past[:, :, length:].transpose(1, 2).contiguous().transpose(1, 2)
        return outputs.to(x.dtype), last.to(x.dtype)

    outputs, last = apply(run, x, weight, bias, initial_states)
    return (outputs, last) if return_final_states else outputs
