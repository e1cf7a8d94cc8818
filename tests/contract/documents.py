"""Pages of the documentation that are made from the code.

`python -m tests.contract.documents` writes them; a test compares them.
"""

from __future__ import annotations

import ast
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import typer
from typer.cli import get_docs_for_click

from bias_audit import cli
from bias_audit.config.catalog import LAYOUTS
from bias_audit.config.load import json_schema, zoo_json_schema
from bias_audit.results.audit import AuditResult
from bias_audit.shapes.catalog import tables_document
from tests.words import sentences_document

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
PACKAGE: Final = DOCS.parent / "bias_audit"
Schema = Mapping[str, Any]

_NAMES: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
}
_LIMITS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
}
_PLUGINS: Final = (
    (
        "data",
        "Data sources",
        "`data: {kind: ...}`; each is described under [datasets](../datasets.md).",
    ),
    ("backbones", "Backbones", "Entries of `backbones`."),
    ("analyses", "Analyses", "Entries of `analyses`."),
)
_ZOO_ONLY: Final = ("ZooDataset", "Policy", "Retention")


def config_document() -> str:
    """Every key of a config, from the models that check it."""
    audit, zoo = json_schema(), zoo_json_schema()
    lines = [
        "# Config",
        "",
        "Every key of a config, with its default and its meaning. Unknown keys are errors. An",
        "editor that knows JSON Schema completes and checks configs with the output of",
        "`bias-audit schema` (`bias-audit schema zoo` for a zoo).",
        "",
        "## Audit",
        "",
        *_table(audit, but={name for name, *_ in _PLUGINS}, defs=audit["$defs"]),
        "",
        "`data`, `backbones` and `analyses` are required: one data source, and one entry or more",
        "of each of the others.",
    ]
    for name, title, about in _PLUGINS:
        lines += ["", f"## {title}", "", about]
        section = audit["properties"][name]
        for choice in section.get("oneOf") or section["items"]["oneOf"]:
            lines += ["", f"### `{choice['properties']['kind']['const']}`", ""]
            lines += [_titled(choice), "", *_table(choice, but={"kind"}, defs=audit["$defs"])]
    lines += ["", "## Layouts", "", "Values of `layout` of the analyses that draw maps."]
    for kind in LAYOUTS.kinds():
        params = LAYOUTS.load(kind).params_type.model_json_schema()
        lines += ["", f"### `{kind}`", "", *_table(params)]
    lines += ["", "## Sections"]
    for name, section in sorted(audit["$defs"].items()):
        lines += ["", f"### {name}", "", *_table(section, defs=audit["$defs"])]
    own = {"datasets", "policy", "executor", "output"}
    lines += ["", "## Zoo", "", "The other keys are those of an audit.", ""]
    lines += _table(zoo, but=zoo["properties"].keys() - own, defs=zoo["$defs"])
    lines += ["", "Backbones of a zoo have these keys besides those of their source:", ""]
    entry = zoo["properties"]["backbones"]["items"]["oneOf"][0]["properties"]
    lines += _table({"properties": {key: entry[key] for key in ("match", "leave_out", "label")}})
    for name in (*_ZOO_ONLY, "ZooOutput"):
        lines += ["", f"### {name}", "", *_table(zoo["$defs"][name], defs=zoo["$defs"])]
    for choice in zoo["properties"]["executor"]["oneOf"]:
        lines += ["", f"### Executor `{choice['properties']['kind']['const']}`", ""]
        lines += [_titled(choice), "", *_table(choice, but={"kind"}, defs=audit["$defs"])]
    return "\n".join(lines) + "\n"


def results_document() -> str:
    """Every field of `audit.json`, from the models that write it."""
    schema = AuditResult.model_json_schema()
    lines = [
        "# Results",
        "",
        f"`audit.json` contains everything that the report prints, in schema version"
        f" {schema['properties']['schema_version']['const']}.",
        "`bias-audit schema results` prints its JSON Schema. Large arrays are beside it in",
        "`arrays/`; a block names them by key. A value that was not measured is `null`.",
        "The same numbers as tables: [tables](../tables.md).",
        "",
        "## AuditResult",
        "",
        *_table(_with_meanings("AuditResult", schema)),
    ]
    for name, section in sorted(schema["$defs"].items()):
        lines += ["", f"## {name}", "", f"{_first_sentence(section)}", ""]
        lines += _table(_with_meanings(name, section))
    return "\n".join(lines) + "\n"


