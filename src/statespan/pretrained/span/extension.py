"""The attention of a model of `transformers`, exchanged, and its own back again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from statespan.errors import ConfigError, InputError
from statespan.memory import RECALL, Attention, FullAttention
from statespan.pretrained.span.function import attend
from statespan.pretrained.span.hooks import (
    NAME,
    LayerBegin,
    PassBegin,
    PassEnd,
    implementation_of,
)
from statespan.pretrained.span.masks import span_mask
from statespan.pretrained.span.plan import check_suits, plan_extension
from statespan.pretrained.span.setting import KINDS, attention_setting, forget, remember

__all__ = ["Extension", "attention", "disable", "enable", "hook_of"]


@dataclass(frozen=True, slots=True)
class Extension:
    """What one call of `enable` did; as a context manager it is undone at the exit.

    Attributes:
        model: the model that was given, the very object.
        config: what it attends with.
        extended: the paths of the attention layers that do.
        kept: the paths of the attention layers that go on as they were, and why.
    """

    model: nn.Module = field(repr=False)
    config: Attention
    extended: tuple[str, ...]
    kept: Mapping[str, str]
    before: PassBegin | None = field(default=None, repr=False)

    def __enter__(self) -> Extension:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        disable(self.model)
        if self.before is not None:
            _install(self.before)

    def __str__(self) -> str:
        lines = [f"{path}: {self.config}" for path in self.extended]
        lines += [f"{path}: as it was, for {reason}" for path, reason in self.kept.items()]
        return "\n".join(lines)


def enable(
    model: nn.Module,
    config: Attention | None = None,
    *,
    offload: torch.device | str | None = None,
    step: int | None = None,
) -> Extension:
    """Let the attention of `model`, a model of `transformers`, be that of `config`.

    At once and in place, for this model alone: each forward pass, `generate`, pipelines, adapters
    and gradient checkpointing use it until `disable`, or to the end of a `with` block. Layers that
    slide keep their window, if others do not. Enabling again replaces what was enabled.

    The model's config says what is enabled, and so does a checkpoint saved meanwhile.

    Args:
        model: the model; adapters may be around it, and its mixers may be accelerated.
        config: a `SpanAttention` or one of the baselines of `statespan.memory`; by default what
            the model's config says, as in a checkpoint that was saved while enabled, or else
            `statespan.memory.RECALL`.
        offload: where keys and values older than the chunk are kept in generation, for example
            "cpu"; by default beside the model.
        step: the number of the next training step, from which chunk sizes are drawn; by default 0,
            or, if `config` is taken from a checkpoint, where that one stopped.

    Raises:
        InputError: the model has no attention that can be exchanged; the message says why.
        ConfigError: `config` does not suit this model.

    Example:
        >>> from statespan.memory import SpanAttention
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> with torch.device("meta"):
        ...     model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2))
        >>> enable(model, SpanAttention(selection="running")).extended
        ('model.layers.0.self_attn', 'model.layers.1.self_attn')
    """
    saved = attention_setting(model)
    before = hook_of(model)
    if config is None:
        config = saved.config or saved.trained_with or RECALL
        step = saved.steps if step is None else step
    if type(config).__name__ not in KINDS:
        raise ConfigError(f"config must be one of {', '.join(KINDS)}, got {config!r}.")
    plan = plan_extension(model)
    check_suits(plan, config)
    disable(model)
    if isinstance(config, FullAttention):
        stock = dict.fromkeys(plan.paths, "full attention is what it has") | dict(plan.kept)
        return Extension(model, config, (), stock, before)
    _install(PassBegin(config, plan, offload=offload, step=step or 0))
    return Extension(model, config, plan.paths, plan.kept, before)


def disable(model: nn.Module) -> None:
    """Undo `enable`: hooks, masks, caches and config are the model's own again, bit for bit.

    Only that it was trained so, if it was, stays in the model's config. A model that is not enabled
    is left as it is.
    """
    hook = hook_of(model)
    if hook is None:
        return
    while hook.handles:
        hook.handles.pop().remove()
    hook.plan.decoder.set_attn_implementation(hook.stock)
    forget(hook.saved)


@contextmanager
def attention(
    model: nn.Module, config: Attention, *, offload: torch.device | str | None = None
) -> Iterator[Extension]:
    """Let `model` attend with `config` within a `with` block, and as before after it.

    What it was before may be its own attention or another that was enabled, blocks may be nested,
    and it does not matter how the block ends.
    """
    with enable(model, config, offload=offload) as extension:
        yield extension


def hook_of(model: nn.Module) -> PassBegin | None:
    """Return the hook by which `model` is extended; none if it is not."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():  # noqa: SLF001
            if isinstance(hook, PassBegin):
                return hook
    return None


def _install(hook: PassBegin) -> None:
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, span_mask)
    decoder = hook.plan.decoder
    stock = implementation_of(decoder)
    hook.stock = "sdpa" if stock == NAME else stock  # its config may be another model's, too
    hook.saved = remember(hook.plan, hook.config)
    decoder.set_attn_implementation(NAME)
    hook.handles += [
        decoder.register_forward_pre_hook(hook, with_kwargs=True),
        decoder.register_forward_hook(PassEnd(), always_call=True),
    ]
    hook.handles += [
        module.register_forward_pre_hook(LayerBegin(number), with_kwargs=True)
        for number, module in hook.plan.modules.items()
    ]
