"""What `transformers` says on the way, kept quiet where it says nothing about the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

__all__ = ["quiet_transformers"]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep `transformers` from showing progress bars and from asking for kernels, inside only.

    It asks once a process for each kernel: after a model ran in here, it asks no more.
    """
    kernels = logging.getLogger("transformers.integrations.hub_kernels")
    showed_progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    kernels.addFilter(_asks_for_no_kernel)
    try:
        yield
    finally:
        kernels.removeFilter(_asks_for_no_kernel)
        if showed_progress:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _asks_for_no_kernel(record: logging.LogRecord) -> bool:
    return "is falling back to its reference PyTorch implementation" not in record.getMessage()
