"""An accelerated model is the model: logits, gradients, caches; and right where stock ones err."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from statespan.pretrained import accelerate, decelerate
from tests.pretrained.tiny_models import (
    FAMILIES,
    PURE,
    cache_name,
    in_pieces,
    states,
    tiny_model,
    tokens,
)

EVERY = pytest.mark.parametrize("family", FAMILIES)

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("mamba", {"hidden_act": "gelu", "use_bias": True, "use_conv_bias": False, "conv_kernel": 2}),
    ("mamba2", {"time_step_limit": (0.4, 0.9), "use_bias": True, "n_groups": 1}),
    ("bamba", {"hidden_act": "gelu", "mamba_proj_bias": True, "mamba_conv_bias": False}),
    ("falcon_h1", {"mamba_rms_norm": True, "mamba_norm_before_gate": False}),
    ("falcon_h1", {"mamba_rms_norm": True, "mamba_norm_before_gate": True}),
    ("falcon_h1", {"mamba_rms_norm": False, "ssm_multipliers": [0.5, 2.0, 1.5, 0.7, 1.1]}),
    ("nemotron_h", {"time_step_min": 0.8}),
    ("zamba", {"n_mamba_heads": 1}),
    ("zamba2", {"time_step_min": 0.8, "add_bias_linear": True}),
    ("jamba", {"mamba_proj_bias": True, "mamba_conv_bias": False}),
    ("qwen3_next", {"linear_num_key_heads": 4}),
    ("olmo_hybrid", {"linear_allow_neg_eigval": True}),
    ("olmo_hybrid", {"linear_allow_neg_eigval": False, "linear_conv_kernel_dim": 2}),
]


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 2e-5) -> None:
    """Compare with errors measured in the largest number that is expected."""
    scale = expected.abs().max().item()
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale + 1e-9)


def logits_and_gradients(model: Any, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    output = model(ids, labels=ids, use_cache=False)
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return output.logits.detach(), {
        name: gradient.clone() for name, gradient in gradients.items() if gradient is not None
    }


def assert_same_model(model: Any, ids: Tensor) -> None:
    logits, gradients = logits_and_gradients(model, ids)
    largest = max(gradient.abs().max().item() for gradient in gradients.values())
    with accelerate(model):
        fast_logits, fast_gradients = logits_and_gradients(model, ids)
    assert_close(fast_logits, logits, 5e-5)
    assert fast_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        difference = (fast_gradients[name] - gradient).abs().max().item()
        assert difference <= 2e-4 * gradient.abs().max().item() + 1e-6 * largest, name


@EVERY
def test_logits_and_gradients_are_those_of_the_stock_model(family: str) -> None:
    assert_same_model(tiny_model(family), tokens())


@pytest.mark.parametrize(("family", "changes"), VARIANTS)
def test_every_setting_is_followed(family: str, changes: dict[str, Any]) -> None:
    assert_same_model(tiny_model(family, **changes), tokens(length=11))


@EVERY
def test_a_single_token_is_a_sequence(family: str) -> None:
    assert_same_model(tiny_model(family), tokens(batch=1, length=1))


@EVERY
def test_caches_are_those_of_the_stock_model(family: str) -> None:
    model, ids = tiny_model(family), tokens()
    # A stock Mamba cannot take several tokens after the first call.
    for lengths in ([12, 1, 1], [2, 1, 1, 1]):
        logits, cache = in_pieces(model, ids, lengths)
        with accelerate(model):
            fast_logits, fast_cache = in_pieces(model, ids, lengths)
        assert_close(fast_logits, logits, 5e-5)
        expected = states(cache)
        assert states(fast_cache).keys() == expected.keys()
        for name, state in states(fast_cache).items():
            assert (state.dtype, state.shape) == (expected[name].dtype, expected[name].shape), name
            assert_close(state, expected[name])


@EVERY
@pytest.mark.parametrize("lengths", [[12, 1, 1, 5], [1, 2, 3, 7], [3, 3, 3], [18, 1]])
def test_pieces_of_any_length_are_the_whole(family: str, lengths: list[int]) -> None:
    model, ids = tiny_model(family), tokens()
    accelerate(model)
    whole = model(ids[:, : sum(lengths)], use_cache=False).logits.detach()
    assert_close(in_pieces(model, ids, lengths)[0], whole, 5e-5)


def padded(ids: Tensor, left: int, right: int) -> tuple[Tensor, Tensor]:
    mask = torch.nn.functional.pad(torch.ones_like(ids), (left, right))
    return torch.nn.functional.pad(ids, (left, right)), mask


def positions_under(family: str, mask: Tensor) -> dict[str, Tensor]:
    return {} if family in PURE else {"position_ids": (mask.cumsum(1) - 1).clamp_min(0)}


@EVERY
@pytest.mark.parametrize(("left", "right"), [(5, 0), (0, 5), (1, 2), (6, 0)])
def test_padding_is_as_if_it_were_not_there(family: str, left: int, right: int) -> None:
    model = tiny_model(family, **({"use_bias": True} if family in PURE else {}))
    ids = tokens(length=8)
    accelerate(model)
    with torch.no_grad():
        alone = model(ids, use_cache=True)
        more, mask = padded(ids, left, right)
        output = model(more, attention_mask=mask, use_cache=True, **positions_under(family, mask))
    assert_close(output.logits[:, left : left + 8], alone.logits, 5e-5)
    expected = states(alone[cache_name(model)])
    for name, state in states(output[cache_name(model)]).items():
        # The oldest input of a window is never read again.
        part = slice(1, None) if name.startswith("conv") else slice(None)
        assert_close(state[..., part], expected[name][..., part])


@EVERY
def test_left_padding_leaves_the_cache_of_the_stock_model(family: str) -> None:
    model, ids = tiny_model(family), tokens(length=8)
    more, mask = padded(ids, 3, 0)
    arguments = {"attention_mask": mask, "use_cache": True, **positions_under(family, mask)}
    with torch.no_grad():
        expected = states(model(more, **arguments)[cache_name(model)])
        accelerate(model)
        found = states(model(more, **arguments)[cache_name(model)])
    for name, state in found.items():
        assert_close(state, expected[name])


def packing(kind: str, first: int, length: int) -> dict[str, Any]:
    positions = torch.cat((torch.arange(first), torch.arange(length - first)))[None]
    if kind == "positions":
        return {"position_ids": positions}
    if kind == "numbers":
        return {"position_ids": positions, "seq_idx": (torch.arange(length) >= first)[None].int()}
    bounds = torch.tensor([0, first, length], dtype=torch.int32)
    longest = max(first, length - first)
    return {
        "position_ids": positions,
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


@EVERY
@pytest.mark.parametrize("kind", ["positions", "numbers", "bounds"])
def test_packed_documents_do_not_mix(family: str, kind: str) -> None:
    changes: dict[str, Any] = {}
    if family == "granitemoehybrid":  # its stock attention looks into other documents
        changes = {"layer_types": ["mamba"] * 3}
    model, ids = tiny_model(family, **changes), tokens(batch=1)
    accelerate(model)
    with torch.no_grad():
        alone = model(ids[:, 8:], use_cache=False).logits
        packed = model(ids, use_cache=False, **packing(kind, 8, 19)).logits
    assert_close(packed[:, 8:], alone, 5e-5)


@pytest.mark.parametrize("family", sorted(PURE))
def test_a_mask_may_number_documents(family: str) -> None:
    model, ids = tiny_model(family), tokens(batch=1)
    accelerate(model)
    mask = torch.tensor([[1] * 8 + [2] * 7 + [0] * 4])
    logits = model(ids, attention_mask=mask, use_cache=False).logits
    assert_close(logits[:, 8:15], model(ids[:, 8:15], use_cache=False).logits, 5e-5)


@pytest.mark.parametrize("family", ["mamba", "bamba", "jamba", "zamba2", "qwen3_next"])
def test_packed_documents_do_not_mix_when_layers_are_run_again(family: str) -> None:
    model, ids = tiny_model(family).train(), tokens(batch=1)
    accelerate(model)
    arguments = {"use_cache": False, **packing("positions", 8, 19)}
    model(ids, **arguments).logits[:, 8:].square().sum().backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    model.activation_checkpointing_enable()
    model(ids, **arguments).logits[:, 8:].square().sum().backward()
    for name, parameter in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name])


@EVERY
def test_bfloat16_is_no_worse_than_the_stock_model(family: str) -> None:
    model, ids = tiny_model(family), tokens()
    exact = model(ids, use_cache=False).logits.detach()
    model = model.bfloat16()
    stock = (model(ids, use_cache=False).logits.float() - exact).square().mean().sqrt().item()
    with accelerate(model):
        logits, gradients = logits_and_gradients(model, ids)
        fast = states(in_pieces(model, ids, [6, 1])[1])
    assert (logits.float() - exact).square().mean().sqrt().item() <= 1.5 * stock
    assert all(gradient.dtype is torch.bfloat16 for gradient in gradients.values())
    for name, state in states(in_pieces(model, ids, [6, 1])[1]).items():
        assert fast[name].dtype is state.dtype, name


@EVERY
@pytest.mark.parametrize("search", [{}, {"num_beams": 3}])
def test_generation_is_that_of_the_stock_model(family: str, search: dict[str, Any]) -> None:
    model, ids = tiny_model(family), tokens(length=9)
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    arguments = {"attention_mask": mask, "max_new_tokens": 6, "min_new_tokens": 6, **search}
    expected = model.generate(ids, do_sample=False, **arguments)
    with accelerate(model):
        assert torch.equal(model.generate(ids, do_sample=False, **arguments), expected)


def recorded(model: Any, ids: Tensor, lengths: list[int], crop: int) -> tuple[Tensor, Any]:
    """Return what `in_pieces` does, of a cache that keeps every input until it is cropped."""
    from transformers import DynamicCache

    cache, begin, logits = DynamicCache(config=model.config), 0, []
    cache.activate_past_recording()
    for length in lengths:
        piece = ids[:, begin : begin + length]
        with torch.no_grad():
            logits.append(model(piece, use_cache=True, **{cache_name(model): cache}).logits)
        begin += length
    for layer in cache.layers:
        if hasattr(layer, "conv_states"):
            layer.crop(-crop)
    return torch.cat(logits, dim=1), cache


@pytest.mark.parametrize("family", ["mamba", "mamba2", "qwen3_next"])
def test_a_cache_that_records_its_past_can_be_cropped(family: str) -> None:
    model, ids = tiny_model(family), tokens()
    accelerate(model)
    whole = model(ids, use_cache=False).logits.detach()
    logits, cache = recorded(model, ids, [1, 1, 5, 6], crop=6)
    if family != "qwen3_next":  # whose attention wants positions
        assert_close(logits, whole[:, :13], 5e-5)
    expected = states(recorded(model, ids, [1, 1, 5], crop=0)[1])
    for name, window in states(cache).items():
        if name.startswith("conv"):
            assert_close(window, expected[name])


@EVERY
def test_a_cache_outlives_the_acceleration(family: str) -> None:
    model, ids = tiny_model(family), tokens()
    whole = model(ids[:, :14], use_cache=False).logits.detach()
    accelerate(model)
    _, cache = in_pieces(model, ids, [12])
    decelerate(model)
    more = {cache_name(model): cache}
    if family not in PURE:
        more["position_ids"] = torch.tensor([[12]])
    with torch.no_grad():
        assert_close(model(ids[:, 12:13], use_cache=True, **more).logits, whole[:, 12:13], 5e-5)
