"""The engines that the kit knows, a file each."""

from statespan.conformance.engines import accelerated, transformers

__all__ = ["accelerated", "transformers"]
