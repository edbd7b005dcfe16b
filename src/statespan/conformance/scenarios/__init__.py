"""The scenarios, a small family a file, in the order of the report."""

# isort: off
from statespan.conformance.scenarios import whole, pieces, caches, writing, threads
# isort: on

__all__ = ["caches", "pieces", "threads", "whole", "writing"]
