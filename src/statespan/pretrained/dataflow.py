"""What an attention module makes its queries, keys, values and output of, read off its `forward`.

The modules of `transformers` name their parts as they like, but each one that can be switched
hands queries, keys and values to a function out of `ALL_ATTENTION_FUNCTIONS`. So the source of
`forward` is followed from its arguments to that call and on to what is returned. Nothing runs: a
module on the meta device, or one of a model too large to run here, is as good as any.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from torch import nn

from statespan.pretrained.layers import method_of, names_used, unwrapped
from statespan.pretrained.settings import setting_of

__all__ = ["Flow", "attention_flow", "weights_read"]

INTERFACE: Final = "ALL_ATTENTION_FUNCTIONS"
ATTENDED: Final = "@attended"
ARGUMENT: Final = "@argument:"
SIZES: Final = frozenset({"device", "dtype", "ndim", "numel", "shape", "size"})
"""What a tensor is asked for that is not made of its entries."""

Sources = frozenset[str]
"""Paths of modules below the attention module, and marks with an @: arguments, the call."""
Value = Sources | tuple[Sources, ...]
NOTHING: Final[Sources] = frozenset()
DEEPEST: Final = 8
"""How many calls inside one another are followed; a method may call itself."""


@dataclass(slots=True)
class Flow:
    """What the attention function is given in one module, and what is made of its result.

    Attributes:
        query: the paths of what queries are made of; likewise `key` and `value`.
        output: the paths of what is applied to the result, in order.
        fed: the paths of what is applied to what another module of the same gave.
        arguments: the names of the arguments of `forward` that queries depend on.
        settings: the keywords of the call that are attributes of the module, and their values.
    """

    query: Sources = NOTHING
    key: Sources = NOTHING
    value: Sources = NOTHING
    output: list[str] = field(default_factory=list)
    fed: set[str] = field(default_factory=set)
    arguments: Sources = NOTHING
    settings: dict[str, Any] = field(default_factory=dict)


def attention_flow(module: nn.Module) -> Flow | None:
    """Return what feeds the attention function that `module` calls; none if it calls none."""
    forward = method_of(type(module), "forward")
    if forward is None or INTERFACE not in names_used(type(module)):
        return None
    flow = Flow()
    _Reader(module, "", flow, 0).read(forward, {})
    return flow if flow.settings or flow.query else None


def weights_read(cls: type) -> frozenset[str]:
    """Return the children whose weight the methods of `cls` read, past the child's own forward."""
    found: frozenset[str] = _weights_read(cls)
    return found


@cache
def _weights_read(cls: Any) -> frozenset[str]:
    methods = [method_of(cls, name) for name in {"forward", *names_used(cls)}]
    read = set()
    for method in methods:
        for node in ast.walk(_definition(method)) if method is not None else ():
            match node:
                case ast.Attribute(
                    value=ast.Attribute(value=ast.Name(id="self"), attr=child), attr="weight"
                ):
                    read.add(child)
    return frozenset(read)


@cache
def _definition(method: Callable[..., Any]) -> ast.FunctionDef:
    definition = ast.parse(textwrap.dedent(inspect.getsource(method))).body[0]
    assert isinstance(definition, ast.FunctionDef), "a method is a function"
    return definition


