"""Another forward for one module, and nothing else."""

from __future__ import annotations

import copy
import pickle
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from statespan.errors import InputError
from statespan.pretrained.substitution import Substitute, restore, substitute


class Scale(nn.Module):
    """Multiplies by a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, inputs: Tensor, shift: float = 0.0) -> Tensor:
        return inputs * self.factor + shift


class Negative(Substitute):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return -super().forward(*args, **kwargs)


def value(module: nn.Module) -> float:
    return float(module(torch.tensor(3.0), shift=1.0).detach())


def test_a_substitute_changes_the_forward_and_nothing_else() -> None:
    module, other = Scale(), Scale()
    before = dict(vars(module))
    substitute(module, Negative)
    assert (value(module), value(other)) == (-7.0, 7.0)
    assert isinstance(module, Scale)
    assert (repr(module), type(module).__doc__) == (repr(other), Scale.__doc__)
    assert signature(module.forward) == signature(other.forward)
    assert vars(module) == before
    restore(module)
    assert type(module) is Scale
    assert vars(module) == before


@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))]
)
def test_a_copy_is_a_substitute_with_parameters_of_its_own(copy_of: Any) -> None:
    module = Scale()
    substitute(module, Negative)
    twin = copy_of(module)
    twin.factor = nn.Parameter(torch.tensor(5.0))
    assert (value(module), value(twin)) == (-7.0, -16.0)
    restore(twin)
    assert (value(module), value(twin)) == (-7.0, 16.0)


def test_hooks_stay() -> None:
    module = Scale()
    module.register_forward_hook(lambda *_: torch.tensor(11.0))
    substitute(module, Negative)
    assert value(module) == 11.0


def test_a_class_that_was_wrapped_meanwhile_is_not_unwrapped() -> None:
    module = Scale()
    substitute(module, Negative)
    module.__class__ = type("Wrapped", (type(module),), {})
    with pytest.raises(InputError, match=r"a Scale cannot .* wrapped as Wrapped"):
        restore(module)
