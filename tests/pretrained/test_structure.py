"""What a model is found to be made of is what it does when it runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, MiniMaxConfig, MiniMaxForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from statespan.errors import InputError
from statespan.pretrained import accelerate
from statespan.pretrained.attentions import Attention
from statespan.pretrained.structure import Structure, structure
from tests.pretrained.tiny_models import PURE, SPAN_FAMILIES, TOKENS, tiny_model, tokens

EVERY = pytest.mark.parametrize("family", SPAN_FAMILIES)

LATENT = {"kimi_linear", "kimi_linear/low_rank", "bailing_hybrid"}
NOPE = {
    *("jamba", "granitemoehybrid", "nemotron_h", "zamba", "zamba2/nope", "olmo_hybrid/nope"),
    *("kimi_linear", "kimi_linear/low_rank"),
}
HANDED_OVER = {
    *("bamba", "falcon_h1", "granitemoehybrid", "granitemoehybrid/rope", "nemotron_h"),
    *("zamba2", "zamba2/adapters", "zamba2/blocks", "zamba2/nope"),
}
BYPASSED = {"jamba": {"dt_proj"}, **{family: {"out_proj"} for family in HANDED_OVER}}
"""The maps of mixers whose weight goes to `mamba_ssm`'s kernel, or into a product, as it is."""


@contextmanager
def recorded(model: Any) -> Iterator[dict[nn.Module, dict[str, Any]]]:
    """Let attention functions note what they are given, and give a fresh tensor back."""
    found: dict[nn.Module, dict[str, Any]] = {}

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **settings: Any
    ) -> tuple[Tensor, None]:
        batch, heads, length, _ = query.shape
        attended = torch.ones(batch, length, heads, value.shape[-1], requires_grad=True)
        found[module] = {"tensors": (query, key, value), "attended": attended, **settings}
        return attended, None

    before = model.config._attn_implementation
    AttentionInterface.register("recording", attend)
    try:
        model.set_attn_implementation("recording")
        yield found
    finally:
        model.set_attn_implementation(before)
        del ALL_ATTENTION_FUNCTIONS._global_mapping["recording"]


def linear_maps(model: Any, attention: Attention) -> dict[str, nn.Linear]:
    """Return the linear maps of an attention module, but for those that differ by the call."""
    prefix = f"{attention.path}."
    return {
        name: module
        for name, module in model.named_modules()
        if name.startswith(prefix) and isinstance(module, nn.Linear) and "_list." not in name
    }


def depends_on(tensor: Tensor, maps: dict[str, nn.Linear]) -> set[str]:
    weights = [module.weight for module in maps.values()]
    found = torch.autograd.grad(tensor.sum(), weights, retain_graph=True, allow_unused=True)
    return {name for name, gradient in zip(maps, found, strict=True) if gradient is not None}


@EVERY
def test_the_attention_function_is_given_what_is_said(family: str) -> None:
    model = tiny_model(family)
    attentions = structure(model).attentions
    with recorded(model) as calls:
        model(tokens(), use_cache=False)
    assert [model.get_submodule(item.path) for item in attentions] == list(calls)
    for item, call in zip(attentions, calls.values(), strict=True):
        query, key, value = call["tensors"]
        assert (item.num_heads, item.key_width) == (query.shape[1], query.shape[3])
        assert (item.num_kv_heads, item.key_width) == (key.shape[1], key.shape[3])
        assert (item.num_kv_heads, item.value_width) == (value.shape[1], value.shape[3])
        assert item.scaling == call["scaling"]
        assert item.sliding_window == call.get("sliding_window")
        assert item.is_causal
    assert {item.is_latent for item in attentions} == {family in LATENT}


@EVERY
def test_queries_keys_and_values_are_made_with_the_maps_that_are_said(family: str) -> None:
    model = tiny_model(family)
    shared = structure(model).shared
    later = {name.rpartition(".")[0] for group in shared for name in group[1:]}
    with recorded(model) as calls:
        model(tokens(), use_cache=False)
    for item, call in zip(structure(model).attentions, calls.values(), strict=True):
        if item.path in later:  # what it is given was made with the same weights before
            continue
        maps = linear_maps(model, item)
        found = [depends_on(tensor, maps) for tensor in call["tensors"]]
        assert [set(item.query), set(item.key), set(item.value)] == found
        assert set(item.projections) <= maps.keys()
        assert len(set(item.projections)) == len(item.projections)


