"""The rules that choose blocks: a file each."""

from statespan.memory.rules import all_blocks, no_blocks, random, recency, top_k
from statespan.memory.rules.registry import RULES, Place, Rule

__all__ = ["RULES", "Place", "Rule", "all_blocks", "no_blocks", "random", "recency", "top_k"]
