"""From the source of an expression to its syntax tree; what Python's grammar would misread is answered with how to write it."""

import ast
import keyword
import re
import warnings

from shared.errors import ConfigurationError

MAX_SOURCE = 2000
MAX_DEPTH = 40
_STRING = re.compile(r"('''|\"\"\")(?:[^\\]|\\.)*?\1|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_COMMENT = re.compile(r"[^'\"#]*#")
_RESERVED = "|".join(keyword.kwlist)
_MISREADINGS = [
    (
        re.compile(rf"(?P<path>[^\W\d][\w.]*)\s*\.\s*(?P<name>(?:{_RESERVED})\b|\d\w*)"),
        "`{name}` cannot follow a dot: write {path}['{name}']",
    ),
    (re.compile(r"===|!=="), "`{}` is not known here: write `==` or `!=`"),
    (re.compile(r":="), "nothing can be assigned here: write `==` to compare"),
    (re.compile(r"(?<![=!<>:])=(?![=<>])"), "`=` does not compare: write `==`"),
    (re.compile(r"=[<>]"), "`{}` is not known here: write `<=` or `>=`"),
    (re.compile(r"&&"), "`&&` is not known here: write `and`"),
    (re.compile(r"\|\|"), "`||` is not known here: write `or`"),
    (re.compile(r"!(?!=)"), "`!` is not known here: write `not`"),
    (re.compile(r"\?"), "`?` is not known here: write `x if condition else y`"),
    (re.compile(r"\$\{?"), "`${{NAME}}` is replaced in playbook.yaml only: write a name without `$`"),
    (re.compile(r"['\"]"), "the text that begins here has no end; in YAML put an expression that holds ` #` or `: ` in quotes"),
]


class ExpressionError(ConfigurationError):
    """An expression that cannot be used; `offset` counts characters from its beginning."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class Tree:
    """A parsed expression: its root, and where in the source each node stands."""

    def __init__(self, source: str) -> None:
        """Parse; ExpressionError for what is too long, too deep or not readable."""
        if len(source) > MAX_SOURCE:
            raise ExpressionError(f"the expression is longer than {MAX_SOURCE} characters", MAX_SOURCE)
        self._source = re.sub(r"\s", " ", source)
        self._skipped = len(self._source) - len(self._source.lstrip())
        self.root = self._parsed()
        self._check_depth()

    def offset(self, node: ast.expr) -> int:
        """Where a node begins, in characters; for `owner.part` and `owner['part']` where the part does."""
        match node:
            case ast.Attribute(value=owner, attr=name, end_col_offset=int(end)):
                return max(self._characters(end) - len(name), self.offset(owner))
            case ast.Subscript(slice=index):
                return self._characters(index.col_offset)
        return self._characters(node.col_offset)

    def _characters(self, column: int) -> int:
        """A column of the tree, which counts bytes, as an offset into the source."""
        return self._skipped + len(self._source[self._skipped :].encode()[:column].decode(errors="ignore"))

    def text(self, node: ast.expr) -> str:
        """A node as it stands in the source."""
        return ast.get_source_segment(self._source[self._skipped :], node) or ""

    def before(self, node: ast.expr) -> str:
        """The source up to a node."""
        return self._source[: self.offset(node)]

    def _parsed(self) -> ast.expr:
        source = self._source[self._skipped :]
        if not source:
            raise ExpressionError("the expression is empty")
        if comment := _COMMENT.match(_outside_texts(self._source)):
            raise ExpressionError("`#` is not known here: remove the comment", comment.end() - 1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(source, mode="eval").body
        except SyntaxError as error:
            raise self._misread(error) from None
        except (ValueError, MemoryError, RecursionError) as error:
            raise ExpressionError("this is not an expression") from error

    def _misread(self, error: SyntaxError) -> ExpressionError:
        outside = _outside_texts(self._source)
        for pattern, message in _MISREADINGS:
            if found := pattern.search(outside):
                return ExpressionError(message.format(found[0], **found.groupdict()), found.start(found.lastindex or 0))
        offset = self._skipped + max((error.offset or 1) - 1, 0)
        return ExpressionError(f"this is not an expression: {error.msg}", min(offset, len(self._source)))

    def _check_depth(self) -> None:
        level: list[ast.expr] = [self.root]
        for _ in range(MAX_DEPTH):
            level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        if level:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH} levels: split it", self.offset(level[0]))


def _outside_texts(source: str) -> str:
    """The source with its texts blanked, every character in its place."""
    return _STRING.sub(lambda found: " " * len(found[0]), source)
