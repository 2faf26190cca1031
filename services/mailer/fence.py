"""What a template may say, judged once when the playbook is loaded: names that exist, tags and filters that are kept, sizes that end.

source ──parse──► tree ──fence──► the same tree, its loops and joins metered ──compile──► a program for `sandbox.py`
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jinja2 import TemplateAssertionError, meta, nodes
from jinja2.visitor import NodeTransformer

from services.mailer.sandbox import CALLABLE, Sandbox
from shared.shapes import named, suggestion

MOST_NODES = 3000
DEEPEST_LOOP = 2

Names = Mapping[str, Any]
"""Names that exist here; below one either a mapping of its only attributes, or None where anything may hang on it."""

_LEAD = ("id", "email", "user_id", "readiness", "points", "hot", "sleeping", "traits", "tags", "company", "timezone", "locale")
NAMES: Names = {
    "lead": {
        **dict.fromkeys((*_LEAD, "created_at", "last_seen_at", "events")),
        "consent": dict.fromkeys(("marketing", "topics")),
        "orders": dict.fromkeys(("count", "total", "last_at")),
    },
    "entry": dict.fromkeys(("event", "at", "properties", "context")),
    "brand": dict.fromkeys(("name", "url", "address", "logo")),
    "links": dict.fromkeys(("unsubscribe", "preferences", "confirm")),
    "steps": None,
    "key": None,
    "entered_at": None,
    "now": None,
}
_NOT_YET = {"links.answer", "links.respond", "coupon"}
_REMEDIES = {"event": "what began the enrollment is `entry`: `entry.properties.…`"}
_ALONE = "a template stands alone here: write out what it would share (a file without `<html>` gets the layout by itself)"
_REFUSED: Mapping[type[nodes.Node], str] = {
    nodes.Extends: _ALONE,
    nodes.Include: _ALONE,
    nodes.Import: _ALONE,
    nodes.FromImport: _ALONE,
    nodes.Block: _ALONE,
    nodes.Macro: "`macro` is not for templates: write the text out",
    nodes.CallBlock: "`call` is not for templates: write the text out",
    nodes.AssignBlock: "`set` takes an expression here: write `{% set name = … %}`",
    nodes.FilterBlock: "`filter` blocks are not for templates: put the filter behind each value",
    nodes.ScopedEvalContextModifier: "`autoescape` is always on",
    nodes.Pow: "`**` is not for templates",
}


class Flaw(NamedTuple):
    """Something a template may not say, and the line it stands on."""

    line: int
    message: str


def fenced(environment: Sandbox, source: str, names: Names = NAMES) -> tuple[nodes.Template, list[Flaw]]:
    """The template's tree with loops and joins metered, and every flaw found in it. Raises Jinja2's TemplateSyntaxError."""
    tree = environment.parse(source)
    flaws = list(_too_large(tree)) or [*_refused(tree, environment), *_unknown(tree, names)]
    return _Meter().visit(tree), sorted(set(flaws))


def _too_large(tree: nodes.Template) -> Iterator[Flaw]:
    if sum(1 for _ in tree.find_all(nodes.Node)) > MOST_NODES:
        yield Flaw(1, f"more than {MOST_NODES} tags, names and values: split it, or put less logic into a mail")


def _refused(tree: nodes.Template, environment: Sandbox) -> Iterator[Flaw]:
    for node in tree.find_all(nodes.Node):
        if message := _refusal(node, environment):
            yield Flaw(node.lineno, message)
    yield from _deep_loops(tree, 0)


def _refusal(node: nodes.Node, environment: Sandbox) -> str | None:
    match node:
        case nodes.Filter() if node.name not in environment.filters:
            return f"there is no filter `{node.name}`{suggestion(node.name, environment.filters)}"
        case nodes.Test() if node.name not in environment.tests:
            return f"there is no test `{node.name}`{suggestion(node.name, environment.tests)}"
        case nodes.Call() if (called := _called(node)) not in CALLABLE and f"links.{called}" not in _NOT_YET and called not in _NOT_YET:
            return f"`{called}` cannot be called in a template{suggestion(called, CALLABLE)}"
        case nodes.List() | nodes.Tuple(ctx="load") | nodes.Dict() if not _constant(node):
            return "a list written in a template holds only plain values"
        case nodes.Getattr() if node.attr.startswith("_"):
            return f"`{node.attr}` is not for templates: names that begin with `_` are private"
        case nodes.For(recursive=True):
            return "`recursive` loops are not for templates"
        case nodes.Name(ctx="store" | "param") if node.name in NAMES or node.name.startswith("_"):
            return f"`{node.name}` is taken: choose another name"
        case _:
            return _REFUSED.get(type(node))


def _called(call: nodes.Call) -> str:
    return str(getattr(call.node, "attr", None) or getattr(call.node, "name", "this"))


def _constant(literal: nodes.Node) -> bool:
    return all(isinstance(child, nodes.Const | nodes.Neg | nodes.Pair) for child in literal.iter_child_nodes())


def _deep_loops(node: nodes.Node, depth: int) -> Iterator[Flaw]:
    for child in node.iter_child_nodes():
        deeper = depth + isinstance(child, nodes.For)
        if deeper > DEEPEST_LOOP:
            yield Flaw(child.lineno, f"loops stand at most {DEEPEST_LOOP} deep")
        else:
            yield from _deep_loops(child, deeper)


def _unknown(tree: nodes.Template, names: Names) -> Iterator[Flaw]:
    free = _free_names(tree)
    for name in tree.find_all(nodes.Name):
        if name.ctx == "load" and name.name in free and name.name not in names:
            yield Flaw(name.lineno, _unknown_name(name.name, names))
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        path = _path(node)
        if path and (message := _unknown_attribute(path, names)):
            yield Flaw(node.lineno, message)


def _free_names(tree: nodes.Template) -> set[str]:
    """Names that the template does not give itself; none while it uses an unknown filter or test, which is a flaw of its own."""
    try:
        return meta.find_undeclared_variables(tree) - {"range"}
    except TemplateAssertionError:
        return set()


def _unknown_name(name: str, names: Names) -> str:
    if name in _NOT_YET:
        return f"not yet: `{name}` is not in this release; leave it out"
    remedy = _REMEDIES.get(name)
    return f"there is no `{name}` here" + (f": {remedy}" if remedy else suggestion(name, names) or f"; there are {named(names)}")


def _path(node: nodes.Node) -> tuple[str, ...]:
    """`lead.consent.marketing` as its parts; empty for what does not begin with a name."""
    match node:
        case nodes.Name():
            return (node.name,)
        case nodes.Getattr():
            above, last = _path(node.node), node.attr
        case nodes.Getitem(arg=nodes.Const(value=str() as last)):
            above = _path(node.node)
        case _:
            return ()
    return (*above, last) if above else ()


def _unknown_attribute(path: tuple[str, ...], names: Names) -> str | None:
    """What is wrong with the last part of the path, where the parts before it are known to hold nothing else."""
    if ".".join(path) in _NOT_YET:
        return f"not yet: `{'.'.join(path)}` is not in this release; leave it out"
    known: Any = names
    for part in path[:-1]:
        known = known.get(part) if isinstance(known, Mapping) else None
    if not isinstance(known, Mapping) or path[-1] in known:
        return None
    above = ".".join(path[:-1])
    return f"`{above}` has no `{path[-1]}`{suggestion(path[-1], known) or f'; it has {named(known)}'}"


class _Meter(NodeTransformer):
    """Lets every loop count its rounds and every `~` its length."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        assert isinstance(node.iter, nodes.Expr)
        node.iter = _through("_each", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _through("_concat", nodes.List(node.nodes, lineno=node.lineno, environment=node.environment))


def _through(name: str, value: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno, environment=value.environment)