class _Reader:
    """Follows the values of the methods of one module; `flow` gathers what the call is given."""

    def __init__(self, module: nn.Module, prefix: str, flow: Flow, depth: int) -> None:
        self.module = module
        self.prefix = prefix
        self.flow = flow
        self.depth = depth
        self.children = dict(module.named_children())
        self.names: dict[str, Value] = {}
        self.returned: list[Value] = []

    def read(self, method: Callable[..., Any], given: Mapping[str, Value]) -> Value:
        """Return what the value of `method` is made of, given what its arguments are made of."""
        arguments = _definition(method).args
        names = [item.arg for item in (*arguments.args, *arguments.kwonlyargs)]
        inner = _Reader(self.module, self.prefix, self.flow, self.depth + 1)
        inner.names = {name: frozenset({f"{ARGUMENT}{name}"}) for name in names}
        inner.names.update(given)
        inner.block(_definition(method).body)
        return _joined(inner.returned)

    def block(self, body: Iterable[ast.stmt]) -> None:
        """Follow statements one after the other."""
        for statement in body:
            self.statement(statement)

    def statement(self, statement: ast.stmt) -> None:
        """Follow one statement; of those that repeat or may fail, the body once."""
        match statement:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self.assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self.assign(target, value)
            case ast.AugAssign(target=target, value=value):
                self.add(target, self.sources(value))
            case ast.Return(value=ast.expr() as value):
                self.returned.append(self.value(value))
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=target, attr=method)) as call):
                sources = self.sources(call)
                if method.endswith("_"):  # torch's sign of a method that writes to its tensor
                    self.add(target, sources)
            case ast.If():
                self.branch(statement)
            case ast.For() | ast.While() | ast.With() | ast.Try():
                self.block(statement.body)

    def branch(self, statement: ast.If) -> None:
        """Follow the side that the module's settings choose, or both."""
        setting = setting_of(self.module, statement.test)
        if setting is not None:
            self.block(statement.body if setting[0] else statement.orelse)
            return
        before = dict(self.names)
        self.block(statement.body)
        after, self.names = self.names, before
        self.block(statement.orelse)
        for name, value in after.items():
            self.names[name] = _joined([value, self.names.get(name, value)])

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        """Follow an assignment to a name, to a part of one, or to several."""
        match target:
            case ast.Tuple(elts=targets):
                for item, sources in zip(targets, self.parts(targets, value), strict=True):
                    if isinstance(item, ast.Name):
                        self.names[item.id] = sources
            case ast.Name(id=name):
                self.names[name] = self.value(value)
            case _:
                self.add(target, self.sources(value))

    def add(self, target: ast.expr, sources: Sources) -> None:
        """Let the name that `target` is a part of depend on `sources`, too."""
        while isinstance(target, (ast.Attribute, ast.Subscript)):
            target = target.value
        if isinstance(target, ast.Name):
            self.names[target.id] = _flat(self.names.get(target.id, NOTHING)) | sources

    def parts(self, targets: Sequence[ast.expr], value: ast.expr) -> Sequence[Sources]:
        """Return what each of several targets of one assignment is made of."""
        names = [item.id for item in targets if isinstance(item, ast.Name)]
        if isinstance(value, ast.Call) and len(names) == len(targets):
            arguments = [*value.args, *(keyword.value for keyword in value.keywords)]
            passed = {item.id for item in arguments if isinstance(item, ast.Name)}
            if passed.issuperset(names):  # `q, k = rotate(q, k, cos, sin)`: each is made of itself
                rest = [item for item in arguments if not _is_name(item, names)]
                shared = self.union([value.func, *rest])
                return [_flat(self.names.get(name, NOTHING)) | shared for name in names]
        found = self.value(value)
        whole = isinstance(found, tuple) and len(found) == len(targets)
        return found if whole else [_flat(found)] * len(targets)  # type: ignore[return-value]

    def value(self, node: ast.expr) -> Value:
        """Return what an expression is made of, its parts apart where it has parts."""
        match node:
            case ast.Name(id=name):
                return frozenset({name}) if name == INTERFACE else self.names.get(name, NOTHING)
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return tuple(self.sources(item) for item in items)
            case ast.Call():
                return self.call(node)
            case ast.Attribute(attr=name) if name in SIZES:
                return NOTHING
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                is_child = name in self.children
                return frozenset({f"{self.prefix}{name}"}) if is_child else NOTHING
            case ast.IfExp(test=test, body=body, orelse=orelse):
                setting = setting_of(self.module, test)
                chosen = [body, orelse] if setting is None else [body if setting[0] else orelse]
                return _joined([self.value(item) for item in chosen])
            case _:
                return self.union(_operands(node))

    def sources(self, node: ast.expr) -> Sources:
        """Return all that an expression is made of."""
        return _flat(self.value(node))

    def union(self, nodes: Iterable[ast.expr]) -> Sources:
        """Return all that several expressions are made of."""
        return NOTHING.union(*(self.sources(node) for node in nodes))

    def call(self, node: ast.Call) -> Value:
        """Return what a call gives: of the attention function, of a part, a method, or another."""
        keywords = {item.arg: item.value for item in node.keywords if item.arg is not None}
        match node.func:
            case ast.Attribute(attr=name) if name in SIZES:
                return NOTHING
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                given = {key: self.value(item) for key, item in keywords.items()}
                return self.own(name, [self.value(item) for item in node.args], given)
        function = self.sources(node.func)
        if INTERFACE in function and node.args and _is_name(node.args[0], ["self"]):
            self.attend(node.args[1:], keywords)
            return frozenset({ATTENDED})
        return function | self.union([*node.args, *(item.value for item in node.keywords)])

    def attend(self, tensors: Sequence[ast.expr], keywords: Mapping[str, ast.expr]) -> None:
        """Note what the attention function is given."""
        flow = self.flow
        named = [keywords[name] for name in ("query", "key", "value") if name in keywords]
        found = [self.sources(item) for item in (*tensors[:3], *named)]
        flow.query, flow.key, flow.value = (_paths(sources) for sources in found)
        flow.arguments = frozenset(
            item.removeprefix(ARGUMENT) for item in found[0] if item.startswith(ARGUMENT)
        )
        settings = {name: setting_of(self.module, item) for name, item in keywords.items()}
        flow.settings = {name: item[0] for name, item in settings.items() if item is not None}

    def own(self, name: str, given: Sequence[Value], named: Mapping[str, Value]) -> Value:
        """Return what one of the module's children, or of its methods, gives."""
        sources = NOTHING.union(*(_flat(value) for value in (*given, *named.values())))
        path, child = f"{self.prefix}{name}", self.children.get(name)
        if child is None:
            method = method_of(type(self.module), name) if self.depth < DEEPEST else None
            return sources if method is None else self.read(method, _bound(method, given, named))
        if _paths(sources):
            self.flow.fed.add(path)
        if ATTENDED in sources:
            self.flow.output.append(path)
        forward = method_of(type(child), "forward")
        is_whole = unwrapped(child) is not child or not any(child.children())
        if forward is None or is_whole or self.depth >= DEEPEST:
            return sources | {path}
        return _Reader(child, f"{path}.", self.flow, self.depth).read(
            forward, _bound(forward, given, named)
        )


def _bound(
    method: Callable[..., Any], given: Sequence[Value], named: Mapping[str, Value]
) -> dict[str, Value]:
    names = [item.arg for item in _definition(method).args.args][1:]
    return {**dict(zip(names, given, strict=False)), **named}


def _operands(node: ast.AST) -> list[ast.expr]:
    """Return the expressions in a node, those of its parts that are none included."""
    found: list[ast.expr] = []
    for child in ast.iter_child_nodes(node):
        found += [child] if isinstance(child, ast.expr) else _operands(child)
    return found


def _is_name(node: ast.expr, names: Iterable[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def _flat(value: Value) -> Sources:
    return NOTHING.union(*value) if isinstance(value, tuple) else value


def _paths(sources: Sources) -> Sources:
    return frozenset(item for item in sources if item[0] != "@" and item != INTERFACE)


def _joined(values: Sequence[Value]) -> Value:
    """Return what one of several values is made of, whichever it is."""
    lengths = {len(value) if isinstance(value, tuple) else None for value in values}
    if len(lengths) == 1 and None not in lengths:
        return tuple(NOTHING.union(*parts) for parts in zip(*values, strict=True))
    return NOTHING.union(*(_flat(value) for value in values))
