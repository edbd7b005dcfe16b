"""How a fleet is shared out: what its work takes, and how many processes are worth their start."""

from __future__ import annotations

import os

import torch

from statespan.jobs.probe_config import ProbeConfig
from statespan.jobs.probe_subject import Subject, find_bins, num_inputs
from statespan.models import MODELS, architecture

__all__ = [
    "LEAST_SECONDS",
    "estimate_seconds",
    "num_cores",
    "num_processes",
    "step_numbers",
]

LEAST_SECONDS = 20.0
"""Estimated seconds of work from which one process a core is worth its start.

A process takes some 3 seconds to start, most of it the import of torch.
"""

STEP_SECONDS = 1e-3
NUMBER_SECONDS = 4e-10
WORD_SECONDS = 2e-4
"""A step of a member of a fleet, a parameter times a token, and a word that is drawn or judged."""


def num_processes(config: ProbeConfig, language: Subject, members: int) -> int:
    """Return how many processes to share the members out among, 1 for none but this one."""
    if members * estimate_seconds(config, language) < LEAST_SECONDS:
        return 1
    return max(1, min(members, num_cores() // config.training.threads))


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # where a process cannot be bound to cores
        return os.cpu_count() or 1


def estimate_seconds(config: ProbeConfig, language: Subject) -> float:
    """Return about how many seconds a member takes on one core."""
    bins = find_bins(config, language)
    step = STEP_SECONDS + NUMBER_SECONDS * step_numbers(config, language)
    data, measured = config.data, config.evaluation
    words = data.train_words + len(bins) * (data.test_words + measured.negatives)
    words += measured.curve_lengths * measured.curve_words
    return config.training.steps * step + words * WORD_SECONDS


def step_numbers(config: ProbeConfig, language: Subject) -> float:
    """Return the parameters of the model times about the tokens of a step."""
    vocab_size = num_inputs(language)
    with torch.device("meta"):
        model_class = MODELS.get(architecture(config.model))
        model = model_class(config.model, vocab_size=vocab_size, num_outputs=vocab_size)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    shortest, longest = find_bins(config, language)[0]
    return parameters * config.training.batch_size * ((shortest + longest) / 2 + 1)
