"""Kernels share their work on torch's own threads, and on short-lived ones where those are gone."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path

import pytest
import torch

from statespan import native
from statespan.models.ops.linear import multiply

SIZE = 96

pytestmark = pytest.mark.skipif(
    native.kernel_level() is None, reason="there are no compiled kernels"
)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("statespan.native.LEAST_WORK", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def product() -> list[list[float]]:
    numbers = torch.arange(SIZE * SIZE, dtype=torch.float32).view(SIZE, SIZE)
    found: list[list[float]] = multiply(numbers, torch.eye(SIZE)).tolist()
    return found


def whole_numbers() -> list[list[float]]:
    return [[float(row * SIZE + column) for column in range(SIZE)] for row in range(SIZE)]


def test_work_is_shared_with_and_without_the_threads_of_torch() -> None:
    library = native.library()
    assert library is not None
    assert product() == whole_numbers()
    library.use_team(None)
    try:
        assert product() == whole_numbers()
    finally:
        native.lend_threads(library)
    assert product() == whole_numbers()


ALONE = """
from pathlib import Path
import torch
from statespan import native
from statespan.models.ops.linear import multiply
native.LEAST_WORK = 1
torch.set_num_threads(2)
numbers = torch.ones(96, 96)
before = len(list(Path("/proc/self/task").iterdir()))
multiply(numbers, numbers)
print(len(list(Path("/proc/self/task").iterdir())) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no list of threads here")
def test_the_second_thread_is_one_of_torch_and_stays() -> None:
    command = [sys.executable, "-c", ALONE]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["1"]


def put_product(queue: Queue[list[list[float]]]) -> None:
    queue.put(product())


def test_a_forked_process_shares_work_after_its_parent_did() -> None:
    """The threads of OpenMP are not there in a child, where who waits for them waits forever."""
    assert product() == whole_numbers()
    context = multiprocessing.get_context("fork")
    queue: Queue[list[list[float]]] = context.Queue()
    child = context.Process(target=put_product, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=60) == whole_numbers()
    finally:
        child.kill()
        child.join()
    assert product() == whole_numbers()
