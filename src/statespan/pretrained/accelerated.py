"""What stands for the classes of mixers, and of the layers around them, in an accelerated model."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from statespan.pretrained.continuation import Continuation, RecurrentCache
from statespan.pretrained.mixers import MixerForward, forward_of
from statespan.pretrained.packing import documents_of
from statespan.pretrained.substitution import Substitute

__all__ = [
    "PACKING",
    "AcceleratedMixer",
    "PackedLayer",
    "PackedModel",
    "separates_documents",
    "substitute_around",
]

DTYPES = frozenset({torch.bfloat16, torch.float32, torch.float64})

PACKING = frozenset({"cu_seq_lens_q", "position_ids", "seq_idx"})
"""What tells packed documents apart, where a model takes it."""


class AcceleratedMixer(Substitute):
    """A mixer that runs on this package's operations where its input is on the CPU."""

    mixer_forward: ClassVar[MixerForward]
    handed: Mapping[str, Any] | None = None
    """What the layer around it, a `PackedLayer`, was called with in the call under way."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        found = forward_of(cls.own_class)
        assert found is not None, "only a mixer with a forward of ours is substituted"
        cls.mixer_forward = staticmethod(found)

    def forward(
        self,
        hidden_states: Tensor,
        cache_params: RecurrentCache | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        convolution: Any = self.conv1d
        is_ours = _takes(hidden_states) and convolution.weight.device.type == "cpu"
        if not is_ours or (attention_mask is not None and attention_mask.ndim != 2):
            return super().forward(
                hidden_states,
                cache_params=cache_params,
                attention_mask=attention_mask,
                **kwargs,
            )
        layer: Any = self.layer_idx
        packing = kwargs if self.handed is None else {**self.handed, **kwargs}
        begins = cache_params is None or cache_params.get_conv_state(layer) is None
        positions = packing.get("position_ids") if begins else None
        documents = documents_of(hidden_states, attention_mask, positions, packing)
        call = Continuation(documents, cache_params, layer)
        outputs = type(self).mixer_forward(self, hidden_states, call)
        return outputs.to(hidden_states.dtype)


class PackedLayer(Substitute):
    """A layer that hands its mixers what tells packed documents apart, which stock ones keep."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        mixers = [child for child in self.children() if isinstance(child, AcceleratedMixer)]
        packing = {name: kwargs[name] for name in PACKING & kwargs.keys()}
        for mixer in mixers:
            mixer.handed = packing
        try:
            return super().forward(*args, **kwargs)
        finally:
            for mixer in mixers:
                mixer.handed = None


class PackedModel(Substitute):
    """A model that tells its mixers of packed documents in a way that gets through to them.

    Models of attention and mixers pass `seq_idx` on to most mixers, but `position_ids` to few.
    Models of mixers alone pass nothing on but the mask, so that it gets the documents' numbers.
    """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not PACKING & kwargs.keys() or not self._is_accelerated():
            return super().forward(*args, **kwargs)
        call = signature(super().forward).bind(*args, **kwargs).arguments
        rest = call.pop("kwargs", {})
        given = call | rest
        begins = given.get("cache_params") is None and given.get("past_key_values") is None
        positions = given.get("position_ids") if begins else None
        tokens = given["inputs_embeds"] if given.get("input_ids") is None else given["input_ids"]
        documents = documents_of(tokens, given.get("attention_mask"), positions, rest)
        if documents is not None and "cache_params" in signature(super().forward).parameters:
            call["attention_mask"] = documents + 1
        elif documents is not None:
            rest["seq_idx"] = documents
        return super().forward(**call, **rest)

    def _is_accelerated(self) -> bool:
        # The class of an accelerated model may have made this one, too, with mixers of its own.
        mixers = [module for module in self.modules() if isinstance(module, AcceleratedMixer)]
        return bool(mixers) and _takes(next(self.parameters()))


def substitute_around(module: nn.Module, *, is_parent: bool) -> type[Substitute] | None:
    """Return what stands for a module around an accelerated mixer, if it has to be another."""
    parameters = signature(type(module).forward).parameters.keys()
    if "input_ids" in parameters and parameters & {"cache_params", "position_ids"}:
        return PackedModel
    return PackedLayer if is_parent and "position_ids" in parameters else None


def separates_documents(module: nn.Module) -> bool:
    """Return whether `module` is a mixer that keeps packed documents apart, where it is now."""
    return isinstance(module, AcceleratedMixer) and _takes(next(module.parameters()))


def _takes(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype in DTYPES
