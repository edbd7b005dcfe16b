"""What an audit found, and how it prints."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Audit", "AuditRow"]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """What trains of one part of a model.

    Attributes:
        part: the part, in words.
        layers: how many layers of the part train, of `layers_in_all`.
        tensors: how many tensors train, each weight that is in several places once.
        parameters: how many numbers they hold.
    """

    part: str
    layers: int
    layers_in_all: int
    tensors: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What trains of a model, and what is to train and does not.

    Attributes:
        rows: a part of the model each, of which anything trains.
        parameters: how many numbers the model holds without adapters.
        without_gradient: the trainable tensors that a backward pass gives no gradient, or zeros.
        bypassed: the paths of adapters around a layer whose weight is read past them, by a kernel
            on some devices at least.
        apart: groups of paths with one weight whose adapters are not one.
    """

    rows: tuple[AuditRow, ...]
    parameters: int
    without_gradient: tuple[str, ...] = ()
    bypassed: tuple[str, ...] = ()
    apart: tuple[tuple[str, ...], ...] = ()

    @property
    def trainable(self) -> int:
        """How many numbers train."""
        return sum(row.parameters for row in self.rows)

    @property
    def share(self) -> float:
        """How many numbers train for each that the model holds without adapters."""
        return self.trainable / self.parameters

    def __str__(self) -> str:
        lines = [f"{'part':24}{'layers':>12}{'tensors':>10}{'parameters':>14}{'share':>10}"]
        for row in self.rows:
            layers = f"{row.layers} of {row.layers_in_all}"
            share = f"{row.parameters / self.parameters:.4%}"
            lines.append(
                f"{row.part:24}{layers:>12}{row.tensors:>10}{row.parameters:>14,}{share:>10}"
            )
        tensors = sum(row.tensors for row in self.rows)
        lines.append(f"{'all':24}{'':12}{tensors:>10}{self.trainable:>14,}{self.share:>10.4%}")
        lines += [f"no gradient: {name}" for name in self.without_gradient]
        lines += [f"read past its adapter: {path}" for path in self.bypassed]
        lines += [f"one weight, several adapters: {', '.join(paths)}" for paths in self.apart]
        return "\n".join(lines)
