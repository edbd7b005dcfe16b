"""A step of decoding is the layer's operation at one token."""

from __future__ import annotations

import pytest
import torch

from statespan.models.ops import has_step_kernel, mamba_mixer, mamba_step
from statespan.native import kernel_level
from tests.models.ops.operations import draw_from

needs_kernels = pytest.mark.skipif(kernel_level() is None, reason="no kernel was compiled")


@needs_kernels
@pytest.mark.parametrize(("batch", "width", "channel", "state"), [(1, 7, 5, 3), (3, 64, 40, 20)])
def test_steps_are_the_mixer(batch: int, width: int, channel: int, state: int) -> None:
    rank, window = 2, 4
    draw = draw_from(0, torch.float32)
    weights = [
        draw(2 * channel, width) / width,
        draw(channel, window),
        draw(channel),
        draw(rank + 2 * state, channel) / channel,
        draw(channel, rank),
        draw(channel),
        draw(channel, state),
        draw(channel),
        draw(width, channel) / channel,
    ]
    hidden = draw(batch, 9, width)
    windows, states = draw(batch, channel, window), draw(batch, channel, state)
    past = windows[..., 1:].mT.contiguous()
    expected, last_past, last = mamba_mixer(hidden, *weights, past, states)
    project, *rest, out = weights
    outputs = []
    for t in range(hidden.shape[1]):
        now = hidden[:, t].contiguous()
        step = (now, project, None, rest[0], rest[1], *rest[2:], out, None, windows, states)
        assert has_step_kernel(*step, rows=batch)
        outputs.append(mamba_step(*step))
    torch.testing.assert_close(torch.stack(outputs, 1), expected, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(windows[..., 1:].mT, last_past)
    torch.testing.assert_close(states, last, rtol=2e-5, atol=2e-5)


def test_what_the_kernel_cannot_take_is_told() -> None:
    fits = torch.zeros(2, 4)
    assert has_step_kernel(fits, None, rows=2) == (kernel_level() is not None)
    assert not has_step_kernel(fits.T, rows=2)
    assert not has_step_kernel(fits.double(), rows=2)
    assert not has_step_kernel(fits, rows=9)
