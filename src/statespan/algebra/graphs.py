"""Strong components and shortest paths of graphs with as many edges from each node."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

__all__ = ["shortest_path", "strong_components"]

Node = TypeVar("Node", bound=Hashable)


def strong_components(targets: Sequence[int], degree: int) -> list[int]:
    """Return the number of the strong component of each node, sinks first.

    The edges of node v lead to `targets[v * degree : (v + 1) * degree]`. Components are numbered
    in reverse topological order: an edge never leads to a higher number. Tarjan's algorithm
    (doi:10.1137/0201010) without recursion, linear time.

    >>> strong_components([1, 2, 1], 1)
    [1, 0, 0]
    """
    num_nodes = len(targets) // degree if degree else 0
    order = [0] * num_nodes
    low = [0] * num_nodes
    component = [-1] * num_nodes
    stack: list[int] = []
    time = num_components = 0
    for root in range(num_nodes):
        if order[root]:
            continue
        time += 1
        order[root] = low[root] = time
        stack.append(root)
        path = [root]
        edges = [root * degree]
        while path:
            node, edge = path[-1], edges[-1]
            if edge < (node + 1) * degree:
                edges[-1] = edge + 1
                target = targets[edge]
                if not order[target]:
                    time += 1
                    order[target] = low[target] = time
                    stack.append(target)
                    path.append(target)
                    edges.append(target * degree)
                elif component[target] < 0 and order[target] < low[node]:
                    low[node] = order[target]
                continue
            path.pop()
            edges.pop()
            if path and low[node] < low[path[-1]]:
                low[path[-1]] = low[node]
            if low[node] == order[node]:
                while True:
                    member = stack.pop()
                    component[member] = num_components
                    if member == node:
                        break
                num_components += 1
    return component


def shortest_path(
    source: Node,
    is_target: Callable[[Node], bool],
    step: Callable[[Node], Iterable[Node]],
    *,
    nonempty: bool = False,
) -> list[int] | None:
    """Return the edge numbers of a shortest path from `source` to a target, None if none is.

    `step` yields the targets of a node's edges in order; ties go to smaller edge numbers first.
    With `nonempty`, the path has at least one edge.
    """
    if not nonempty and is_target(source):
        return []
    came: dict[Node, tuple[Node, int]] = {}
    queue = deque([source])
    seen = set() if nonempty else {source}
    while queue:
        node = queue.popleft()
        for edge, target in enumerate(step(node)):
            if target in seen:
                continue
            seen.add(target)
            came[target] = (node, edge)
            if is_target(target):
                return _trace(came, source, target)
            queue.append(target)
    return None


def _trace(came: dict[Node, tuple[Node, int]], source: Node, target: Node) -> list[int]:
    node, edge = came[target]
    path = [edge]
    while node != source:
        node, edge = came[node]
        path.append(edge)
    return path[::-1]
