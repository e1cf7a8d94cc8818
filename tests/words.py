"""All words that people read: strings and docstrings of the package, its templates and documents.

`python -m tests.contract.documents` writes docs/sentences.md; tests/test_words.py looks for words
that readers stumble over.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGE: Final = ROOT / "bias_audit"
DOCUMENT: Final = ROOT / "docs" / "sentences.md"
FEWEST_WORDS: Final = 3

_SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|PRAGMA|BEGIN|WITH|ATTACH)\b")
_TAG = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>", flags=re.DOTALL)
_JINJA = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", flags=re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_LONGEST_LIST: Final = 30
"""Words; with more of them, text has punctuation."""
_CODE = re.compile(r"[\\^$]|\(\?|//|::|\w;\s*\w+:|^[\w, ]+: ?\{|^\W+$")


@dataclass(frozen=True)
class Text:
    """Something that people read, and where it is written."""

    path: Path
    line: int
    text: str
    is_docstring: bool = False

    @property
    def place(self) -> str:
        """File and line, as an editor takes them."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    @property
    def area(self) -> str:
        """The part of the project that it belongs to, such as "data" or "report/zoo"."""
        inner = self.path.relative_to(PACKAGE if self.path.is_relative_to(PACKAGE) else ROOT)
        if len(inner.parts) == 1:
            return "top" if inner.suffix == ".py" else inner.name
        if inner.parts[0] == "docs":
            return inner.as_posix()
        is_nested = inner.parts[0] == "report" and inner.parts[2:]
        return "/".join(inner.parts[: 2 if is_nested else 1])


def sources() -> list[Path]:
    """All modules of the package."""
    return sorted(PACKAGE.rglob("*.py"))


@cache
def texts_of(path: Path) -> tuple[Text, ...]:
    """Strings and docstrings of a module, in source order."""
    walker = _Walker(path)
    walker.visit(ast.parse(path.read_text(encoding="utf-8")))
    return tuple(sorted(walker.found, key=lambda text: text.line))


def sentences(path: Path) -> list[Text]:
    """Strings of a module that people may read: with a space, and neither SQL nor code."""
    return [text for text in texts_of(path) if not text.is_docstring and _is_language(text.text)]


def docstrings(path: Path) -> list[Text]:
    """What explains the modules, classes, functions and attributes of a module."""
    return [text for text in texts_of(path) if text.is_docstring]


def documents() -> Iterator[Text]:
    """Lines of the templates, the documents and the shipped configs; without code in them."""
    for folder, pattern in (("templates", f"*.{kind}") for kind in ("html", "md", "yaml")):
        for path in sorted((ROOT / folder).rglob(pattern)):
            yield from _lines(path, _TAG.sub(_blank, _JINJA.sub(_blank, path.read_text("utf-8"))))
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        if path != DOCUMENT:
            yield from _lines(path, path.read_text("utf-8"))
    for path in sorted((ROOT / "audit_configs").glob("*.yaml")):
        yield from _lines(path, path.read_text("utf-8"))


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found.group())


def _lines(path: Path, text: str) -> Iterator[Text]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield Text(path, number, html.unescape(line.strip()))


def _is_language(text: str) -> bool:
    bare = _PLACEHOLDER.sub("", text)
    if len(bare.split()) > _LONGEST_LIST and not re.search(r"[.,;:]\s", bare):
        return False
    return (
        " " in text and bool(_WORD.search(bare)) and not (_SQL.match(text) or _CODE.search(bare))
    )


class _Walker(ast.NodeVisitor):
    """Collects strings; those of the command line's docstrings are read as its help."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[Text] = []

    def _add(self, node: ast.expr, text: str, *, is_docstring: bool = False) -> None:
        self.found.append(Text(self.path, node.lineno, text, is_docstring))

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            self._add(node.value, node.value.value, is_docstring=True)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        docstring = ast.get_docstring(node)
        if docstring and any(".command(" in ast.unparse(each) for each in node.decorator_list):
            self._add(node.body[0].value, docstring)  # type: ignore[attr-defined]
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            if not isinstance(key, ast.Constant):
                self.generic_visit(key or ast.Pass())
            self.visit(value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        if not isinstance(node.slice, ast.Constant):
            self.visit(node.slice)

    def visit_Call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Attribute(value=ast.Name(id="re")):  # a pattern
                pass
            case ast.Attribute(value=ast.Constant(), attr="split"):  # a list of words
                pass
            case _:
                self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._add(node, node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._add(node, _pattern(node))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)


def _pattern(node: ast.JoinedStr) -> str:
    parts = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            parts.append(f"{{{_name(part.value)}}}")
        else:
            parts.append(ast.literal_eval(part))
    return "".join(parts)


def _name(value: ast.expr) -> str:
    """What a placeholder is called: the last name that says what it is."""
    match value:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_")
        case ast.Call(func=func, args=args):
            return _name(args[-1] if ast.unparse(func) in _PLAIN and args else func)
        case ast.Subscript(value=inner) | ast.UnaryOp(operand=inner):
            return _name(inner)
        case ast.IfExp(body=inner):
            return _name(inner)
        case ast.BoolOp(values=[inner, *_]) | ast.BinOp(left=inner):
            return _name(inner)
        case _:
            return "..."


_PLAIN: Final = {"len", "str", "sum", "max", "min", "abs", "repr", "sorted", "round", "int"}


def sentences_document() -> str:
    """docs/sentences.md: all sentences of the package, a module after the other."""
    lines = [
        "# Sentences",
        "",
        "All texts of at least three words that bias-audit can print, module by module, with the",
        "names of what it fills in. For reviewing the wording; `python -m tests.words` writes it.",
    ]
    for path in sources():
        found = dict.fromkeys(
            " ".join(text.text.split())
            for text in sentences(path)
            if len(_WORD.findall(_PLACEHOLDER.sub("", text.text))) >= FEWEST_WORDS
        )
        if found:
            lines += ["", f"## {path.relative_to(ROOT).as_posix()}", ""]
            lines += [f"- {_escaped(each)}" for each in found]
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return re.sub(r"([<>*_\[\]])", r"\\\1", text)
