"""Kernels of other packages for tensors on a GPU: which there are, and when one may be called.

A kernel is looked for by the device of the tensors, never by whether its package can be imported:
a tensor on a CPU does not come here, whatever is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import torch
from torch import Tensor

from statespan.native import is_torch_only

__all__ = ["GPU_KERNELS", "GPUKernel", "find_kernel", "import_kernel", "is_transformed"]

DEVICE = "cuda"
"""The kind of device that the packages' kernels are for."""

Function: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class GPUKernel:
    """A function of another package, and the dtypes in which it is as exact as the operation.

    Attributes:
        package: its name at the package index.
        module: where the function is.
        function: its name there.
        dtypes: what the tensors with an axis of time may be of.
    """

    package: str
    module: str
    function: str
    dtypes: tuple[torch.dtype, ...]

    @property
    def is_installed(self) -> bool:
        """Whether the package is there; it is not imported."""
        return find_spec(self.module.partition(".")[0]) is not None


HALF = (torch.bfloat16, torch.float16)
SINGLE = (torch.float32, *HALF)

# The two that are matrix products round float32 to TF32, or refuse it.
GPU_KERNELS = {
    "causal_convolution": GPUKernel("causal-conv1d", "causal_conv1d", "causal_conv1d_fn", SINGLE),
    "gated_delta_rule": GPUKernel(
        "flash-linear-attention", "fla.ops.gated_delta_rule", "chunk_gated_delta_rule", HALF
    ),
    "selective_scan": GPUKernel(
        "mamba-ssm", "mamba_ssm.ops.selective_scan_interface", "selective_scan_fn", SINGLE
    ),
    "state_space_dual": GPUKernel(
        "mamba-ssm", "mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined", HALF
    ),
}
"""The kernel for each operation that has one."""


def find_kernel(operation: str, *tensors: Tensor | None) -> Function | None:
    """Return the kernel of `operation` that takes these tensors, None where torch must do it.

    None for what is not on a GPU or has no element; for a dtype that the kernel is not exact in;
    where its package is not installed or cannot be imported; while torch compiles or transforms a
    function, which foreign code would break; in `torch_only()` and with STATESPAN_KERNELS=torch.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    if given[0].device.type != DEVICE or torch.compiler.is_compiling():
        return None
    kernel = GPU_KERNELS[operation]
    fits = all(tensor.dtype in kernel.dtypes and tensor.numel() > 0 for tensor in given)
    if not fits or is_torch_only() or is_transformed():
        return None
    found = import_kernel(operation)
    return None if isinstance(found, str) else found


def is_transformed() -> bool:
    """Return whether a transform of `torch.func` is at work, as vmap is in a fleet."""
    # What an autograd function of the old style asks before it refuses such a call.
    return torch._C._are_functorch_transforms_active()  # noqa: SLF001


@cache
def import_kernel(operation: str) -> Function | str | None:
    """Return the kernel of `operation`, or why it cannot be imported, or None if not installed.

    The import is tried once a process.
    """
    kernel = GPU_KERNELS[operation]
    if not kernel.is_installed:
        return None
    try:
        function: Function = getattr(import_module(kernel.module), kernel.function)
    # A library that was compiled for another torch fails in each of these ways.
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return function
