"""An audit says what trains, because something came back to it, and leaves no trace."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

import statespan
from statespan.adapters import METHODS, adapt, audit, hylora
from statespan.errors import AdapterError, InputError, TrainingError, UnknownNameError
from statespan.pretrained.structure import structure
from tests.adapters.adapted_models import RANK, adapted, disturb
from tests.pretrained.tiny_models import SPAN_FAMILIES, tiny_model, tokens

EVERY = pytest.mark.parametrize("family", SPAN_FAMILIES)


def by_peft(model: Any, **options: Any) -> Any:
    """Return `model` with adapters that PEFT put there, with nothing of this package."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        return peft.get_peft_model(model, peft.LoraConfig(r=RANK, **options))


def size_of(model: Any, paths: set[str]) -> int:
    """Return how many numbers the modules hold, each weight once."""
    weights = {weight for path in paths for weight in model.get_submodule(path).parameters()}
    return sum(weight.numel() for weight in weights)


def low_rank_size(model: Any, paths: set[str]) -> int:
    """Return how many numbers adapters of a rank around these maps hold, one a weight."""
    weights = {model.get_submodule(path).weight for path in paths}
    return sum(RANK * sum(weight.shape) for weight in weights)


@EVERY
def test_the_table_counts_what_trains(family: str) -> None:
    model = tiny_model(family)
    found, size = structure(model), sum(weight.numel() for weight in model.parameters())
    expected = {
        "attention projections": low_rank_size(
            model, {path for item in found.attentions for path in item.projections}
        ),
        "embeddings": size_of(model, set(found.embeddings)),
        "norms": size_of(model, set(found.norms)),
        "convolutions": size_of(model, {item.path for item in found.convolutions}),
    }
    wrapped = adapt(model, hylora(model, RANK, 2 * RANK))
    result = audit(wrapped, tokens(), method="hylora")
    assert {row.part: row.parameters for row in result.rows} == {
        part: count for part, count in expected.items() if count
    }
    assert all(row.layers == row.layers_in_all for row in result.rows)
    assert (result.parameters, result.trainable) == (size, sum(expected.values()))
    assert result.share == sum(expected.values()) / size
    assert result.trainable == sum(w.numel() for w in wrapped.parameters() if w.requires_grad)
    assert (result.without_gradient, result.bypassed, result.apart) == ((), (), ())


@EVERY
def test_it_leaves_no_trace(family: str) -> None:
    wrapped = adapted(family).train()
    before = {name: value.clone() for name, value in wrapped.state_dict().items()}
    modes = [module.training for module in wrapped.modules()]
    audit(wrapped, tokens())
    after = wrapped.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert [module.training for module in wrapped.modules()] == modes
    assert all(weight.grad is None for weight in wrapped.parameters())


@EVERY
def test_the_projections_of_mixers_train_too(family: str) -> None:
    if not structure(tiny_model(family)).mixers:
        return
    result = audit(adapted(family, ssm_projections=True), tokens())
    assert "mixers' projections" in {row.part for row in result.rows}
    assert not result.without_gradient
    assert not result.bypassed


def parts(model: Any, kind: type[nn.Module]) -> list[Any]:
    """Return what is trained of every layer of a kind, in place of the layer itself."""
    return [
        module.modules_to_save["default"]
        for module in model.modules()
        if isinstance(module, peft.utils.ModulesToSaveWrapper)
        and isinstance(module.original_module, kind)
    ]


@pytest.mark.parametrize("family", ["bamba", "zamba2", "zaya", "lfm2"])
def test_frozen_convolutions_are_an_error(family: str) -> None:
    wrapped = adapted(family)
    for module in parts(wrapped, nn.Conv1d):
        module.requires_grad_(False)
    with pytest.raises(AdapterError, match=r"are to train do not \(convolutions\): .* has nothing"):
        audit(wrapped, tokens())


def test_one_frozen_norm_among_many_is_an_error() -> None:
    wrapped = adapted("bamba")
    wrapped.base_model.model.model.final_layernorm.requires_grad_(False)
    with pytest.raises(AdapterError, match=r"^1 of \d+ layers that are to train do not \(norms\)"):
        audit(wrapped, tokens())


@pytest.mark.parametrize("left_out", ["conv1d", "norm", "embed_tokens"])
def test_what_a_method_promises_is_asked_for(left_out: str) -> None:
    model = tiny_model("jamba")
    config = hylora(model, RANK, 2 * RANK)
    names = [name for name in config.modules_to_save or () if not name.endswith(left_out)]
    wrapped = adapt(model, copy.deepcopy(config))
    assert audit(wrapped, tokens(), method="hylora").trainable
    other = tiny_model("jamba")
    config.modules_to_save = names
    fewer = adapt(other, config)
    assert audit(fewer, tokens()).trainable  # all that its config promises trains
    with pytest.raises(AdapterError, match="layers that are to train do not"):
        audit(fewer, tokens(), method="hylora")


