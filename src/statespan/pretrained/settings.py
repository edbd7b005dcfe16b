"""What an expression in a module's code is, where the module's own attributes say it."""

from __future__ import annotations

import ast
from typing import Any

from torch import nn

__all__ = ["setting_of"]


def setting_of(module: nn.Module, node: ast.expr) -> tuple[Any] | None:
    """Return the value of an expression in a method of `module`, in a tuple; none if it varies.

    Example:
        >>> test = ast.parse("self.bias is not None", mode="eval").body
        >>> setting_of(nn.LayerNorm(1, bias=False), test)
        (False,)
        >>> setting_of(nn.LayerNorm(1), ast.parse("inputs", mode="eval").body) is None
        True
    """
    match node:
        case ast.Constant(value=value):
            return (value,)
        case ast.Name(id="self"):
            return (module,)
        case ast.Attribute(value=owner, attr=name):
            found = setting_of(module, owner)
            return None if found is None else (getattr(found[0], name, None),)
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(name), *default]):
            found = setting_of(module, owner)
            rest = setting_of(module, default[0]) if default else (None,)
            return found and rest and (getattr(found[0], str(name), rest[0]),)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            found = setting_of(module, operand)
            return None if found is None else (not found[0],)
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            found, other = setting_of(module, left), setting_of(module, right)
            return found and other and _compared(found[0], operator, other[0])
    return None


def _compared(left: Any, operator: ast.cmpop, right: Any) -> tuple[bool] | None:
    match operator:
        case ast.Is():
            return (left is right,)
        case ast.IsNot():
            return (left is not right,)
        case ast.Eq():
            return (left == right,)
        case ast.NotEq():
            return (left != right,)
    return None
