"""Another `forward` for one module, and its own back again, with nothing else touched.

A module is given a subclass of its own class. So its parameters, buffers, hooks and every other
attribute stay where they are, `isinstance` and `repr` say what they said, other modules of the
class know nothing of it, and copies (`copy.deepcopy`, `pickle`, data-parallel replicas) run the
`forward` of the copy and not of the original.
"""

from __future__ import annotations

from functools import cache, wraps
from typing import Any, ClassVar

from torch import nn

from statespan.errors import InputError

__all__ = ["Substitute", "restore", "substitute"]


class Substitute(nn.Module):
    """A base for what stands for a module's own class; `super()` in its methods is that class."""

    substitute_class: ClassVar[type[Substitute]]
    own_class: ClassVar[type[nn.Module]]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The subclass cannot be imported by name, so a pickle holds what it is made of.
        reduced: Any = super().__reduce_ex__(protocol)
        _, (_, *arguments), *state = reduced
        return _revive, (self.substitute_class, self.own_class, *arguments), *state


def substitute(module: nn.Module, kind: type[Substitute]) -> None:
    """Let `module` have the methods of `kind` before those of its own class.

    Example:
        >>> import torch
        >>> class Twice(Substitute):
        ...     def forward(self, inputs):
        ...         return 2 * super().forward(inputs)
        >>> layer = torch.nn.Identity()
        >>> substitute(layer, Twice)
        >>> layer(torch.ones(1)).item(), isinstance(layer, torch.nn.Identity), layer
        (2.0, True, Identity())
        >>> restore(layer)
        >>> layer(torch.ones(1)).item()
        1.0
    """
    module.__class__ = _subclass(kind, type(module))  # type: ignore[arg-type]


def restore(module: Any) -> None:
    """Give `module`, a `Substitute`, its own class back.

    Raises:
        InputError: its class was changed again meanwhile, as FSDP does.
    """
    if "own_class" not in vars(type(module)):
        raise InputError(
            f"a {module.own_class.__name__} cannot be given its own class back while it is wrapped"
            f" as {type(module).__qualname__}; undo that first."
        )
    module.__class__ = module.own_class


@cache
def _subclass(kind: type[Substitute], own: type[nn.Module]) -> type[Substitute]:
    # Others read a model's signature, to see which arguments they may give it.
    @wraps(own.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return kind.forward(self, *args, **kwargs)

    body = {
        "__doc__": own.__doc__,
        "__module__": own.__module__,
        "__qualname__": own.__qualname__,
        "substitute_class": kind,
        "own_class": own,
        "forward": forward,
    }
    return type(own.__name__, (kind, own), body)


def _revive(kind: type[Substitute], own: type[nn.Module], *arguments: Any) -> nn.Module:
    made = _subclass(kind, own)  # type: ignore[arg-type]
    return made.__new__(made, *arguments)
