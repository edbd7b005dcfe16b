"""What `transformers` says on the way, kept quiet where it says nothing about the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

__all__ = ["quiet_transformers"]


TALKERS = {
    "transformers.integrations.hub_kernels": "is falling back to its reference PyTorch",
    "transformers.generation.stopping_criteria": "exceeded the model's predefined maximum length",
}
"""Loggers, and words of what they are kept from saying."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep `transformers` from showing progress bars and asking for kernels, inside only.

    Nor does it say in here that a text is longer than the model was made for. It says each of these
    once a process: after a model ran in here, it says no more.
    """
    loggers = [logging.getLogger(name) for name in TALKERS]
    showed_progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for logger in loggers:
        logger.addFilter(_is_news)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_news)
        if showed_progress:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _is_news(record: logging.LogRecord) -> bool:
    return not any(words in record.getMessage() for words in TALKERS.values())
