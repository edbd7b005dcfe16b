"""For how long a context a model was made, and its positions stretched over a longer one."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from statespan.errors import ConfigError
from statespan.pretrained.span.plan import model_of
from statespan.pretrained.structure import structure

__all__ = ["PositionScaling", "context_length", "default_scaling", "stretch_positions"]

PositionScaling = Literal["none", "linear", "yarn"]


def context_length(model: nn.Module) -> int | None:
    """Return for how many tokens a model was made, as its config says; none if it does not."""
    config: Any = model_of(model).config.get_text_config()
    length: int | None = getattr(config, "max_position_embeddings", None)
    return length


def default_scaling(model: nn.Module) -> PositionScaling:
    """Return how rotary positions are stretched by default.

    As in Nunez et al. (2024, arXiv:2412.13328): not at all in a hybrid, and by a constant factor in
    a model of attention alone. Without rotary positions there is nothing to stretch.
    """
    return "none" if structure(model).mixers or not _rotary_parameters(model) else "linear"


def stretch_positions(model: nn.Module, length: int, scaling: PositionScaling) -> float | None:
    """Let a model and its config be for `length` tokens; return the factor of its positions.

    The factor is `length` over the model's own length, rounded up; none without scaling. What is
    saved from then on says so in `rope_parameters`.

    Raises:
        ConfigError: the model has no rotary positions, or some that are stretched already.
    """
    outer: Any = model_of(model)
    config = outer.config.get_text_config()
    own = context_length(model)
    config.max_position_embeddings = length
    if scaling == "none" or own is None:
        return None
    parameters = _rotary_parameters(model)
    if not parameters:
        raise ConfigError(
            f"rope {scaling!r} needs rotary positions that one rope_parameters describes; "
            f'{type(outer).__name__} has none: take rope = "none".'
        )
    if parameters["rope_type"] != "default":
        raise ConfigError(
            f"the positions of this model are stretched already ({parameters['rope_type']}): take "
            'rope = "none", or its original.'
        )
    factor = float(-(-length // own))
    original = {"original_max_position_embeddings": own}
    more = {} if scaling == "linear" else original
    config.rope_parameters = {**parameters, "rope_type": scaling, "factor": factor, **more}
    _renew(outer, config)
    return factor


def _rotary_parameters(model: nn.Module) -> dict[str, Any]:
    """Return what the config says of rotary positions, if the model has them and all the same."""
    outer: Any = model_of(model)
    parameters = getattr(outer.config.get_text_config(), "rope_parameters", None)
    if not any(name.endswith("inv_freq") for name, _ in outer.named_buffers()):
        return {}
    is_one = isinstance(parameters, dict) and "rope_type" in parameters
    return dict(parameters) if is_one and parameters else {}


def _renew(outer: Any, config: Any) -> None:
    """Make every module of rotary positions anew, as the config has them now."""
    for path, module in list(outer.named_modules()):
        if "inv_freq" in dict(module.named_buffers(recurse=False)):
            place, _, name = path.rpartition(".")
            device = module.get_buffer("inv_freq").device
            setattr(outer.get_submodule(place), name, type(module)(config).to(device))
