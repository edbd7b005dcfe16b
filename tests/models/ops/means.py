"""The two means by which an operation runs on a CPU: its compiled kernel, and torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

from statespan.native import kernel_level, torch_only

MEANS = ("kernel", "torch")

both_means = pytest.mark.parametrize("means", MEANS)


@contextmanager
def running_by(means: str) -> Iterator[None]:
    """Let one of the means do the work in here; skip the test where no kernel was compiled."""
    if means == "kernel" and kernel_level() is None:
        pytest.skip("no kernel was compiled")
    with torch_only() if means == "torch" else nullcontext():
        yield
