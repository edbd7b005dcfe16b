"""A config of PEFT put into a model."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from statespan.adapters.few_bits import prepare_quantized
from statespan.adapters.parts import adapted_layers, has_adapters
from statespan.adapters.sharing import groups, tie
from statespan.errors import ConfigError, InputError

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

__all__ = ["adapt"]


def adapt(
    model: nn.Module, config: LoraConfig, *, generator: torch.Generator | None = None
) -> PeftModel:
    """Put the adapters that `config` asks for into `model`, and return PEFT's model around it.

    What PEFT's own `get_peft_model` does, and besides: the adapters around one weight (Zamba,
    Zamba2, a tied head) are one, names that nothing in the model has are refused, the config is
    left as it was, and no global random state is drawn from. A model that was loaded in 8 or 4
    bits is made ready for training first. `save_pretrained` writes a plain checkpoint of PEFT.

    Args:
        model: a model of `transformers`, without adapters; its layers are changed in place.
        config: what to train, of `hylora` or one's own.
        generator: what the first weights of the adapters are drawn from; by default one with a
            seed of its own, the same each time.

    Raises:
        InputError: `model` has adapters already.
        ConfigError: `config` is not one of LoRA, or names what `model` has not.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from statespan.adapters import hylora
        >>> sizes = {"hidden_size": 8, "intermediate_size": 8, "vocab_size": 8}
        >>> with torch.random.fork_rng():
        ...     model = LlamaForCausalLM(
        ...         LlamaConfig(**sizes, num_hidden_layers=1, num_attention_heads=2)
        ...     )
        >>> adapted = adapt(model, hylora(model, rank=2, alpha=4, method="lora"))
        >>> adapted.get_nb_trainable_parameters()
        (128, 728)
    """
    import peft  # noqa: PLC0415

    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    if has_adapters(model):
        raise InputError("model must be without adapters, got one with; unload or merge them.")
    if not isinstance(config, peft.LoraConfig):
        raise ConfigError(f"config must be a peft.LoraConfig, got {type(config).__name__}.")
    _check_names(model, config)
    model = prepare_quantized(model)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # PEFT warns of heads that it leaves untied, which are tied below, and of a name of its own.
        warnings.filterwarnings("ignore", message=".*(ensure_weight_tying|is_gradient_checkpoint)")
        adapted = peft.get_peft_model(model, copy.deepcopy(config))
    if config.init_lora_weights is True:
        _draw(adapted, torch.Generator().manual_seed(0) if generator is None else generator)
    tie(adapted, groups(adapted))
    return adapted


def _check_names(model: nn.Module, config: LoraConfig) -> None:
    paths = [path for path, _ in model.named_modules(remove_duplicate=False)]
    targets = config.target_modules
    names = [
        *(targets if isinstance(targets, (set, list)) else ()),
        *(config.modules_to_save or ()),
    ]
    unknown = [name for name in names if not any(path.endswith(name) for path in paths)]
    if unknown:
        raise ConfigError(
            f"config names {', '.join(sorted(unknown)[:3])}, which no module of"
            f" {type(model).__name__} is called; was it made for another model?"
        )


def _draw(model: nn.Module, generator: torch.Generator) -> None:
    """Draw the first factor of each adapter anew, as PEFT does, but from `generator`."""
    for _, weight in _first_factors(model):
        if weight.is_meta:
            continue
        drawn = torch.empty(weight.shape)
        nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
        with torch.no_grad():
            weight.copy_(drawn)


def _first_factors(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    for path, module in adapted_layers(model):
        factors: Any = dict(module.named_children()).get("lora_A")
        if factors is not None:
            yield from ((path, factor.weight) for factor in factors.values())
