"""The one expression language of the playbook: Python's expression grammar, of it a whitelist, compiled once to Python code.

source ──expression_syntax──► tree ──expression_code, against the names that exist──► code that only calls expression_functions.
Evaluating never raises, has no side effects, and is bounded in time and memory.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.expression_code import CALLABLE, Translation
from shared.expression_names import roots
from shared.expression_syntax import ExpressionError, Tree

__all__ = ["Expression", "ExpressionError", "compile_expression"]


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition or computed value, compiled. Two are equal if their sources are."""

    source: str
    names: frozenset[str] = field(compare=False)
    """The top-level names it uses; `now` also where a function speaks of time."""
    event_names: frozenset[str] = field(compare=False)
    """The NAMEs of `lead.events[NAME]`: whose histories must be kept."""
    step_ids: frozenset[str] = field(compare=False)
    """The IDs of `steps.ID`."""
    _run: Callable[[Mapping[str, Any]], Any] = field(compare=False, repr=False)

    @property
    def speaks_of_time(self) -> bool:
        """Whether its value can change without an event."""
        return "now" in self.names

    def __call__(self, scope: Mapping[str, Any]) -> Any:
        """Its value with these names; one that is not in the scope is none. Never raises."""
        try:
            return self._run(scope)
        except KeyError:
            return self._run({name: scope.get(name) for name in self.names})

    def truth(self, scope: Mapping[str, Any]) -> bool:
        """Whether it holds; none does not."""
        return bool(self(scope))


def compile_expression(source: str, names: frozenset[str]) -> Expression:
    """Compile against the names that exist (`lead.traits` allows that part of `lead` alone); raises ExpressionError with the remedy."""
    translation = Translation(Tree(source), roots(names))
    code = compile(ast.fix_missing_locations(ast.Expression(translation.function())), "<expression>", "eval")
    run = eval(code, {"__builtins__": {}, **CALLABLE, **translation.constants})
    return Expression(source, frozenset(translation.names), frozenset(translation.event_names), frozenset(translation.step_ids), run)
