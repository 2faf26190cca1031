"""From an expression's tree to Python code: checks every name, lets through only what the language has, calls only our functions."""

import ast
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from math import isfinite
from typing import Any

from shared import expression_functions as functions
from shared.durations import parse_duration
from shared.expression_names import OPEN, VALUE, Known, below, not_a_value, unknown_name, unknown_part
from shared.expression_syntax import ExpressionError, Tree
from shared.wire import Consent, Entry, EventHistory, Lead, Orders

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "equal",
    ast.NotEq: "unequal",
    ast.Lt: "less",
    ast.LtE: "at_most",
    ast.Gt: "greater",
    ast.GtE: "at_least",
    ast.In: "contains",
    ast.NotIn: "misses",
}
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Mod: "remainder",
}
_FUNCTIONS = {  # name → what it is in expression_functions, least and most arguments
    "days_since": ("days_since", 1, 1),
    "hours_since": ("hours_since", 1, 1),
    "days": ("days", 1, 1),
    "hours": ("hours", 1, 1),
    "lower": ("lower", 1, 1),
    "upper": ("upper", 1, 1),
    "len": ("length", 1, 1),
    "round": ("rounded", 1, 2),
    "min": ("smallest", 1, 20),
    "max": ("largest", 1, 20),
}
_METHODS = {
    "startswith": ("starts_with", 1),
    "endswith": ("ends_with", 1),
    "lower": ("lower", 0),
    "upper": ("upper", 0),
    "strip": ("strip", 0),
    "count_within": ("count_within", 1),
}
_OF_TIME = frozenset({"days_since", "hours_since", "count_within"})
_WORDS = {"none": None, "true": True, "false": False}
_STRUCTS = {struct.__name__: struct for struct in (Consent, Entry, EventHistory, Lead, Orders)}
_OWN = ("attribute", "item", "history", "or_zero", "negative", "contains_text", *_COMPARISONS.values(), *_ARITHMETIC.values())
_SPOKEN = (*(entry[0] for entry in _FUNCTIONS.values()), *(entry[0] for entry in _METHODS.values()))
CALLABLE: dict[str, Any] = _STRUCTS | {name: getattr(functions, name) for name in (*_OWN, *_SPOKEN)}
"""What the code may name: nothing else is in reach."""
_NOT_SPOKEN: dict[type[ast.AST], str] = {
    ast.Lambda: "a lambda",
    ast.NamedExpr: "an assignment",
    ast.JoinedStr: "an f'…' text",
    ast.Dict: "a {…} literal",
    ast.Set: "a {…} literal",
    ast.Slice: "a slice",
    ast.Starred: "`*`",
}