@functools.cache
def _meanings() -> Mapping[str, Mapping[str, str]]:
    """What stands under each field of a class of results, by class."""
    files = itertools.chain(
        *((PACKAGE / name).glob("*.py") for name in ("results", "shapes", "statistics"))
    )
    found: dict[str, dict[str, str]] = {}
    for file in files:
        for each in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(each, ast.ClassDef):
                continue
            for field, text in itertools.pairwise(each.body):
                match field, text:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(meaning))),
                    ):
                        found.setdefault(each.name, {})[name] = meaning.replace("None", "null")
    return found


def _with_meanings(name: str, schema: Schema) -> Schema:
    meanings = _meanings().get(name, {})
    fields = schema.get("properties", {})
    return {
        **schema,
        "properties": {
            key: {"description": meanings.get(key, ""), **field} for key, field in fields.items()
        },
    }


def _first_sentence(schema: Schema) -> str:
    return " ".join(schema.get("description", "").split("\n\n")[0].split())


def cli_document() -> str:
    """Every command and option, from the command line itself."""
    command = typer.main.get_command(cli.app)
    _with_whole_sentences(command)
    text: str = get_docs_for_click(obj=command, ctx=typer.Context(command), name="bias-audit")
    text = text.replace("&#x27;", "'").replace("&quot;", '"')
    return f"# Command line\n\n{text.strip()}\n".replace(
        "# `bias-audit`\n", "## `bias-audit`\n", 1
    )


def _with_whole_sentences(command: Any) -> None:
    """Lists of commands are not cut."""
    for each in getattr(command, "commands", {}).values():
        each.short_help = (each.help or "").split("\n")[0]
        _with_whole_sentences(each)


def _titled(schema: Schema) -> str:
    return f"{schema['title'][:1].upper()}{schema['title'][1:]}."


def _table(schema: Schema, *, but: Any = (), defs: Schema | None = None) -> list[str]:
    properties = {
        key: each for key, each in schema.get("properties", {}).items() if key not in but
    }
    if not properties:
        values = ", ".join(f"`{value}`" for value in schema.get("enum", ()))
        return [f"One of {values}." if values else "No key besides `kind`."]
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, each in properties.items():
        is_required = key in schema.get("required", ())
        default = "required" if is_required else _default(each)
        about = " ".join(each.get("description", "").split()) or _about(each, defs)
        row = (f"`{key}`", _type(each), default, about)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |")
    return lines


def _about(schema: Schema, defs: Schema | None) -> str:
    """What a section is about, where its key does not say."""
    name = (schema.get("$ref") or schema.get("items", {}).get("$ref", "")).rpartition("/")[2]
    return _first_sentence((defs or {}).get(name, {}))


def _default(schema: Schema) -> str:
    if "$ref" in schema or "default" not in schema or schema["default"] is None:
        return ""
    return f"`{json.dumps(schema['default'], ensure_ascii=False)}`"


def _type(schema: Schema) -> str:
    """What a value may be, in words."""
    match schema:
        case {"$ref": path}:
            name = path.rpartition("/")[2]
            words = f"[{name}](#{name.lower()})"
        case {"const": value}:
            words = f"`{value}`"
        case {"enum": values}:
            words = " or ".join(f"`{value}`" for value in values)
        case {"anyOf": choices} | {"oneOf": choices}:
            words = " or ".join(dict.fromkeys(_type(each) for each in choices))
        case {"type": "array"}:
            items: Schema = schema.get("items") or next(iter(schema.get("prefixItems", ())), {})
            words = f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": dict(inner)}:
            words = f"section of {_type(inner)}"
        case {"type": "object"}:
            words = "section"
        case _:
            words = _plain_type(schema)
    return words


def _plain_type(schema: Schema) -> str:
    types = schema.get("type", "any")
    names = [_NAMES.get(each, each) for each in ([types] if isinstance(types, str) else types)]
    limits = [text.format(f"{schema[key]:g}") for key, text in _LIMITS.items() if key in schema]
    return ", ".join([" or ".join(names), *limits])


GENERATED: Final[Mapping[str, Callable[[], str]]] = {
    "reference/cli.md": cli_document,
    "reference/config.md": config_document,
    "reference/results.md": results_document,
    "tables.md": tables_document,
    "sentences.md": sentences_document,
}
"""By path in the documentation."""


def _written() -> Iterator[Path]:
    for name, document in GENERATED.items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document(), encoding="utf-8")
        yield path


if __name__ == "__main__":
    for path in _written():
        typer.echo(path)
