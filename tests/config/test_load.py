"""A config is loaded whole, or everything that is wrong with it is said at its line."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from bias_audit.audit.provenance import config_sha256
from bias_audit.config.load import load_config
from bias_audit.errors import ConfigError
from tests.config.wordings import INTERNALS, VALID, problems, written

ROOT = Path(__file__).resolve().parents[2]
NO_COLON = "expected a colon and a space after the key"
OPEN_QUOTE = "a quotation mark is not closed"
DECLARED = """\
criteria:
  - {name: is hidden, quantity: macro_auc, target: gender, at_most: 0.6, rationale: why}
declarations:
  document_version: 1.2
  next_review: 2027-06-01
  responsible_person: A. Person, auditor
  regulations:
    - {name: EU AI Act, version: Regulation (EU) 2024/1689, date: 2024-07-12}
    - {name: IEEE 7003, date: "2024-12-01"}
  scenarios:
    - {group: women over 60, threshold: 0.6, criteria: [is hidden]}
    - {}
"""


def test_a_valid_config_has_defaults_and_overrides_win(tmp_path: Path) -> None:
    path = written(tmp_path, VALID)
    config = load_config(path)
    assert config.folder == Path("runs/demo")
    assert config.analyses[0].kind == "linear_probe"
    assert config.multiplicity.discovery == "benjamini_hochberg"
    assert config.multiplicity.verdicts == "max_t"
    assert config.small_groups.minimum > config.small_groups.suppress_below
    overrides = ["seed=7", "backbones.0.layers=blocks", "output.folder=r #1"]
    config = load_config(path, [*overrides, "multiplicity.draws=2519"])
    assert (config.seed, config.multiplicity.draws) == (7, 2519)
    assert config.backbones[0].params["layers"] == "blocks"
    assert config.folder == Path("r #1")  # in no file is it a comment


def test_the_packages_own_folder_is_found_from_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = "shipped:backbones/rendered_ages"
    config = load_config(written(tmp_path, VALID), [f"output.folder={place}"])
    assert (config.folder / "epoch-80.safetensors").is_file()


def test_json_is_yaml(tmp_path: Path) -> None:
    lists = '"backbones": [{"kind": "bundled"}], "analyses": [{"kind": "linear_probe"}]'
    text = f'{{"name": "a", "data": {{"kind": "parametric"}}, {lists}}}'
    assert load_config(written(tmp_path, text)).name == "a"


def test_a_file_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no such file$"):
        load_config(tmp_path / "absent.yaml")
    written(tmp_path, VALID)
    with pytest.raises(ConfigError, match=r"did you mean 'config\.yaml'\?"):
        load_config(tmp_path / "conf1g.yaml")


def test_every_problem_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
name: demo
sede: 3
data: {kind: fairfaces}
backbones:
  - kind: bundled
    layer: stages
activations:
  batch_size: many
analyses:
  - kind: linear_probe
    folds: 1
"""
    expected = (
        "line 2: sede: unknown key 'sede'; did you mean 'seed'? (known",
        "line 3: data.kind: unknown data source 'fairfaces'; did you mean 'fairface'?",
        "line 6: backbones.0.layer: unknown key 'layer'; did you mean 'layers'?",
        "line 8: activations.batch_size: expected a whole number, got 'many'",
        "line 11: analyses.0.folds: expected a number of at least 3, got 1",
    )
    for found, words in zip(problems(tmp_path, text), expected, strict=True):
        assert found.startswith(words)
    assert problems(tmp_path, VALID + "output:\n  foldr: x\n") == [
        "line 8: output.foldr: unknown key 'foldr'; did you mean 'folder'? "
        "(known: folder, cache, formats, fonts)"
    ]
    missing = problems(tmp_path, "name: demo\n")
    assert {line.split(": ", 1)[1] for line in missing} == {
        f"{key}: missing; this key is required" for key in ("data", "backbones", "analyses")
    }


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ('name: x\nfile: "C:\\Users\\me\\l.csv"\n', 2, "single quotes, or / in paths"),
        ("layers: [*.bn]\n", 1, "text that begins with * needs quotes"),
        ("layers: *\n", 1, "text that begins with * needs quotes"),
        ("layers: *bn\n", 1, "text that begins with * needs quotes"),
        ("description: &\n", 1, "text that begins with & needs quotes"),
        ("description: |x\n", 1, "text begins beside |"),
        ("a: !<x\n", 1, "text that begins with ! needs quotes"),
        ("a: !x!y z\n", 1, "text that begins with ! needs quotes"),
        ("seed: 1\nname: 't\ndata: x\nseed: 3\n", 2, OPEN_QUOTE),
        ("name: 't\ndata:\n  kind: 'x'\n", 1, OPEN_QUOTE),
        ('data:\n  - a: "t\n    b: "x"\n', 2, OPEN_QUOTE),
        ("a: 'x' y\n", 1, "text after a closing quotation mark"),
        ("name t\ndata:\n  kind: x\n", 1, NO_COLON),
        ("name:t\ndata:\n  kind: x\n", 1, NO_COLON),
        ("name: t\nseed 3\ndata:\n  kind: x\n", 2, NO_COLON),
        ("data:\n  kind manifest\n  file: x\n", 2, NO_COLON),
        ("b:\n  - kind bundled\n    layers: x\n", 2, NO_COLON),
        ("description: a\n  b c\n  d: e\n", 3, "a second colon in one line"),
        ("description: a: b\n", 1, "a second colon in one line"),
        ("a:\n    b: c\n  d: e\n", 3, "the indentation of this line"),
        ("name: x\nseed: \x07\n", 2, "expected text without control characters"),
    ],
)
def test_text_that_is_no_yaml_in_words_at_its_line(
    tmp_path: Path, text: str, line: int, expected: str
) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith(f"line {line}: not valid YAML: ")
    assert expected in found
    assert not INTERNALS.search(found)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "expected a mapping of keys such as 'name:' and 'data:', got an empty file"),
        (b"# nothing\n", "got comments only"),
        (b"- a\n", "got a list"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "expected a YAML config, got a PNG image"),
        ("name: x\n".encode("utf-16-le"), "line 1: expected UTF-8 text, got UTF-16"),
        ("name: x\n".encode("utf-16"), "line 1: expected UTF-8 text"),
        (b"name: b\xe4r\n", "line 1: expected UTF-8 text"),
        (b"datasets: []\nsede: 3\n", "this is the config of a zoo: use `bias-audit zoo run`"),
        (b"name: x\nseed: 1\nname: y\n", "line 3: name: the key is there twice, first in line"),
        (b'name: "a\\0b"\nsede: 1\n', "line 1: name: expected text without control characters"),
        (b'name: x\n"\\ud800": 3\n', "line 2: expected text without control characters"),
        (b"name: x\nseed: !!bool x\n", "line 2: seed: expected true or false, got 'x'"),
        (b"seed: 0x" + b"f" * 5000, "line 1: seed: expected a whole number of at most 18"),
        (b"seed: !!python/object/apply:os.system ['true']\n", "line 1: seed: expected a whole"),
        (b"name: x\n? &a [*a]\n: 1\n", "line 2: expected text as a key, got a list or mapping"),
        (b"a: &x {b: 1}\nc:\n  <<: *x\n", "line 3: merge keys (<<) are not supported; write"),
        (b'"<<": 1\n', "line 1: <<: unknown key '<<'"),
        (b"x: " + b"[" * 3000 + b"]" * 3000 + b"\n", "nested more than 50 deep"),
        (b"x: " + b"{a: " * 3000 + b"1" + b"}" * 3000 + b"\n", "nested more than 50 deep"),
        (b"name: &a [*a]\n", "line 1: name: nested more than 50 deep"),
        (b"x: &q {y: *q}\n", "line 1: x: nested more than 50 deep"),
        (b"x: &q [*q, *q, *q]\n", "line 1: x: nested more than 50 deep"),
    ],
)
def test_files_and_values_that_cannot_be_used(tmp_path: Path, raw: bytes, expected: str) -> None:
    assert expected in "\n".join(problems(tmp_path, raw))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "--set seed: expected dotted.key=value"),
        ("seed=many", "--set seed: seed: expected a whole number"),
        ("backbones.5.kind=x", "no place of that name"),
        ("backbones.²=1", "no place of that name"),
        ("backbones.layers=blocks", "counted from 0: backbones.0.layers"),
        ("name=" + "[" * 3000, "--set name: the value is nested more than 50 deep"),
        ("name=&a [*a]", "--set name: name: nested more than 50 deep"),
        ("a." * 3000 + "a=1", "nested more than 50 deep"),
        ("seed=2024-13-45", "--set seed: seed: expected a date that exists"),
        ("output.formats=[pdf", "--set output.formats: the value is not valid YAML"),
        ("seed=!!python/name:os.system x", "--set seed: seed: could not determine"),
        ("seed=9999999999999999999", "--set seed: seed: expected a whole number of at most 18"),
        ("name=<<", "--set name: name: expected a name of at most 64"),
        ("²=1", "--set ²: ²: unknown key"),
        ("0=1", "--set 0: 0: unknown key"),
        ("9" * 5000 + "=1", "unknown key"),
        ("output.cache=~nouser/x", "expected ~ for your own folder"),
        ('output.cache="a\\0b"', "null character"),
        ("activations={workers: 0}", "--set activations: activations.workers"),
        ("multiplicity.verdicts=benjamini_hochberg", "multiplicity.verdicts: expected 'holm' or"),
    ],
)
def test_an_override_that_makes_no_sense_has_one_problem(
    tmp_path: Path, override: str, expected: str
) -> None:
    (found,) = problems(tmp_path, VALID, override)
    assert expected in found


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("data: {kind", "\u200bdata: {kind", "line 2: got the character zero width space"),
        ("  - kind: b", "\u00a0\u00a0- kind: b", "line 4: got the character no-break space"),
        ("kind: b", "kind:\u00a0b", "line 4: got the character no-break space (U+00A0); type a"),
        ("bundled", "bundled\u00a0", "line 4: got the character no-break space"),
        ("name: demo", "name: \u201cdemo\u201d", "line 1: got the character left double quot"),
        ("  - kind: b", "  \u2013 kind: b", "line 4: got the character en dash (U+2013); type a"),
        ("name: demo", "name\uff1a demo", "line 1: got the character fullwidth colon"),
    ],
)
def test_characters_that_look_like_others_are_named(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    first, second = problems(tmp_path, VALID.replace(old, new) + "sede: 3\n")
    assert first.startswith(expected)
    assert second.startswith("line 7: sede: unknown key")
    assert problems(tmp_path, VALID.replace(old, new)) == [first]


def test_text_of_other_languages_is_no_mistake(tmp_path: Path) -> None:
    text = VALID + "description: |\n  « Voilà\u00a0: un texte »\n"
    assert "\u00a0" in load_config(written(tmp_path, text)).description
    (found,) = problems(tmp_path, text + "sede: 3\n")
    assert "sede" in found


def test_declarations_are_kept_as_said_and_leave_the_fingerprint_alone(tmp_path: Path) -> None:
    criteria, declarations = DECLARED.split("declarations:")
    before = load_config(written(tmp_path, VALID + criteria))
    assert before.declarations is None
    empty = load_config(written(tmp_path, VALID + "declarations: {}\n")).declarations
    assert empty is not None and empty.model_dump(exclude_defaults=True) == {}
    assert empty.status == "draft"
    path = written(tmp_path, f"{VALID}{criteria}declarations:{declarations}")
    config = load_config(path)
    assert config_sha256(config) == config_sha256(before)
    assert config_sha256(load_config(path, ["seed=3"])) != config_sha256(before)
    declared = config.declarations
    assert declared is not None and declared.purpose is None
    assert declared.responsible_person == "A. Person, auditor"
    assert (declared.document_version, declared.next_review) == ("1.2", "2027-06-01")
    assert [entry.date for entry in declared.regulations] == [date(2024, 7, 12), date(2024, 12, 1)]
    assert declared.scenarios[0].criteria == ("is hidden",)
    assert declared.scenarios[0].threshold == "0.6"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("purposes: x", "declarations.purposes: unknown key .* did you mean 'purpose'"),
        ("purpose: ' '", "declarations.purpose: .* at least 1 character"),
        ("status: approved", "declarations.status: .*'draft' or 'final'"),
        ("scenarios: [{metrics: x}]", r"scenarios.0.metrics: .* did you mean 'metric'"),
        ("scenarios: [{criteria: [x]}]", "the config declares no criteria"),
        ("regulations: [{version: x}]", "regulations.0.name: missing"),
        ("regulations: [{name: x, date: 2024}]", "expected a date such as 2024-07-12"),
        ("regulations: [{name: x, date: last year}]", "regulations.0.date: .*'last year'"),
    ],
)
def test_declarations_that_cannot_be_meant(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = problems(tmp_path, f"{VALID}declarations:\n  {text}\n")
    assert re.search(rf"line 8: .*{expected}", found)


def test_the_shipped_example_holds_once_its_marks_are_taken_away(tmp_path: Path) -> None:
    text = (ROOT / "audit_configs" / "fairface_resnet50.yaml").read_text(encoding="utf-8")
    keys = r"# (criteria|declarations|  .*|    .*|      .*)$"
    text = re.sub(keys, lambda line: line.group()[2:], text, flags=re.MULTILINE)
    for section in ("criteria:", "declarations:"):
        text = text.replace(f"# {section}", section)
    config = load_config(written(tmp_path, text))
    declared = config.declarations
    assert config.criteria and declared is not None
    assert declared.scenarios[0].criteria
    assert all(getattr(declared, name) for name in type(declared).model_fields)


def test_the_backbones_own_class_is_a_target_of_attribution(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "name: own\ndata: {kind: parametric}\nbackbones: [{kind: bundled}]\n"
        "analyses: [{kind: attribution, targets: [own_class, age]}]\n",
        encoding="utf-8",
    )
    assert load_config(path).analyses[0].params["targets"][0] == "own_class"
