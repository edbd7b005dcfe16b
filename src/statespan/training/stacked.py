"""Models of one shape as one: stacked weights, one forward, one AdamW step for all of them.

Axes: `member`, a model; `number`, all numbers of its parameters, end to end; `parameter`, its
parameters one by one; `batch` and `length`, the examples of a member; `output`, its outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from statespan.models import SequenceModel
from statespan.training.examples import Tokens

__all__ = ["StackedAdamW", "StackedModels", "clip_gradients", "has_member_rules"]


@final
class StackedModels:
    """Models of one shape, whose parameters are from here on rows of one table.

    Each model goes on holding its own: what changes in the table changes in the model.

    Attributes:
        values: the parameters.
    """

    values: Float[Tensor, "member number"]

    def __init__(self, models: Sequence[SequenceModel]) -> None:
        self._model = models[0]
        self._shapes = {name: value.shape for name, value in models[0].named_parameters()}
        rows = [_join({n: p.detach() for n, p in model.named_parameters()}) for model in models]
        self.values = torch.stack(rows)
        for model, row in zip(models, self.values, strict=True):
            parts = self.split(row)
            for name, parameter in model.named_parameters():
                parameter.data = parts[name]

    def split(self, table: Float[Tensor, "*member number"]) -> dict[str, Tensor]:
        """Return the parameters in `table` by name, each a view of shape [*member, *its shape]."""
        sizes = [shape.numel() for shape in self._shapes.values()]
        parts = zip(self._shapes.items(), torch.split(table, sizes, dim=-1), strict=True)
        return {name: part.view(*table.shape[:-1], *shape) for (name, shape), part in parts}

    def parameters(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return the parameters of the members `rows`, ready to be differentiated by."""
        parts = self.split(take_rows(self.values, rows))
        return {name: part.detach().requires_grad_() for name, part in parts.items()}

    def logits(
        self, parameters: Mapping[str, Tensor], tokens: Tokens
    ) -> Float[Tensor, "member batch length output"]:
        """Return the outputs of all members, each for its own tokens."""
        return _logits(self._model, parameters, tokens)


def _join(parts: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts.values()])


def _logits(model: SequenceModel, parameters: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    def run(own: dict[str, Tensor], ids: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, own, (ids,)).logits
        return logits

    # Of torch's attention kernels the plain one alone has a rule for vmap.
    with sdpa_kernel(SDPBackend.MATH):
        logits: Tensor = vmap(run)(dict(parameters), tokens)
    return logits


def has_member_rules(model: SequenceModel) -> bool:
    """Return whether many such models can run as one: every operation of theirs has a vmap rule.

    It is tried, forward and backward, on two copies and one token.
    """
    if next(model.buffers(), None) is not None:
        return False
    copies = {
        name: torch.stack((value.detach(), value.detach())).requires_grad_()
        for name, value in model.named_parameters()
    }
    try:
        total = _logits(model, copies, torch.zeros(2, 1, 1, dtype=torch.long)).sum()
        torch.autograd.grad(total, list(copies.values()))
    except RuntimeError:  # what torch raises for an operation without a rule
        return False
    return True


@final
class StackedAdamW:
    """AdamW over stacked models: each member has its own rate, decay and number of steps.

    The members' optimizers stay what they were: their state is kept in the rows of its tables.
    """

    def __init__(
        self,
        models: StackedModels,
        members: Sequence[tuple[SequenceModel, torch.optim.AdamW]],
    ) -> None:
        self._models = models
        self._mean = torch.zeros_like(models.values)
        self._square = torch.zeros_like(models.values)
        self._decay = torch.zeros_like(models.values)
        num_parameters = len(list(members[0][0].parameters()))
        self._steps = torch.zeros(len(members), num_parameters)
        for row, (model, optimizer) in enumerate(members):
            self._adopt(row, model, optimizer)
        group = members[0][1].param_groups[0]
        self._betas: tuple[float, float] = group["betas"]
        self._epsilon: float = group["eps"]

    def _adopt(self, row: int, model: nn.Module, optimizer: torch.optim.AdamW) -> None:
        """Move the state of one optimizer into row `row` of the tables."""
        decays = {
            parameter: group["weight_decay"]
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        tables = (self._mean, self._square, self._decay)
        means, squares, decay = (self._models.split(table[row]) for table in tables)
        for index, (name, parameter) in enumerate(model.named_parameters()):
            decay[name].fill_(decays[parameter])
            rows = {
                "step": self._steps[row, index],
                "exp_avg": means[name],
                "exp_avg_sq": squares[name],
            }
            for key, value in optimizer.state[parameter].items():
                rows[key].copy_(value)
            optimizer.state[parameter] = rows

    @torch.no_grad()
    def step(
        self,
        rows: Sequence[int],
        gradients: Float[Tensor, "member number"],
        rates: Float[Tensor, " member"],
    ) -> None:
        """Make one step of the members `rows`; no other row is touched."""
        first, second = self._betas
        tables = (self._models.values, self._mean, self._square, self._steps)
        values, mean, square, steps = (take_rows(table, rows) for table in tables)
        steps += 1
        done = steps[:, :1].double()
        mean.lerp_(gradients, 1 - first)
        square.mul_(second).addcmul_(gradients, gradients, value=1 - second)
        root = square.sqrt().div_((1 - second**done).sqrt_().float()).add_(self._epsilon)
        rate = rates[:, None]
        values.mul_(1 - rate.float() * take_rows(self._decay, rows))
        values.sub_(mean.div(root).mul_((rate / (1 - first**done)).float()))
        for table, part in zip(tables, (values, mean, square, steps), strict=True):
            if part is not table:
                table[list(rows)] = part


def take_rows(table: Float[Tensor, "all number"], rows: Sequence[int]) -> Tensor:
    """Return the rows of `table`, in growing order; the table itself if these are all of it."""
    return table if len(rows) == len(table) else table[list(rows)]


@torch.no_grad()
def clip_gradients(
    gradients: Float[Tensor, "member number"], limits: Float[Tensor, " member"]
) -> Float[Tensor, "member number"]:
    """Return the gradients of each member, scaled down to its largest norm; 0 is no limit."""
    factors = (limits / (gradients.norm(dim=1) + 1e-6)).clamp(max=1)
    return gradients * torch.where(limits == 0, 1, factors)[:, None].to(gradients.dtype)
