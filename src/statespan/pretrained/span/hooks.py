"""What happens around each forward pass of an extended model: its mask, its cache, its step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.cache_utils import Cache, DynamicCache

from statespan.errors import ConfigError, InputError
from statespan.memory import Attention, ShiftedAttention, SpanAttention
from statespan.pretrained.accelerated import separates_documents
from statespan.pretrained.span.cache import SpanLayer, adopt, check_cache
from statespan.pretrained.span.calls import (
    bound,
    check_call,
    documents_in,
    is_generating,
    is_packed,
    wants_cache,
)
from statespan.pretrained.span.passes import HERE, Pass, Watcher
from statespan.pretrained.span.plan import Plan
from statespan.pretrained.span.setting import Saved, mark_trained

__all__ = ["NAME", "LayerBegin", "PassBegin", "PassEnd", "implementation_of"]

NAME = "statespan"
"""Of our attention among those of `transformers`, where a model's config names one."""


def implementation_of(decoder: Any) -> str:
    """Return the name of the attention that a decoder's config asks for."""
    name: str = decoder.config._attn_implementation  # noqa: SLF001
    return name


@dataclass(eq=False)
class PassBegin:
    """A hook before each forward pass of a decoder, and what it knows of the model.

    Attributes:
        config: what to attend with.
        plan: what of the model is extended.
        offload: where old keys and values go.
        step: the number of the next training step.
        watchers: who is told what was chosen.
        handles: the hooks that were put into the model, this one among them.
        stock: the attention of the model before.
        saved: what its config said before.
    """

    config: Attention
    plan: Plan
    offload: torch.device | str | None = None
    step: int = 0
    watchers: tuple[Watcher, ...] = ()
    handles: list[RemovableHandle] = field(default_factory=list)
    stock: str = "sdpa"
    saved: Saved = field(default_factory=list)

    def __call__(
        self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]]:
        call = bound(decoder, args, kwargs)
        ids, embeddings = call.get("input_ids"), call.get("inputs_embeds")
        tokens = embeddings if ids is None else ids
        if tokens is None:
            return (), call  # the model itself says what is missing
        HERE.leave()
        _check_implementation(decoder)
        if call.get("past_key_values") is not None:
            check_cache(call["past_key_values"], self.plan.kinds)
        check_call(decoder, call, tokens)
        documents = documents_in(call, tokens)
        trains = decoder.training and torch.is_grad_enabled()
        step = self.step if trains else 0
        cache = self._cache(decoder, call, packed=is_packed(documents), trains=trains)
        slides, watchers = self.plan.window is not None, self.watchers
        current = Pass(self.config, documents, step, slides=slides, watchers=watchers)
        HERE.enter(current, () if cache is None else self._layers(cache, decoder, step))
        if trains:
            self.step += 1
            mark_trained(self.plan, self.config, self.step)
        return (), call

    def _cache(self, decoder: Any, call: dict[str, Any], *, packed: bool, trains: bool) -> Any:
        """Return the cache of a call, if it is to have one, and let the call have it."""
        cache = call.get("past_key_values")
        if packed:
            self._check_packed(cache)
        if cache is not None or (not self.config.causal and is_generating()):
            _check_causal(self.config)
        # What a training step leaves by default is read by nobody, and costs memory.
        by_default = trains and call.get("use_cache") is None
        unfit = packed or by_default or isinstance(self.config, ShiftedAttention)
        if cache is None and (unfit or not wants_cache(decoder, call)):
            call["use_cache"] = False
        elif cache is None:
            cache = call["past_key_values"] = DynamicCache(config=decoder.config)
        return cache

    def _layers(self, cache: Cache, decoder: Any, step: int) -> tuple[SpanLayer, ...]:
        return adopt(
            cache,
            self.plan.modules,
            self.config,
            model_config=decoder.config,
            step=step,
            offload=self.offload,
        )

    def _check_packed(self, cache: object) -> None:
        if cache is not None:
            raise InputError(
                "several documents in one row (position_ids that begin anew) cannot go into a "
                "cache: nothing says which of them the next token continues; leave "
                "past_key_values out, or give each document a row."
            )
        for path, modules in self.plan.mixing.items():
            if not any(separates_documents(module) for module in modules):
                raise InputError(
                    f"several documents in one row (position_ids that begin anew) mix in {path}, "
                    "which carries a state from token to token: call statespan.accelerate(model), "
                    "which keeps documents apart in the mixers that it knows, on a CPU, or give "
                    "each document a row."
                )


def _check_implementation(decoder: Any) -> None:
    if implementation_of(decoder) != NAME:
        raise InputError(
            f"the attention of this model was set to {implementation_of(decoder)!r} since "
            "statespan.enable (in a config that another model shares, perhaps); "
            "statespan.disable(model), or enable again."
        )


def _check_causal(config: Attention) -> None:
    if config.causal:
        return
    what = (
        f'selection = "{config.nearest_causal}", the nearest causal one'
        if isinstance(config, SpanAttention)
        else "a causal attention"
    )
    raise ConfigError(
        f"{config} is not causal: what a token sees depends on tokens that are not there yet when "
        f"it is generated. For generate and for caches enable {what}, or attend in full, by "
        "statespan.disable(model)."
    )


@dataclass(frozen=True, eq=False, slots=True)
class PassEnd:
    """A hook after each forward pass, whether or not it failed."""

    def __call__(self, decoder: nn.Module, args: object, output: object) -> None:
        del decoder, args, output
        HERE.leave()


@dataclass(frozen=True, eq=False, slots=True)
class LayerBegin:
    """A hook before each attention layer: it says at which depth of the model it is.

    Attributes:
        number: its depth, unless the call says it, as that of a block does which is used twice.
    """

    number: int

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        del module, args
        number = kwargs.get("layer_idx")
        HERE.layer = self.number if number is None else number
        HERE.cache = None
