"""Memory in huge pages, where Linux gives them to those who ask."""

from __future__ import annotations

import ctypes
import mmap
from typing import Final

from torch import Tensor

__all__ = ["ask_for_huge_pages"]

LEAST: Final = 2**22
"""Bytes for which it is worth asking: two pages of 2 MiB."""


def ask_for_huge_pages(room: Tensor) -> None:
    """Ask for huge pages under a tensor on the CPU to which nothing has been written yet.

    Rows that lie far apart are then found without a walk through tables of pages for each. Where
    the system does not know the question, or says no, nothing changes.
    """
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None or room.device.type != "cpu" or room.nbytes < LEAST:
        return
    begin = -(-room.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    length = room.data_ptr() + room.nbytes - begin
    madvise = ctypes.CDLL(None).madvise
    madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), ctypes.c_int(advice))
