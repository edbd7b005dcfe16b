"""What all tests share: no network, one thread, no leftover random state."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Subprocesses count bytes of files and time start-ups: no colors, a fixed width.
os.environ["NO_COLOR"] = "1"
os.environ["COLUMNS"] = "100"

settings.register_profile("default", deadline=None, max_examples=60, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _global_random_state_is_left_alone() -> Iterator[None]:
    """No code of ours may draw from, or seed, the global generators."""
    import random

    import torch

    before = (random.getstate(), torch.get_rng_state())
    yield
    assert torch.equal(torch.get_rng_state(), before[1])
