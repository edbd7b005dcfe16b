"""The summaries by which blocks are found: a file each."""

from statespan.memory.summaries import attention, bound, key, landmark, value
from statespan.memory.summaries.registry import SUMMARIES, Summary

__all__ = ["SUMMARIES", "Summary", "attention", "bound", "key", "landmark", "value"]
