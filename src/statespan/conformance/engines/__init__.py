"""The engines that the kit knows, a file each."""

from statespan.conformance.engines import accelerated, extended, statespan, transformers

__all__ = ["accelerated", "extended", "statespan", "transformers"]
