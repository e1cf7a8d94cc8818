"""What the README, the documents and the shipped configs promise is so."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bias_audit import cli, command, errors, zoo_cli
from bias_audit.audit.plan import make_plan
from bias_audit.config.catalog import ANALYSES, DATA_SOURCES, EXECUTORS, LAYOUTS
from bias_audit.config.load import json_schema, load_config, load_zoo, zoo_json_schema
from bias_audit.config.schema import AuditConfig
from bias_audit.config.zoo import ZooConfig
from bias_audit.shapes.catalog import tables_document
from tests.words import sentences_document

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCHEDULING = (ROOT / "docs" / "scheduling.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
SHIPPED = sorted((ROOT / "audit_configs").glob("*.yaml"))


@cache
def schema_of(*, is_zoo: bool) -> jsonschema.Draft202012Validator:
    schema = zoo_json_schema() if is_zoo else json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def loaded(path: Path) -> AuditConfig | ZooConfig:
    """A config that fits its JSON Schema, and that an audit can be planned for."""
    given = yaml.safe_load(path.read_text())
    schema_of(is_zoo="datasets" in given).validate(given)
    if "datasets" in given:
        return load_zoo(path)
    config = load_config(path)
    assert make_plan(config).analyses
    return config


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_are_valid_and_named(path: Path) -> None:
    assert loaded(path).name == path.stem
    assert f"`{path.stem}`" in README


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_are_valid(text: str, tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(text)
    assert loaded(tmp_path / "example.yaml").name


def test_the_values_called_defaults_are(tmp_path: Path) -> None:
    (text,) = (text for text in EXAMPLES if "name: with_settings" in text)
    given = yaml.safe_load(text)
    needed = {name: given[name] for name in ("name", "data", "backbones", "analyses")}
    assert given.keys() > needed.keys()
    for name, config in (("given", given), ("needed", needed)):
        (tmp_path / name).write_text(yaml.safe_dump(config))
    one, other = (load_config(tmp_path / name).model_dump() for name in ("given", "needed"))
    assert one == other


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("quickstart", {"backbones": [{"kind": "bundled", "layer": "stages"}]}),
        ("zoo", {"backbones": [{"kind": "checkpoint", "file": "x"}]}),  # neither one nor a pattern
    ],
)
def test_the_json_schema_refuses_what_the_loader_refuses(
    name: str, change: dict[str, Any], tmp_path: Path
) -> None:
    given = yaml.safe_load((ROOT / "audit_configs" / f"{name}.yaml").read_text()) | change
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(given))
    with pytest.raises(errors.ConfigError):
        (load_zoo if name == "zoo" else load_config)(tmp_path / "config.yaml")
    with pytest.raises(jsonschema.ValidationError):
        schema_of(is_zoo=name == "zoo").validate(given)


def test_shipped_configs_are_found_by_name_after_files_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart", "quickstart.yaml", "audit_configs/quickstart.yaml"):
        assert load_config(Path(name)).name == "quickstart"
    assert load_zoo(Path("zoo_quickstart")).name == "zoo_quickstart"
    with pytest.raises(errors.ConfigError, match="did you mean 'quickstart'"):
        load_config(Path("quikstart"))
    for name in ("mine.yaml", "sub/quickstart.yaml", "../quickstart"):
        with pytest.raises(errors.ConfigError, match="there is no such file"):
            load_config(Path(name))
    text = (ROOT / "audit_configs" / "quickstart.yaml").read_text()
    Path("quickstart").write_text(text.replace("name: quickstart", "name: mine"))
    assert load_config(Path("quickstart")).name == "mine"


def test_the_published_design_is_that_of_the_study() -> None:
    config = load_config(ROOT / "audit_configs" / "krug_stober_2025.yaml")
    assert len(config.backbones) == 3
    assert config.sampling.max_per_intersection == 128
    assert config.data.params["padding"] == "0.25"


def test_every_verb_and_every_kind_is_described() -> None:
    verbs = {verb.name for verb in cli.app.registered_commands}
    for group in cli.app.registered_groups:
        assert group.typer_instance
        verbs |= {f"{group.name} {verb.name}" for verb in group.typer_instance.registered_commands}
    assert set(re.findall(r"`bias-audit ([a-z]+(?: [a-z]+)?)", README)) == verbs
    assert set(re.findall(r"^\| `(\w+)` \| ", README, re.MULTILINE)) >= set(ANALYSES.kinds())
    described = set(re.findall(r"\w+", README))
    assert described >= {*LAYOUTS.kinds(), *DATA_SOURCES.kinds(), *EXECUTORS.kinds()}


def test_links_and_pictures_exist() -> None:
    for document in (ROOT / "README.md", ROOT / "datasets.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), target


def test_exit_codes_are_those_of_errors_and_commands() -> None:
    stages = (errors.ConfigError, errors.DataError, errors.BackboneError)
    assert {error.exit_code for error in stages} == {2}
    assert errors.OutputError.exit_code == command.EXIT_REFUSED
    constants = {value for name, value in vars(command).items() if name.startswith("EXIT_")}
    codes = {0, 2, *constants}
    (listed,) = re.findall(r"\*\*Exit codes:\*\* (.*?)\n\n", README, flags=re.DOTALL)
    assert set(map(int, re.findall(r"(?:^|;\s)(\d+)\s", listed))) == codes
    assert set(map(int, re.findall(r"^\| (\d+) \|", SCHEDULING, re.MULTILINE))) == codes
    for app in (cli.app, zoo_cli.zoo_app):
        assert set(map(int, re.findall(r"\b(\d+) ", app.info.epilog or ""))) == codes


def test_stored_files_are_never_unpickled() -> None:
    """Ruff refuses to import pickle; these are the ways round it."""
    for path in (ROOT / "bias_audit").rglob("*.py"):
        assert not re.search(r"allow_pickle=True|weights_only=False", path.read_text("utf-8")), (
            path
        )


def test_the_tables_are_documented_as_shapes_declare_them() -> None:
    written = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    assert written == tables_document(), "write docs/tables.md again from tables_document()"


def test_the_sentences_are_documented_as_the_code_has_them() -> None:
    written = (ROOT / "docs" / "sentences.md").read_text(encoding="utf-8")
    assert written == sentences_document(), "write it again: python -m tests.words"
