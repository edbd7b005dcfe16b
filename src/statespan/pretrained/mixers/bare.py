"""Which modules do what their class says and no more, so that an operation may do it instead."""

from __future__ import annotations

from torch import nn

__all__ = ["is_bare", "is_torchs"]


def is_bare(module: nn.Module) -> bool:
    """Return whether a call of `module` is the forward of its class: no hook, none by hand.

    A hook would be passed over if the module's weight were read.
    """
    return not (
        module._forward_hooks  # noqa: SLF001
        or module._forward_pre_hooks  # noqa: SLF001
        or module._backward_hooks  # noqa: SLF001
        or module._backward_pre_hooks  # noqa: SLF001
        or "forward" in vars(module)
    )


def is_torchs(module: nn.Module) -> bool:
    """Return whether a module is torch's own, so that its weight says what it does.

    An adapter's is not, nor one with a hook.
    """
    return type(module) in {nn.Linear, nn.Conv1d} and is_bare(module)
