"""Functions of a few finite variables, as decision diagrams: equal functions are one node.

A diagram asks for one variable after another, always in the same order, and each is asked at most
once. Nodes are kept once, so two functions are equal exactly if their nodes are the same number
(Bryant 1986, doi:10.1109/TC.1986.1676819; with values at the leaves: Bahar et al. 1997,
doi:10.1023/A:1008699807402). A function of twenty variables that looks at them one by one takes
some hundred nodes, where its table would have 10^20 rows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, final

from statespan.errors import LimitError

__all__ = ["NODE_LIMIT", "Diagrams", "Node"]

Node: TypeAlias = int
"""A function; the same number for the same function."""

NODE_LIMIT = 3_000_000
"""How many nodes there may be: about a gigabyte."""


@final
class Diagrams:
    """Functions of variables whose numbers of values are `sizes`.

    Values at the leaves are hashable, and those that are equal are one leaf, whatever their type:
    1, 1.0 and True; 0.0 and -0.0.

    Example:
        >>> diagrams = Diagrams([2, 3])
        >>> total = diagrams.apply(lambda x, y: x + y, *map(diagrams.variable, range(2)))
        >>> sorted(diagrams.leaves(total)), diagrams.at(total, [1, 2])
        ([0, 1, 2, 3], 3)
    """

    def __init__(self, sizes: Sequence[int], *, limit: int = NODE_LIMIT) -> None:
        self.sizes = tuple(sizes)
        self.limit = limit
        self._leaf = len(self.sizes)
        self._variables: list[int] = []
        self._children: list[tuple[Node, ...]] = []
        self._values: list[Any] = []
        self._nodes: dict[tuple[int, Hashable], Node] = {}
        self._leaves: dict[Node, frozenset[Any]] = {}

    def constant(self, value: Hashable) -> Node:
        """Return the function that is `value` everywhere."""
        return self._node(self._leaf, (), value)

    def choice(self, variable: int, cases: Sequence[Node]) -> Node:
        """Return the function that is `cases[v]` where `variable` is v.

        The cases must look at later variables only (not checked).
        """
        if cases.count(cases[0]) == len(cases):
            return cases[0]
        return self._node(variable, tuple(cases), None)

    def table(self, variable: int, values: Iterable[Hashable]) -> Node:
        """Return the function of one variable that has these values."""
        return self.choice(variable, [self.constant(value) for value in values])

    def variable(self, variable: int) -> Node:
        """Return the function that is the value of `variable`."""
        return self.table(variable, range(self.sizes[variable]))

    def _node(self, variable: int, children: tuple[Node, ...], value: Any) -> Node:
        key = (variable, children or value)
        found = self._nodes.get(key)
        if found is None:
            if len(self._variables) >= self.limit:
                raise LimitError(f"the decision diagrams have more than {self.limit:,} nodes.")
            found = self._nodes[key] = len(self._variables)
            self._variables.append(variable)
            self._children.append(children)
            self._values.append(value)
        return found

    def is_constant(self, node: Node) -> bool:
        """Return whether a function is the same everywhere."""
        return self._variables[node] == self._leaf

    def apply(self, function: Callable[..., Hashable], *nodes: Node) -> Node:
        """Return `function` of functions, point by point."""
        known: dict[tuple[Node, ...], Node] = {}
        variables, children, leaf = self._variables, self._children, self._leaf

        def visit(operands: tuple[Node, ...]) -> Node:
            found = known.get(operands)
            if found is not None:
                return found
            top = min(variables[node] for node in operands)
            if top == leaf:
                found = self.constant(function(*(self._values[node] for node in operands)))
            else:
                parts = [
                    children[n] if variables[n] == top else (n,) * self.sizes[top] for n in operands
                ]
                found = self.choice(top, [visit(case) for case in zip(*parts, strict=True)])
            known[operands] = found
            return found

        return visit(nodes)

    def at(self, node: Node, point: Sequence[int]) -> Any:
        """Return the value at a point: a value of every variable."""
        while self._variables[node] != self._leaf:
            node = self._children[node][point[self._variables[node]]]
        return self._values[node]

    def leaves(self, node: Node) -> frozenset[Any]:
        """Return all values that a function has."""
        found = self._leaves.get(node)
        if found is None:
            reached = self._reached(node)
            found = frozenset(self._values[n] for n in reached if self._variables[n] == self._leaf)
            self._leaves[node] = found
        return found

    def support(self, node: Node) -> frozenset[int]:
        """Return the variables that a function depends on."""
        asked = {self._variables[reached] for reached in self._reached(node)}
        return frozenset(asked - {self._leaf})

    def _reached(self, node: Node) -> list[Node]:
        order = [node]
        seen = {node}
        for reached in order:
            fresh = dict.fromkeys(n for n in self._children[reached] if n not in seen)
            seen.update(fresh)
            order += fresh
        return order

    def compose(self, node: Node, parts: Mapping[int, Node]) -> Node:
        """Return the function with some variables replaced by functions, all at once."""
        known: dict[Node, Node] = {}

        def visit(node: Node) -> Node:
            found = known.get(node)
            if found is not None:
                return found
            variable = self._variables[node]
            if variable == self._leaf:
                return node
            cases = [visit(child) for child in self._children[node]]
            chosen = parts[variable] if variable in parts else self.variable(variable)
            found = known[node] = self.select(chosen, cases)
            return found

        return visit(node)

    def select(self, chosen: Node, cases: Sequence[Node]) -> Node:
        """Return the function that is `cases[v]` wherever `chosen` is v."""
        known: dict[tuple[Node, tuple[Node, ...]], Node] = {}
        variables, children = self._variables, self._children

        def visit(chosen: Node, cases: tuple[Node, ...]) -> Node:
            if variables[chosen] == self._leaf:
                return cases[int(self._values[chosen])]
            if cases.count(cases[0]) == len(cases):
                return cases[0]
            found = known.get((chosen, cases))
            if found is None:
                top = min(variables[node] for node in (chosen, *cases))
                size = range(self.sizes[top])
                rows = [
                    children[n] if variables[n] == top else (n,) * len(size)
                    for n in (chosen, *cases)
                ]
                parts = [visit(rows[0][v], tuple(row[v] for row in rows[1:])) for v in size]
                found = known[chosen, cases] = self.choice(top, parts)
            return found

        return visit(chosen, tuple(cases))
