"""The eigenvalues of the transition that a layer takes are those of the family that it names.

Measured, not read off: the Jacobian of a one-layer model's next state by its state, at random
tokens and states, in float64. What a family promises is said beside it in `algebra/rules.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespan.algebra import ARCHITECTURES
from statespan.models import ModelConfig, SequenceModel
from statespan.models.model import LayerState
from tests.models.small_models import CONFIGS, draw_tokens, make, one_layer

Spectrum = NDArray[np.complex128]
ROUNDING = 1e-6

every_model = pytest.mark.parametrize(
    "config", [config for configs in CONFIGS.values() for config in configs], ids=repr
)


def is_real(spectrum: Spectrum) -> bool:
    return bool((abs(spectrum.imag) < ROUNDING).all())


def is_within(spectrum: Spectrum, low: float, high: float) -> bool:
    real = spectrum.real
    return is_real(spectrum) and bool(((real > low - ROUNDING) & (real < high + ROUNDING)).all())


def is_in_disk(spectrum: Spectrum) -> bool:
    return bool((abs(spectrum) < 1 + ROUNDING).all())


@dataclass(frozen=True)
class Claim:
    """Where all eigenvalues lie, and what some of them must do for the claim not to be idle."""

    holds: Callable[[Spectrum], bool]
    reaches: Callable[[Spectrum], bool]
    is_fixed: bool = False


def moves(spectrum: Spectrum) -> bool:
    return bool((abs(spectrum) > ROUNDING).any())


CLAIMS = {
    "time-invariant complex": Claim(is_in_disk, lambda s: not is_real(s), is_fixed=True),
    "fixed real decay": Claim(
        lambda s: is_within(s, 0, 1) and bool((abs(s) < 1).all()), moves, is_fixed=True
    ),
    "non-negative selective": Claim(lambda s: is_within(s, 0, 1), moves),
    "non-negative tied": Claim(lambda s: is_within(s, 0, 1), moves),
    "real selective": Claim(lambda s: is_within(s, -1, 1), lambda s: bool((s.real < -0.01).any())),
    "complex selective": Claim(is_in_disk, lambda s: not is_real(s)),
    "delta rule": Claim(lambda s: is_within(s, 0, 1), lambda s: bool((s.real < 0.99).any())),
    "reflections": Claim(lambda s: is_within(s, -1, 1), lambda s: bool((s.real < -0.01).any())),
    "products and dense": Claim(is_in_disk, lambda s: not is_real(s)),
}
"""Of the families that are a set of eigenvalues; the others have no linear state."""

WITHOUT = {"nonlinear recurrence", "transformer", "transformer with positions", "hybrid"}


def test_every_family_is_one_of_the_verdict() -> None:
    families = {family.name for family in ARCHITECTURES}
    assert set(CLAIMS) | WITHOUT == families
    named = {config.family for configs in CONFIGS.values() for config in configs}
    assert named - {None} <= families


def shaken(config: ModelConfig) -> SequenceModel:
    """Return a model whose gates, rates and angles are far from where they begin."""
    model = make(one_layer(config))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=0.5 if parameter.ndim > 1 else 1.0)
    return model.double()


def as_vectors(state: LayerState) -> Tensor:
    """Return the parts of a state as vectors of real numbers, one a row of the batch."""
    wide = [torch.view_as_real(part) if part.is_complex() else part for part in state]
    return torch.cat([part.flatten(1) for part in wide], dim=1)


def from_vectors(vectors: Tensor, like: LayerState) -> LayerState:
    """Return the state with those numbers; the inverse of `as_vectors`."""
    sizes = [part[0].numel() * (2 if part.is_complex() else 1) for part in like]
    parts = []
    for part, numbers in zip(like, vectors.split(sizes, dim=1), strict=True):
        shape = (len(vectors), *part.shape[1:])
        if part.is_complex():
            parts.append(torch.view_as_complex(numbers.reshape(*shape, 2).contiguous()))
        else:
            parts.append(numbers.reshape(shape))
    return tuple(parts)


@torch.no_grad()
def spectrum(model: SequenceModel, token: int, state: LayerState) -> Spectrum:
    """Return the eigenvalues of the step that one token takes, by differences around a state.

    All states that differ from it in one number take the step as rows of one batch. A step that is
    linear in the state has no error but rounding.
    """
    origin = as_vectors(state)[0]
    size = 2.0**-10
    moved = size * torch.eye(len(origin), dtype=torch.float64)
    around = torch.cat((origin + moved, origin - moved))
    tokens = torch.full((len(around), 1), token)
    after = as_vectors(model(tokens, (from_vectors(around, state),)).state[0])
    jacobian = (after[: len(origin)] - after[len(origin) :]) / (2 * size)
    return np.asarray(np.linalg.eigvals(jacobian.T.numpy()))


def spectra(config: ModelConfig) -> list[Spectrum]:
    """Return the eigenvalues of every token's step, each from a state of its own."""
    model = shaken(config)
    found = []
    for token in range(4):
        with torch.no_grad():
            state = model(draw_tokens(3 + token, batch=1)).state[0]
        found.append(spectrum(model, token, state))
    return found


@every_model
def test_the_eigenvalues_are_those_of_the_family(config: ModelConfig) -> None:
    if config.family not in CLAIMS:
        assert config.family in WITHOUT or config.family is None
        return
    claim, found = CLAIMS[config.family], spectra(config)
    for eigenvalues in found:
        assert claim.holds(eigenvalues), eigenvalues
    assert any(claim.reaches(eigenvalues) for eigenvalues in found)
    moduli = [np.sort(abs(eigenvalues)) for eigenvalues in found]
    is_same = all(np.allclose(moduli[0], other, atol=ROUNDING) for other in moduli[1:])
    angles = [np.sort(np.angle(eigenvalues)) for eigenvalues in found]
    is_same &= all(np.allclose(angles[0], other, atol=ROUNDING) for other in angles[1:])
    assert is_same == claim.is_fixed


def test_a_claim_is_refuted_by_another_family_s_layer() -> None:
    """The measurement tells the families apart: it is not that every spectrum fits every claim."""
    signed, turning = (spectra(CONFIGS[name][0]) for name in ("signed-mamba", "s4d"))
    assert not all(CLAIMS["non-negative selective"].holds(each) for each in signed)
    assert not any(CLAIMS["real selective"].holds(each) for each in turning)