def test_fewer_projections_than_the_method_s_are_an_error_only_with_it() -> None:
    wrapped = by_peft(tiny_model("llama"), target_modules=["q_proj", "v_proj"])
    (row,) = audit(wrapped, tokens()).rows
    assert (row.layers, row.layers_in_all) == (4, 8)
    with pytest.raises(AdapterError, match=r"attention projections.*k_proj has nothing"):
        audit(wrapped, tokens(), method="lora")


def test_an_adapter_that_is_never_called_is_an_error() -> None:
    wrapped = by_peft(tiny_model("jamba"), target_modules=["q_proj", "dt_proj"])
    with pytest.raises(AdapterError, match=r"\(mixers' projections\): .*dt_proj gets no gradient"):
        audit(wrapped, tokens())
    statespan.accelerate(wrapped)  # where it is called
    result = audit(wrapped, tokens())
    assert {path.rpartition(".")[2] for path in result.bypassed} == {"dt_proj"}


@pytest.mark.parametrize("family", ["bamba", "zamba2", "granitemoehybrid"])
def test_what_a_kernel_would_bypass_is_told(family: str) -> None:
    wrapped = by_peft(tiny_model(family), target_modules=["in_proj", "out_proj"])
    result = audit(wrapped, tokens())
    names = {name for name, _ in wrapped.named_modules() if name.endswith("mamba.out_proj")}
    assert set(result.bypassed) == names
    assert "read past its adapter: base_model.model.model.layers.0.mamba.out_proj" in str(result)


def test_convolutions_with_low_rank_adapters_are_bypassed_and_an_error() -> None:
    wrapped = by_peft(tiny_model("bamba"), target_modules=["conv1d"], rank_pattern={"conv1d": 96})
    with pytest.raises(AdapterError, match=r"\(convolutions\)"):
        audit(wrapped, tokens())


def test_a_tensor_without_gradient_beside_others_is_told() -> None:
    model = tiny_model("zaya")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("0.self_attn.qk_norm.temp"):  # so that no key is like any query
                weight.zero_()
    result = audit(adapt(model, hylora(model, RANK, 2 * RANK)), tokens())
    assert result.without_gradient
    assert "no gradient: base_model.model.model.layers.0" in str(result)
    assert all("qkv_proj" in name for name in result.without_gradient)


def test_a_part_that_gets_only_zeros_is_an_error() -> None:
    new = tiny_model("zaya")
    with torch.no_grad():
        for name, weight in new.named_parameters():
            if name.endswith("temp"):  # as the model is made
                weight.zero_()
    with pytest.raises(AdapterError, match=r"\(convolutions\): .* gets a gradient of zeros"):
        audit(adapt(new, hylora(new, RANK, 2 * RANK)), tokens())
    model = tiny_model("llama")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("o_proj.weight"):
                weight.zero_()
    config = peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
    with pytest.raises(AdapterError, match="q_proj gets a gradient of zeros"):
        audit(adapt(model, config), tokens())


def test_adapters_of_one_weight_that_are_apart_are_told() -> None:
    wrapped = by_peft(tiny_model("zamba"), target_modules=["q_proj"])
    result = audit(wrapped, tokens())
    assert len(result.apart) == 1
    assert "one weight, several adapters: base_model.model.model.layers.1" in str(result)


def test_a_model_without_adapters_trains_whole() -> None:
    model = tiny_model("bamba")
    result = audit(model, tokens())
    assert result.share == 1
    assert [row.part for row in result.rows][-1] == "everything else"
    with pytest.raises(AdapterError, match="nothing of the BambaForCausalLM trains"):
        audit(model.requires_grad_(False), tokens())


def test_a_batch_is_ids_or_the_arguments_of_a_call() -> None:
    wrapped = adapted("bamba")
    mask = torch.ones_like(tokens())
    mask[0, :3] = 0
    labels = tokens().masked_fill(mask == 0, -100)
    batch = {"input_ids": tokens(), "attention_mask": mask, "labels": labels}
    assert audit(wrapped, batch) == audit(wrapped, tokens())


WRONG: list[Any] = [
    torch.zeros(2, 3, 4, dtype=torch.long),
    torch.zeros(2, 3),
    {"labels": tokens()},
    torch.zeros(0, 3, dtype=torch.long),
    torch.full((1, 3), 32),
    torch.full((1, 3), -1),
]


@pytest.mark.parametrize("batch", WRONG)
def test_other_batches_are_refused(batch: Any) -> None:
    with pytest.raises(InputError, match="batch must "):
        audit(adapted("llama"), batch)


def test_a_loss_that_is_no_number_is_an_error() -> None:
    wrapped = adapted("llama")
    with torch.no_grad():
        wrapped.base_model.model.model.norm.weight[0] = torch.nan
    with pytest.raises(TrainingError, match="the loss on the batch is nan"):
        audit(wrapped, tokens())


def test_an_unknown_method_is_told() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown method 'lora-'"):
        audit(adapted("llama"), tokens(), method="lora-")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_its_promise(method: Any) -> None:
    wrapped = disturb(adapted("zamba2", method=method))
    result: Any = statespan.audit(wrapped, tokens(), method=method)
    assert len(result.rows) == len(METHODS[method])
    assert isinstance(next(wrapped.parameters()), Tensor)
