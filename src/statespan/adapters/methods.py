"""Which parts of a model each method trains, as a config of PEFT."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal

from torch import nn

from statespan.adapters.parts import Part, has_adapters, parts_of
from statespan.errors import ConfigError, InputError, UnknownNameError
from statespan.pretrained.layers import named_layers
from statespan.pretrained.structure import Structure, structure

if TYPE_CHECKING:
    from peft import LoraConfig

__all__ = ["METHODS", "Method", "hylora"]

Method = Literal["hylora", "lora", "lora+"]

METHODS: Final[dict[Method, frozenset[Part]]] = {
    "hylora": frozenset({"attention", "embeddings", "norms", "convolutions"}),
    "lora": frozenset({"attention"}),
    "lora+": frozenset({"attention", "embeddings", "norms"}),
}
"""What each method trains: attention by low-rank adapters, and the rest in full."""

LOW_RANK: Final[frozenset[Part]] = frozenset({"attention", "mixers"})


def hylora(
    model: nn.Module,
    rank: int = 32,
    alpha: float = 64,
    method: Method = "hylora",
    *,
    embeddings: bool = True,
    ssm_projections: bool = False,
    convolutions_only: bool = False,
) -> LoraConfig:
    """Return the config of PEFT that trains of `model` what a method trains.

    HyLoRA (Nunez et al. 2024, arXiv:2412.13328) puts low-rank adapters on the projections of
    attention and trains the embeddings, the norms and every convolution over time in full; LoRA+
    leaves out the convolutions, LoRA all but the adapters. What is trained is found by what
    modules do, on every model whose attention can span; its names are written out in full.

    The config is PEFT's own, and so is the checkpoint: to load it takes PEFT and nothing else.
    Give it to `adapt`, which also lets the blocks that share one weight share one adapter.

    Args:
        model: a model of `transformers`, without adapters; one on the meta device will do.
        rank: the rank of the adapters.
        alpha: the scale of the adapters, times the rank; the paper keeps it at twice the rank.
        method: the name of the method.
        embeddings: whether the table of embeddings is among what is trained in full. A head that
            is tied to it stays tied, and one that is not stays as it is.
        ssm_projections: whether the projections of state-space and delta-rule layers get adapters,
            too: those that are called, not those whose weight a kernel takes as it is.
        convolutions_only: whether nothing but the convolutions is trained.

    Raises:
        ConfigError: `rank` is not a whole number from 1 on, or `alpha` not a number above 0.
        UnknownNameError: there is no method of that name.
        InputError: `model` has none of what is to be trained, or has adapters already.

    Example:
        >>> import torch
        >>> from transformers import BambaConfig, BambaForCausalLM
        >>> with torch.device("meta"):
        ...     model = BambaForCausalLM(BambaConfig(num_hidden_layers=2, attn_layer_indices=[1]))
        >>> config = hylora(model)
        >>> sorted(config.target_modules)[0], config.r, config.lora_alpha
        ('model.layers.1.self_attn.k_proj', 32, 64)
        >>> config.modules_to_save[0], config.modules_to_save[-1]
        ('model.embed_tokens', 'model.final_layernorm')
    """
    _check(model, rank, alpha, method)
    parts = _parts(method, embeddings, ssm_projections, convolutions_only)
    found = structure(model)
    _check_found(model, found, parts)
    targets = [*_low_rank(found, parts)]
    saved = _in_full(model, found, parts)
    head: Any = None if found.head is None else model.get_submodule(found.head)
    # PEFT makes a tied head anew, and without a bias.
    ties = found.is_tied and "embeddings" in parts and getattr(head, "bias", None) is None
    peft, nothing = _peft()
    config: LoraConfig = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        target_modules=targets or nothing,
        modules_to_save=saved or None,
        ensure_weight_tying=ties,
    )
    return config


def _check(model: nn.Module, rank: int, alpha: float, method: str) -> None:
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ConfigError(f"rank must be a whole number from 1 on, got {rank!r}.")
    is_number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool)
    if not is_number or not math.isfinite(alpha) or alpha <= 0:
        raise ConfigError(f"alpha must be a number above 0, got {alpha!r}.")
    if isinstance(model, nn.Module) and has_adapters(model):
        raise InputError("model must be without adapters, got one with; unload or merge them.")


def _parts(
    method: Method, embeddings: bool, ssm_projections: bool, convolutions_only: bool
) -> frozenset[Part]:
    if convolutions_only:
        return frozenset({"convolutions"})
    more: frozenset[Part] = frozenset({"mixers"} if ssm_projections else ())
    fewer: frozenset[Part] = frozenset(() if embeddings else {"embeddings"})
    return (METHODS[method] | more) - fewer


def _low_rank(found: Structure, parts: frozenset[Part]) -> Iterator[str]:
    """Yield the paths of the linear maps that get adapters."""
    if "attention" in parts:
        for attention in found.attentions:
            yield from attention.projections
    if "mixers" in parts:
        for mixer in found.mixers:
            yield from mixer.projections


def _in_full(model: nn.Module, found: Structure, parts: frozenset[Part]) -> list[str]:
    """Return the paths of the layers that are trained in full, in the model's order."""
    chosen = {path for path, part in parts_of(found).items() if part in parts - LOW_RANK}
    names = [path for path, _ in named_layers(model)]
    # PEFT takes every module whose path ends in a name.
    others = [path for path in names if path not in chosen and path.endswith(tuple(chosen))]
    if others:
        raise InputError(
            f"model: PEFT would train {others[0]}, too, for its name ends like another's;"
            " give the model with its head, whose names are longer."
        )
    return [path for path in names if path in chosen]


def _check_found(model: nn.Module, found: Structure, parts: frozenset[Part]) -> None:
    name = type(model).__name__
    if "attention" in parts and not found.attentions:
        raise InputError(
            f"model: {name} has no attention that goes through `transformers`' attention"
            " functions, which the method trains; its convolutions alone can be trained"
            " (convolutions_only=True)."
        )
    if "attention" in parts and not all(item.projections for item in found.attentions):
        raise InputError(f"model: the attention of {name} has no linear maps of torch to adapt.")
    if parts == {"convolutions"} and not found.convolutions:
        raise InputError(f"model: {name} has no convolution over time to train.")
    if "mixers" in parts and not any(mixer.projections for mixer in found.mixers):
        raise InputError(f"model: {name} has no state-space or delta-rule layer to adapt.")


def _peft() -> tuple[Any, str]:
    import peft  # noqa: PLC0415
    from peft.utils.constants import DUMMY_TARGET_MODULES  # noqa: PLC0415

    return peft, DUMMY_TARGET_MODULES
