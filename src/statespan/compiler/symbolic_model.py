"""One step of a block of `mamba` or `mamba2`, on functions of what the model has to remember.

The arithmetic is that of `transformers` with a cache, one token at a time. What a recurrent state
holds is not assumed: it is found for each channel as a table over one memory, from the steps that
can occur, and then every such step is checked to lead from the table to the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from statespan.compiler.abstract_machine import AbstractMachine, after, before
from statespan.compiler.decision_diagrams import Node
from statespan.compiler.diagram_arithmetic import DiagramArithmetic, UnprovedError
from statespan.compiler.state_table import state_table
from statespan.training import BOS

__all__ = ["SymbolicModel"]


@final
@dataclass(frozen=True, slots=True)
class _Signal:
    """A number of this step, or, if it is `late`, one that the last token alone decides."""

    node: Node
    late: bool = False


@final
class SymbolicModel:
    """A model's stream, recurrent states and logits, as functions of an abstract machine.

    Attributes:
        streams: the residual stream after each block that was taken.
        states: the recurrent state of each block that was taken, flat, after the token.
        num_states: the entries of the tables of all channels with a memory.
        num_steps: the steps from entry to entry that were checked.
    """

    def __init__(self, machine: AbstractMachine, model: Any) -> None:
        if not all(weight.isfinite().all() for weight in model.parameters()):
            raise UnprovedError("a weight is not finite.")
        self.machine, self.model = machine, model
        self.numbers = DiagramArithmetic(machine.diagrams, model.dtype)
        table = model.get_input_embeddings().weight.float()
        self.stream = [self._by_token(table[:, channel]) for channel in range(table.shape[1])]
        self.streams: list[list[Node]] = []
        self.states: list[list[Node]] = []
        self.num_states = self.num_steps = 0
        self._pairs = [self._pair(number) for number in range(machine.num_memories)]
        self._tables: dict[tuple[Node, Node], tuple[int, dict[int, float]] | None] = {}

    def _by_token(self, values: Tensor) -> Node:
        return self.machine.diagrams.table(0, (float(value) + 0.0 for value in values))

    def _pair(self, memory: int) -> Node:
        """Return (before, after) of a memory on each step that is taken, else None."""
        machine = self.machine
        return machine.diagrams.apply(
            lambda taken, *values: values if taken else None,
            machine.taken,
            machine.diagrams.variable(before(memory)),
            machine.steps[memory],
        )

    def take_block(self) -> None:
        """Let the next block read the stream and add to it.

        Raises:
            UnprovedError: what it does cannot be proved to be a function of the machine.
        """
        number = len(self.streams)
        layer = self.model.base_model.layers[number]
        inputs = self.normalized(layer.norm, self.stream, layer.norm.weight.dtype)
        steps = {"mamba": self._mamba, "mamba2": self._mamba2}
        outputs, states = steps[self.model.config.model_type](layer.mixer, inputs)
        added = self._project(layer.mixer.out_proj, outputs)
        self.stream = [
            self.numbers.map("residual", torch.add, node, signal.node)
            for node, signal in zip(self.stream, added, strict=True)
        ]
        self.streams.append(self.stream)
        self.states.append(states)

    def logits(self) -> list[Node]:
        """Return the logits, once all blocks are taken."""
        head = self.model.get_output_embeddings()
        outputs = self.normalized(self.model.base_model.norm_f, self.stream, torch.float32)
        rounded = [_Signal(self.numbers.rounded(signal.node)) for signal in outputs]
        return [signal.node for signal in self._project(head, rounded)]

    def normalized(self, norm: Any, stream: Sequence[Node], dtype: torch.dtype) -> list[_Signal]:
        """Return a stream after an RMS norm, which reads and gives it in precision `dtype`."""
        read = [self.numbers.map(str(dtype), lambda x: x.to(dtype), node) for node in stream]
        return self._normed(norm, read, dtype)

    def _normed(self, norm: Any, read: Sequence[Node], dtype: torch.dtype) -> list[_Signal]:
        """Return what an RMS norm makes of numbers that it reads in float32."""
        self.numbers.mean_square(read)
        scale = torch.rsqrt(self._anywhere(read).square().mean(-1, True) + norm.variance_epsilon)
        return [
            _Signal(
                self.numbers.map(
                    f"norm {float(scale)} {float(weight)} {dtype}",
                    lambda x, w=weight: w * (x * scale).to(dtype),
                    node,
                )
            )
            for node, weight in zip(read, norm.weight[:, None], strict=True)
        ]

    def _anywhere(self, nodes: Iterable[Node]) -> Tensor:
        """Return some numbers at one point: those of the first token."""
        point = self.machine.point(BOS, self.machine.origin)
        return torch.tensor([self.machine.diagrams.at(node, point) for node in nodes])

    def _mamba(self, mixer: Any, inputs: Sequence[_Signal]) -> tuple[list[_Signal], list[Node]]:
        size = mixer.intermediate_size
        projected = self._project(mixer.in_proj, inputs)
        hidden = self._convolve(mixer.conv1d, projected[:size])
        *ranks, b, c = self._project(mixer.x_proj, hidden)
        decays = -torch.exp(mixer.A_log.float())
        raw = list(self._weighted(mixer.dt_proj.weight, ranks))
        outputs, states = [], []
        for place in range(size):
            step = self._time_step(raw[place], mixer.dt_proj.bias[place : place + 1].float())
            state = self._state(step, decays[place], b, hidden[place], torch.float32)
            skip = self._scaled(hidden[place], mixer.D[place : place + 1])
            outputs.append(self._output(state, c, skip, self._gate(projected[size + place])))
            states.append(state.node)
        return outputs, states

    def _mamba2(self, mixer: Any, inputs: Sequence[_Signal]) -> tuple[list[_Signal], list[Node]]:
        size = mixer.intermediate_size
        projected = self._project(mixer.in_proj, inputs)
        gates, raw = projected[:size], projected[len(projected) - mixer.num_heads :]
        hidden = self._convolve(mixer.conv1d, projected[size : len(projected) - mixer.num_heads])
        *hidden, b, c = hidden
        decays = -torch.exp(mixer.A_log.float())
        outputs, states = [], []
        for place in range(size):
            head = place // mixer.head_dim
            step = self._time_step(raw[head], mixer.dt_bias[head : head + 1])
            state = self._state(step, decays[head : head + 1], b, hidden[place], self.model.dtype)
            skip = self._scaled(hidden[place], mixer.D[head : head + 1])
            outputs.append(self._output(state, c, skip, None))
            states.append(state.node)
        gated = [
            self.numbers.map("gate", lambda x, z: x * silu(z), signal.node, gate.node)
            for signal, gate in zip(outputs, gates, strict=True)
        ]
        return self._normed(mixer.norm, gated, self.model.dtype), states

    def _project(self, linear: Any, inputs: Sequence[_Signal]) -> list[_Signal]:
        bias = linear.bias
        if bias is not None and bias.any():
            raise UnprovedError("a projection has a bias.")
        return list(self._weighted(linear.weight, inputs))

    def _weighted(self, weight: Tensor, inputs: Sequence[_Signal]) -> Iterator[_Signal]:
        for row in weight.float():
            places = row.nonzero()[:, 0].tolist()
            parts = [inputs[place] for place in places]
            factors = [float(row[place]) for place in places]
            pairs = zip(factors, (part.node for part in parts), strict=True)
            yield _Signal(self.numbers.total(pairs), self._is_late(parts))

    def _is_late(self, signals: Iterable[_Signal]) -> bool:
        varying = [s.late for s in signals if not self.machine.diagrams.is_constant(s.node)]
        if any(varying) and not all(varying):
            raise UnprovedError("a number depends on two tokens at once.")
        return any(varying)

    def _convolve(self, convolution: Any, inputs: Sequence[_Signal]) -> list[_Signal]:
        weight = convolution.weight[:, 0].float()
        if weight[:, :-2].any():
            raise UnprovedError("a convolution looks at more than two tokens.")
        biases = [0.0] * len(inputs) if convolution.bias is None else convolution.bias.tolist()
        return [
            self._convolved(float(row[-2]), float(row[-1]), bias, signal.node)
            for row, bias, signal in zip(weight, biases, inputs, strict=True)
        ]

    def _convolved(self, last: float, now: float, bias: float, image: Node) -> _Signal:
        earlier = self.machine.earlier(image)
        parts = []
        if last:
            parts.append((last, _Signal(image, True) if earlier is None else _Signal(earlier)))
        if now:
            parts.append((now, _Signal(image)))
        late = self._is_late(signal for _, signal in parts)
        total = self.numbers.total(((w, signal.node) for w, signal in parts), bias=bias)
        dtype = self.model.dtype
        return _Signal(self.numbers.map("silu", lambda x: silu(x.to(dtype)), total), late)

    def _gate(self, signal: _Signal) -> _Signal:
        dtype = self.model.dtype
        return _Signal(self.numbers.map("silu", lambda x: silu(x.to(dtype)), signal.node))

    def _time_step(self, raw: _Signal, bias: Tensor) -> _Signal:
        dtype = self.model.dtype

        def time_step(x: Tensor) -> Tensor:
            return softplus(x.to(dtype) + bias.to(dtype))

        return _Signal(self.numbers.map(f"step {float(bias)}", time_step, raw.node), raw.late)

    def _scaled(self, signal: _Signal, factor: Tensor) -> _Signal:
        if not factor.any():
            return _Signal(self.numbers.zero)
        dtype = self.model.dtype
        name = f"skip {float(factor)}"
        return _Signal(
            self.numbers.map(name, lambda x: x.to(dtype) * factor, signal.node), signal.late
        )

    def _output(self, state: _Signal, c: _Signal, skip: _Signal, gate: _Signal | None) -> _Signal:
        dtype = self.model.dtype
        parts = [state, c, skip, *([] if gate is None else [gate])]
        if self._is_late(parts):
            raise UnprovedError("what the last token decides is written into the stream.")

        def output(*columns: Tensor) -> Tensor:
            state, c, skip, *gates = (column.to(dtype) for column in columns)
            out = state * c + skip
            return out * gates[0] if gates else out

        return _Signal(self.numbers.map(f"output {len(parts)}", output, *(p.node for p in parts)))

    def _state(
        self, step: _Signal, decay: Tensor, b: _Signal, hidden: _Signal, dtype: torch.dtype
    ) -> _Signal:
        """Return a channel's state after the token; what is added to it is made in `dtype`."""
        late = self._is_late((step, b, hidden))
        factor = self.numbers.map(
            f"decay {float(decay)}", lambda x: torch.exp(x * decay), step.node
        )
        added = self.numbers.map(
            f"input in {dtype}",
            lambda x, y, z: x.to(dtype) * y.to(dtype) * z.to(dtype),
            step.node,
            b.node,
            hidden.node,
        )
        if added == self.numbers.zero:
            return _Signal(self.numbers.zero)
        found = self._remembered(factor, added)
        if found is None:
            raise UnprovedError("the state of a channel is no table over one memory.")
        memory, table = found
        variable = before(memory) if late else after(memory)
        sizes = self.machine.diagrams.sizes
        values = (table.get(value, 0.0) for value in range(sizes[variable]))
        return _Signal(self.machine.diagrams.table(variable, values))

    def _remembered(self, factor: Node, added: Node) -> tuple[int, dict[int, float]] | None:
        """Return the memory that decides a state, and the state at each of its values."""
        key = (factor, added)
        if key not in self._tables:
            self._tables[key] = self._search(
                self.machine.settled(factor), self.machine.settled(added)
            )
        return self._tables[key]

    def _search(self, factor: Node, added: Node) -> tuple[int, dict[int, float]] | None:
        diagrams = self.machine.diagrams
        asked = diagrams.support(factor) | diagrams.support(added)
        supports = [diagrams.support(step) for step in self.machine.steps]
        for memory in sorted(range(len(supports)), key=lambda i: len(asked ^ supports[i])):
            moves = diagrams.apply(
                lambda pair, *numbers: None if pair is None else (*pair, *numbers),
                self._pairs[memory],
                factor,
                added,
            )
            met = [move for move in diagrams.leaves(moves) if move is not None]
            table = state_table(met, self.machine.origin[memory])
            if table is not None:
                self.num_states += len(table)
                self.num_steps += len(met)
                return memory, table
        return None
