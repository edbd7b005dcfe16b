"""A penalty that draws gates towards 1: of Mamba's exp(ΔA), -A is drawn to 0.

What is summed up over a sequence is only kept where gates are 1, so that counters need such gates
(Sarrof, Veitsman and Hahn 2024, arXiv:2405.17394, Theorem 5).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from statespan.errors import ConfigError

__all__ = ["LOG_FADING", "check_fading", "mean_log_fading"]

LOG_FADING = "A_log"
"""How the parameter log(-A) ends, in every architecture that has it."""


def check_fading(model: nn.Module) -> None:
    """Check that a model has what the penalty is about.

    Raises:
        ConfigError: none of its parameters is log(-A).
    """
    if not any(name.endswith(LOG_FADING) for name, _ in model.named_parameters()):
        raise ConfigError(
            f"training.fading_penalty needs a model with parameters {LOG_FADING}, as mamba's: "
            "leave it out."
        )


def mean_log_fading(parameters: Iterable[tuple[str, Tensor]]) -> Float[Tensor, ""]:
    """Return the mean of log(-A), of the parameters of one model by name.

    Its gradient is the same whatever A is, so that the gates go on towards 1.

    Example:
        >>> import torch
        >>> mean_log_fading([("layer.A_log", torch.tensor([1.0, 3.0])), ("D", torch.ones(2))])
        tensor(2.)
    """
    return torch.cat(
        [value.flatten() for name, value in parameters if name.endswith(LOG_FADING)]
    ).mean()
