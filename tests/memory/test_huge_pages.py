"""Large rooms of a state ask the system for huge pages, and small ones do not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from statespan.memory.huge_pages import LEAST, ask_for_huge_pages
from statespan.memory.state_rows import RowBuffer

MAPS = Path("/proc/self/smaps")
ADVICE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def is_advised(room: Tensor) -> bool:
    """Return whether the middle of a tensor lies where huge pages were asked for."""
    place, inside = room.data_ptr() + room.nbytes // 2, False
    for line in MAPS.read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            begin, end = (int(number, 16) for number in found.groups())
            inside = begin <= place < end
        elif inside and line.startswith("VmFlags:"):
            return "hg" in line.split()
    raise AssertionError("the tensor is in none of the maps")


@pytest.mark.skipif(not ADVICE.exists(), reason="the system has no huge pages to ask for")
def test_rooms_of_many_pages_ask_for_huge_ones() -> None:
    buffer = RowBuffer(1, 2, 64, dtype=torch.float32, device=torch.device("cpu"))
    buffer.write(0, torch.ones(1, 2, 2**16, 64))
    assert is_advised(buffer.data)
    assert bool((buffer.data[:, :, : 2**16] == 1).all())


@pytest.mark.parametrize(("numbers", "asks"), [(LEAST // 4, True), (LEAST // 4 - 1, False)])
def test_small_rooms_do_not_ask(numbers: int, asks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    class Library:
        def madvise(self, *arguments: object) -> None:
            asked.append(type(arguments[0]).__name__)

    def library(name: str | None) -> Library:
        assert name is None
        return Library()

    monkeypatch.setattr("statespan.memory.huge_pages.ctypes.CDLL", library)
    monkeypatch.setattr("statespan.memory.huge_pages.mmap.MADV_HUGEPAGE", 14, raising=False)
    ask_for_huge_pages(torch.empty(numbers))
    assert bool(asked) == asks