@EVERY
def test_what_was_attended_goes_through_the_maps_that_are_said(family: str) -> None:
    model = tiny_model(family)
    outputs: dict[str, Tensor] = {}

    def note(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs[name] = output

    attentions = structure(model).attentions
    for item in attentions:
        for name, module in linear_maps(model, item).items():
            module.register_forward_hook(partial(note, name))
    with recorded(model) as calls:
        model(tokens(), use_cache=False)
    for item, call in zip(attentions, calls.values(), strict=True):
        found = set()
        for name in linear_maps(model, item):
            leaf, output = call["attended"], outputs[name]
            (gradient,) = torch.autograd.grad(
                output.sum(), leaf, retain_graph=True, allow_unused=True
            )
            if gradient is not None:
                found.add(name)
        assert set(item.output) == found


@EVERY
def test_positions_turn_as_many_entries_as_are_said(family: str) -> None:
    model = tiny_model(family)
    queries = []
    for shift in (0, 1000):
        with recorded(model) as calls:
            model(tokens(), position_ids=torch.arange(19)[None] + shift, use_cache=False)
        queries.append(next(iter(calls.values()))["tensors"][0])
    attention = structure(model).attentions[0]
    turned = (queries[0] != queries[1]).any(dim=(0, 2))  # [head, width]
    assert turned.sum(-1).tolist() == [attention.rotary_width] * attention.num_heads
    assert (attention.position == "none") == (family in NOPE)
    assert (attention.position == "rotary") == (attention.rotary_width == attention.key_width)


def own_vectors(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that own nothing but vectors."""
    for name, module in model.named_modules():
        own = list(module.parameters())
        if own and not list(module.children()) and all(weight.ndim == 1 for weight in own):
            yield name, module


def ignores_size(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Return whether a module gives the same for an input four times as large."""
    results = []
    for size in (1e8, 4e8):  # large beside any ε
        both = len(inputs) == 2 and len(next(module.parameters())) != inputs[0].shape[-1]
        sized = [inputs[0] * size, *((item * size if both else item) for item in inputs[1:])]
        result = module(*sized, **keywords)
        results.append(result if isinstance(result, Tensor) else result[0])
    return torch.allclose(*results, rtol=1e-4, atol=1e-6)  # noqa: TID251


@EVERY
@torch.no_grad()
def test_a_norm_is_what_does_not_care_for_the_size_of_its_input(family: str) -> None:
    model = tiny_model(family)
    calls: dict[nn.Module, Any] = {}

    def note(module: nn.Module, inputs: Any, keywords: Any) -> None:
        calls[module] = inputs, keywords

    for _, module in own_vectors(model):
        module.register_forward_pre_hook(note, with_kwargs=True)
    model(tokens(), use_cache=False)
    found = [name for name, module in own_vectors(model) if ignores_size(module, *calls[module])]
    assert list(structure(model).norms) == found


@pytest.mark.parametrize("family", [*SPAN_FAMILIES, *sorted(PURE)])
@torch.no_grad()
def test_a_mixer_s_maps_are_called_or_bypassed(family: str) -> None:
    model = tiny_model(family)
    called: set[nn.Module] = set()
    for module in model.modules():
        module.register_forward_pre_hook(lambda module, _: called.add(module))
    model(tokens(), use_cache=False)
    mixers = structure(model).mixers
    for mixer in mixers:
        module = model.get_submodule(mixer.path)
        linear = [child for child in module.modules() if isinstance(child, nn.Linear)]
        named = [model.get_submodule(name) for name in (*mixer.projections, *mixer.bypassed)]
        assert set(map(id, linear)) == set(map(id, named))
        assert {model.get_submodule(name) for name in mixer.projections} <= called
        assert not set(mixer.projections) & set(mixer.bypassed)
        if family not in PURE:
            names = {name.rpartition(".")[2] for name in mixer.bypassed}
            assert names == BYPASSED.get(family, set())
    with_states = {
        name.rpartition(".")[0]
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv1d) and "qkv_proj" not in name  # in zaya's attention modules
    }
    assert {mixer.path for mixer in mixers} == with_states


KINDS = {
    **dict.fromkeys(["mamba", "mamba2", "falcon_mamba", "jamba", "bamba", "zamba"], "state_space"),
    **dict.fromkeys(["zamba2", "granitemoehybrid", "nemotron_h", "falcon_h1"], "state_space"),
    **dict.fromkeys(["qwen3_next", "qwen3_5_text", "olmo_hybrid"], "delta_rule"),
    **dict.fromkeys(["kimi_linear", "bailing_hybrid"], "delta_rule"),
    **dict.fromkeys(["lfm2", "lfm3"], "convolution"),
}


@pytest.mark.parametrize("family", KINDS)
def test_a_mixer_has_the_kind_of_its_recurrence(family: str) -> None:
    assert {mixer.kind for mixer in structure(tiny_model(family)).mixers} == {KINDS[family]}


def test_lightning_attention_is_a_recurrence() -> None:
    kinds = ["linear_attention", "full_attention"]
    config = MiniMaxConfig(num_hidden_layers=2, num_local_experts=2, layer_types=kinds)
    with torch.device("meta"):
        found = structure(MiniMaxForCausalLM(config))
    assert [(mixer.path, mixer.kind) for mixer in found.mixers] == [
        ("model.layers.0.self_attn", "recurrence")
    ]
    assert [attention.path for attention in found.attentions] == ["model.layers.1.self_attn"]


@EVERY
def test_convolutions_are_told_apart_by_their_groups(family: str) -> None:
    model = tiny_model(family)
    found = structure(model).convolutions
    convolutions = [item for item in model.named_modules() if isinstance(item[1], nn.Conv1d)]
    assert [item.path for item in found] == [name for name, _ in convolutions]
    for item, (_, module) in zip(found, convolutions, strict=True):
        assert item.is_depthwise == (module.weight.shape[1] == 1)
    assert any(not item.is_depthwise for item in found) == (family == "zaya")


@EVERY
def test_tables_head_and_shared_weights_are_found(family: str) -> None:
    model = tiny_model(family)
    found = structure(model)
    table = model.get_submodule(found.embeddings[0])
    assert len(found.embeddings) == 1
    assert found.head is not None
    head = model.get_submodule(found.head)
    assert (table, head) == (model.get_input_embeddings(), model.get_output_embeddings())
    assert found.is_tied == (table.weight.data_ptr() == head.weight.data_ptr())
    places: dict[int, set[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        if name.rpartition(".")[0] not in {*found.embeddings, found.head}:
            places.setdefault(weight.data_ptr(), set()).add(name.rpartition(".")[0])
    shared = {frozenset(names) for names in places.values() if len(names) > 1}
    assert {frozenset(group) for group in found.shared} == shared
    assert bool(shared) == family.startswith("zamba")
    assert not any(set(a) & set(b) for a, b in combinations(found.shared, 2))


def without(prefix: str, found: Structure) -> str:
    return repr(found).replace(prefix, "")


@EVERY
def test_adapters_and_acceleration_change_nothing(family: str) -> None:
    import peft

    model = tiny_model(family)
    plain = structure(model)
    names = [name for item in plain.attentions for name in item.projections]
    config = peft.LoraConfig(
        target_modules=[*names, *(name for item in plain.mixers for name in item.projections[:1])],
        modules_to_save=[*plain.norms, *(item.path for item in plain.convolutions), plain.head],
        exclude_modules=r".*\.out_proj",
    )
    if "lfm2" in family:
        config.exclude_modules = None
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(model, config)
        accelerate(model)
    found = structure(wrapped)
    assert without("base_model.model.", found) == repr(plain)
    for path in (*found.norms, *(item.path for item in found.attentions)):
        wrapped.get_submodule(path)


def test_a_model_on_no_device_is_as_good_as_any() -> None:
    for family, settings in SPAN_FAMILIES.items():
        config = AutoConfig.for_model(family.partition("/")[0], **{**TOKENS, **settings})
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        assert structure(model) == structure(tiny_model(family))


def test_a_fused_map_makes_all_three() -> None:
    config = AutoConfig.for_model("phi3", **TOKENS, num_attention_heads=4, num_key_value_heads=2)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    first = structure(model).attentions[0]
    fused = ("model.layers.0.self_attn.qkv_proj",)
    assert (first.query, first.key, first.value) == (fused, fused, fused)
    assert first.projections == (*fused, "model.layers.0.self_attn.o_proj")
    assert (first.num_heads, first.num_kv_heads, first.key_width) == (4, 2, 8)
    assert not first.is_latent


def test_a_layer_without_positions_beside_others_is_told() -> None:
    config = AutoConfig.for_model(
        "smollm3", **TOKENS, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    positions = [item.position for item in structure(model).attentions]
    assert positions == ["rotary", "rotary", "rotary", "none"]


def test_only_modules_are_taken() -> None:
    with pytest.raises(InputError, match=r"model must be a torch.nn.Module, got str"):
        structure("bamba")  # type: ignore[arg-type]
    assert structure(nn.Identity()) == Structure((), (), (), (), (), None, False, ())
