"""The compiled kernels: where they are, and how they are called."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = [
    "call",
    "contiguous",
    "float_bits",
    "is_native",
    "is_torch_only",
    "kernel_level",
    "lend_threads",
    "library",
    "num_parts",
    "num_threads",
    "rows",
    "torch_only",
]

LEVELS = ("avx512", "avx2", "default")

LEAST_WORK = 1 << 18
"""Multiply-adds for which one more thread is worth its start.

Those are some microseconds, as many as it takes one of torch's threads to begin and to come back.
"""

_torch_only: ContextVar[bool] = ContextVar("torch_only", default=False)


@contextmanager
def torch_only() -> Iterator[None]:
    """Let no compiled kernel be called in here: torch does all the work.

    Example:
        >>> with torch_only():
        ...     kernel_level()
    """
    token = _torch_only.set(True)
    try:
        yield
    finally:
        _torch_only.reset(token)


def is_torch_only() -> bool:
    """Return whether torch is to do all the work: in `torch_only()`, or by the environment."""
    return _torch_only.get() or os.environ.get("STATESPAN_KERNELS") == "torch"


def kernel_level() -> str | None:
    """Return the instructions that the kernels in use were compiled for, None if torch does it.

    That is "avx512", "avx2" or "default". None where the package was installed without a compiler,
    inside `torch_only()`, or with STATESPAN_KERNELS=torch in the environment.
    """
    return None if _torch_only.get() or library() is None else _library_level()


def is_native(*tensors: Tensor | None) -> bool:
    """Return whether a compiled kernel takes these tensors: of float32, on the CPU."""
    return (
        not _torch_only.get()
        and all(t is None or (t.dtype is torch.float32 and t.is_cpu) for t in tensors)
        and library() is not None
    )


def call(name: str, *arguments: Tensor | int | None) -> None:
    """Call the kernel `name`; a tensor is given as its address, None as a null pointer.

    Nothing is checked: the shapes, the strides and the types are the caller's to get right.
    """
    _function(name, len(arguments))(
        *[a.data_ptr() if isinstance(a, Tensor) else a or 0 for a in arguments]
    )


def float_bits(value: float) -> int:
    """Return a float32 as the whole number that a kernel takes in its place."""
    bits: int = struct.unpack("=i", struct.pack("=f", value))[0]
    return bits


@cache
def _function(name: str, num_arguments: int) -> Callable[..., None]:
    kernels = library()
    assert kernels is not None, "is_native() was not asked"
    function = kernels[name]
    # On every 64-bit machine an address is handed over as a whole number is.
    function.argtypes = [ctypes.c_int64] * num_arguments
    function.restype = None
    return function


def rows(tensor: Tensor) -> Tensor:
    """Return `tensor` with neighbors along its last axis next to each other in memory."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def contiguous(tensor: Tensor | None) -> Tensor | None:
    """Return `tensor` without gaps in memory, None for None."""
    return None if tensor is None else tensor.contiguous()


def num_parts(threads: int, rows: int, most: int) -> int:
    """Return into how many parts, `most` at the most, a row is cut so that no thread idles."""
    return max(1, min(-(-threads // max(1, rows)), most))


def num_threads(work: int) -> int:
    """Return how many threads share `work` multiply-adds: torch's number, or fewer."""
    return max(1, min(torch.get_num_threads(), work // LEAST_WORK))


@cache
def _library_level() -> str | None:
    if os.environ.get("STATESPAN_KERNELS") == "torch":
        return None
    best = torch.backends.cpu.get_cpu_capability().lower()
    levels = LEVELS[LEVELS.index(best) :] if best in LEVELS else LEVELS[-1:]
    return next((level for level in levels if _path(level).exists()), None)


def _path(level: str) -> Path:
    return Path(__file__).parent / "models" / "ops" / "kernels" / f"kernels_{level}.so"


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernels for this machine, None if there are none."""
    level = _library_level()
    if level is None:
        return None
    found = ctypes.CDLL(str(_path(level)))
    lend_threads(found)
    os.register_at_fork(after_in_child=lambda: found.use_team(None))
    return found


def lend_threads(kernels: ctypes.CDLL) -> None:
    """Let kernels run on the threads of torch's operations, where those are OpenMP's.

    A process that was forked has none of them: there the kernels start their own.
    """
    kernels.use_team(getattr(ctypes.CDLL(None), "GOMP_parallel", None))
