"""Adapters on a model in 8 or 4 bits (QLoRA), where bitsandbytes is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from statespan.errors import ConfigError, MissingExtraError
from statespan.pretrained.structure import structure

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

__all__ = ["is_quantized", "prepare_quantized", "quantization"]

BITS = (4, 8)


def quantization(
    model: nn.Module, *, bits: int = 4, dtype: torch.dtype = torch.bfloat16
) -> BitsAndBytesConfig:
    """Return how to load `model` in few bits and leave whole what must be: QLoRA's first half.

    The head stays whole, as it always does, and so does each linear map whose weight a mixer hands
    to a kernel as it is, where packed bits would be read for numbers. In 8 bits, weights that are
    in several places (Zamba, Zamba2) stay whole, too: bitsandbytes scales them at the first only.

    Args:
        model: the model, or the same on the meta device.
        bits: 4 (normal floats, quantized twice) or 8.
        dtype: what is computed in, with 4 bits.

    Raises:
        MissingExtraError: bitsandbytes is not installed.
        ConfigError: `bits` is neither 4 nor 8.
    """
    if bits not in BITS:
        raise ConfigError(f"bits must be 4 or 8, got {bits!r}.")
    _check_installed()
    from transformers import BitsAndBytesConfig  # noqa: PLC0415

    found = structure(model)
    whole = [name for mixer in found.mixers for name in mixer.bypassed]
    whole += [] if found.head is None else [found.head]
    if bits == 8:
        whole += [path for paths in found.shared for path in paths]
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=whole)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=whole,
    )


def is_quantized(model: nn.Module) -> bool:
    """Return whether `model` was loaded in few bits."""
    return getattr(model, "quantization_method", None) is not None


def prepare_quantized(model: nn.Module) -> nn.Module:
    """Return `model` ready for training if it was loaded in few bits, else as it is."""
    if not is_quantized(model):
        return model
    from peft import prepare_model_for_kbit_training  # noqa: PLC0415

    prepare: Any = prepare_model_for_kbit_training
    prepared: nn.Module = prepare(model, use_gradient_checkpointing=False)
    return prepared


def _check_installed() -> None:
    if find_spec("bitsandbytes") is None:
        raise MissingExtraError("bitsandbytes", extra="quantized")