class Translation:
    """Walks the tree once: checks every name, and makes of it code that only calls our functions."""

    def __init__(self, tree: Tree, known: Mapping[str, Known]) -> None:
        self.tree = tree
        self.known = known
        self.names: set[str] = set()
        self.event_names: set[str] = set()
        self.step_ids: set[str] = set()
        self.constants: dict[str, timedelta] = {}
        self._kept = 0

    def function(self) -> ast.Lambda:
        """Code for the whole: a function of the scope."""
        parameters = ast.arguments(posonlyargs=[], args=[ast.arg("scope")], kwonlyargs=[], kw_defaults=[], defaults=[])
        return ast.Lambda(parameters, self.value(self.tree.root))

    def value(self, node: ast.expr) -> ast.expr:
        """Code for a node that stands for a value."""
        code, known = self.reach(node)
        if not known.stands_alone:
            raise self.error(node, not_a_value(self.tree.text(node), known))
        return _call("or_zero", code) if known.kind == "count" else code

    def reach(self, node: ast.expr) -> tuple[ast.expr, Known]:
        """Code for a node, and what is known of it."""
        match node:
            case ast.Name():
                return self._name(node)
            case ast.Attribute(value=owner, attr=name):
                return self._part(node, owner, name)
            case ast.Subscript(value=owner, slice=ast.Constant(value=str(name))):
                return self._part(node, owner, name)
            case _:
                return self._operation(node), OPEN

    def error(self, node: ast.expr, message: str) -> ExpressionError:
        """An error at a node."""
        return ExpressionError(message, self.tree.offset(node))

    def _operation(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return ast.List([self.value(element) for element in elements], ast.Load())
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return ast.IfExp(self.value(test), self.value(body), self.value(orelse))
            case ast.Subscript(value=owner, slice=index):
                return self._element(owner, index)
            case ast.Call():
                return self._called(node)
        return self._operator(node)

    def _operator(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.BoolOp(op=op, values=values):
                return ast.BoolOp(op, [self.value(value) for value in values])
            case ast.UnaryOp(op=ast.Not() as op, operand=operand):
                return ast.UnaryOp(op, self.value(operand))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _call("negative", self.value(operand))
            case ast.BinOp(op=ast.Mod() | ast.Mult(), left=ast.Constant(value=str())):
                raise self.error(node, "`%` and `*` are for numbers: put text together with `+`")
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                return _call(_ARITHMETIC[type(node.op)], self.value(node.left), self.value(node.right))
            case ast.Compare():
                return self._comparison(node)
        raise self.error(node, self._not_spoken(node))

    def _not_spoken(self, node: ast.expr) -> str:
        what = _NOT_SPOKEN.get(type(node))
        if isinstance(node, ast.BinOp | ast.UnaryOp):
            what = f"the operator in `{self.tree.text(node)[:60]}`"
        return f"{what or f'`{self.tree.text(node)[:60]}`'} is not part of the language"

    def _constant(self, node: ast.Constant) -> ast.expr:
        match node.value:
            case str() if not any("\ud800" <= character <= "\udfff" for character in node.value):
                return node
            case None | bool():
                return node
            case int() if abs(node.value) < 2**63:
                return node
            case float() if isfinite(node.value):
                return node
        raise self.error(node, f"`{self.tree.text(node)[:60]}` is neither a number nor a text that can be used here")

    def _name(self, node: ast.Name) -> tuple[ast.expr, Known]:
        if node.id in self.known:
            self.names.add(node.id)
            return _scope(node.id), self.known[node.id]
        if node.id in _WORDS:
            return ast.Constant(_WORDS[node.id]), VALUE
        if node.id in _FUNCTIONS or node.id in _METHODS:
            raise self.error(node, f"`{node.id}` is a function: write `{node.id}(…)`")
        raise self.error(node, self._hyphen(node) or unknown_name(node.id, self.known))

    def _hyphen(self, node: ast.Name) -> str:
        """`lead.traits.first-name` is a subtraction to the grammar."""
        before = self.tree.before(node)
        owner, dot, start = before[:-1].rpartition(".")
        if not before.endswith("-") or not dot or not start.isidentifier():
            return ""
        return f"`-` is minus here; if the name is `{start}-{node.id}`, write {owner.split()[-1]}['{start}-{node.id}']"

    def _part(self, node: ast.expr, owner: ast.expr, name: str) -> tuple[ast.expr, Known]:
        code, known = self.reach(owner)
        part = below(known, name)
        if part is None:
            raise self.error(node, unknown_part(self.tree.text(owner), name, known))
        if name.startswith("__") and isinstance(node, ast.Attribute):
            raise self.error(node, f"`{name}` cannot be named")
        if known.kind == "events":
            self.event_names.add(name)
            return _call("history", code, ast.Constant(name)), part
        if known.kind == "steps":
            self.step_ids.add(name)
        return self._attribute(code, name, known), part

    def _attribute(self, owner: ast.expr, name: str, known: Known) -> ast.expr:
        """`attribute(owner, name)`; for one of our Structs first asked directly, which is four times as fast."""
        if known.struct is None:
            return _call("attribute", owner, ast.Constant(name))
        stored, again = self._once(owner)
        kind = ast.Attribute(stored, "__class__", ast.Load())
        is_struct = ast.Compare(kind, [ast.Is()], [ast.Name(known.struct.__name__, ast.Load())])
        return ast.IfExp(is_struct, ast.Attribute(again, name, ast.Load()), _call("attribute", again, ast.Constant(name)))

    def _once(self, code: ast.expr) -> tuple[ast.expr, ast.expr]:
        """Code that computes and keeps a value, and code that names it again."""
        name, self._kept = f"kept{self._kept}", self._kept + 1
        return ast.NamedExpr(ast.Name(name, ast.Store()), code), ast.Name(name, ast.Load())

    def _element(self, owner: ast.expr, index: ast.expr) -> ast.expr:
        code, known = self.reach(owner)
        if not known.stands_alone:
            raise self.error(index, f"write the name in quotes: `{self.tree.text(owner)}['…']`")
        return _call("item", code, self.value(index))

    def _comparison(self, node: ast.Compare) -> ast.expr:
        """One comparison, or a chain: `a < b < c` is `a < b and b < c` with b computed once."""
        links: list[ast.expr] = []
        left_node, left = node.left, self.value(node.left)
        for index, (op, right_node) in enumerate(zip(node.ops, node.comparators, strict=True)):
            right = again = self.value(right_node)
            if index < len(node.ops) - 1:
                right, again = self._once(right)
            links.append(self._link(op, left, right, (left_node, right_node)))
            left_node, left = right_node, again
        return links[0] if len(links) == 1 else ast.BoolOp(ast.And(), links)

    def _link(self, op: ast.cmpop, left: ast.expr, right: ast.expr, nodes: tuple[ast.expr, ast.expr]) -> ast.expr:
        if type(op) not in _COMPARISONS:
            raise self.error(nodes[1], "`is` is not part of the language: write `==` or `!=`")
        if isinstance(op, ast.Eq | ast.NotEq) and any(map(_is_plain_text, nodes)):
            return ast.Compare(left, [op], [right])
        if isinstance(op, ast.In) and _is_plain_text(nodes[0]):
            return _call("contains_text", left, right)
        return _call(_COMPARISONS[type(op)], left, right)

    def _called(self, node: ast.Call) -> ast.expr:
        if node.keywords:
            raise self.error(node, f"`{node.keywords[0].arg or '**'}=` is not part of the language: write the value alone")
        if isinstance(node.func, ast.Attribute):
            return self._method(node, node.func)
        if isinstance(node.func, ast.Name):
            return self._function(node, node.func.id)
        raise self.error(node, f"`{self.tree.text(node.func)[:60]}` cannot be called")

    def _function(self, node: ast.Call, name: str) -> ast.expr:
        if name not in _FUNCTIONS:
            method = f": write `x.{name}(…)`" if name in _METHODS else _near(name, _FUNCTIONS)
            raise self.error(node, f"there is no function `{name}`{method}")
        function, least, most = _FUNCTIONS[name]
        if not least <= len(node.args) <= most:
            raise self.error(node, f"`{name}` takes {_values(least, most)}, here: {len(node.args)}")
        arguments = [self.value(argument) for argument in node.args]
        return _call(function, *arguments, *([self._now(node, name)] if name in _OF_TIME else []))

    def _method(self, node: ast.Call, method: ast.Attribute) -> ast.expr:
        name = method.attr
        if name not in _METHODS:
            function = f": write `{name}({self.tree.text(method.value)})`" if name in _FUNCTIONS else _near(name, _METHODS)
            raise self.error(node, f"there is no method `{name}`{function}")
        function, count = _METHODS[name]
        if len(node.args) != count:
            raise self.error(node, f"`{name}` takes {_values(count, count)} in its brackets, here: {len(node.args)}")
        if name == "count_within":
            return self._count_within(node, method.value)
        return _call(function, self.value(method.value), *(self.value(argument) for argument in node.args))

    def _count_within(self, node: ast.Call, owner: ast.expr) -> ast.expr:
        code, known = self.reach(owner)
        if known.kind != "history":
            raise self.error(node, "`count_within` belongs to events: write `lead.events['Ebook Downloaded'].count_within('30d')`")
        return _call("count_within", code, self._window(node.args[0]), self._now(node, "count_within"))

    def _window(self, node: ast.expr) -> ast.expr:
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            raise self.error(node, "write the time as text, such as '30d'")
        try:
            window = parse_duration(node.value)
        except ValueError as error:
            raise self.error(node, str(error)) from error
        name = f"window{len(self.constants)}"
        self.constants[name] = window
        return ast.Name(name, ast.Load())

    def _now(self, node: ast.expr, name: str) -> ast.expr:
        if "now" not in self.known:
            raise self.error(node, f"`{name}` speaks of the present time, which cannot be named here")
        self.names.add("now")
        return _scope("now")


def _is_plain_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and not functions.converts(node.value)


def _values(least: int, most: int) -> str:
    counts = f"{least or 'nothing'}" if least == most else f"{least} to {most}"
    return counts if not most else f"{counts} value{'' if most == 1 else 's'}"


def _near(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    return f", did you mean `{close[0]}`?" if close else "; there are " + ", ".join(f"`{one}`" for one in known)


def _call(name: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _scope(name: str) -> ast.expr:
    return ast.Subscript(ast.Name("scope", ast.Load()), ast.Constant(name), ast.Load())
