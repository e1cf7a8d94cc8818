"""Text that is no YAML: the words, the line, and nothing of the parser's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bias_audit.config.load import load_config
from bias_audit.errors import ConfigError
from tests.config.test_load import VALID, problems
from tests.config.wordings import INTERNALS

NO_COLON = "expected a colon and a space after the key"
OPEN_QUOTE = "a quotation mark is not closed"


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ('name: x\nfile: "C:\\Users\\me\\l.csv"\n', 2, "single quotes, or / in paths"),
        ('name: x\nfile: "C:\\me\\l.csv"\n', 2, "single quotes, or / in paths"),
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
        ("name: t\ndata\n  kind: x\n", 2, NO_COLON),
        ("data:\n  kind manifest\n  file: x\n", 2, NO_COLON),
        ("b:\n  - kind bundled\n    layers: x\n", 2, NO_COLON),
        ("description: a\n  b c\n  d: e\n", 3, "a second colon in one line"),
        ("description: a: b\n", 1, "a second colon in one line"),
        ("a:\n    b: c\n  d: e\n", 3, "the indentation of this line"),
    ],
)
def test_mistakes_in_words_at_their_line(
    tmp_path: Path, text: str, line: int, expected: str
) -> None:
    (told,) = problems(tmp_path, text)
    assert told.startswith(f"line {line}: not valid YAML: ")
    assert expected in told
    assert not INTERNALS.search(told)


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
    (told,) = problems(tmp_path, VALID.replace(old, new))
    assert told.startswith(expected)
    both = problems(tmp_path, VALID.replace(old, new) + "sede: 3\n")
    assert both[0] == told
    assert both[1].startswith("line 7: sede: unknown key")


def test_text_of_other_languages_is_no_mistake(tmp_path: Path) -> None:
    text = VALID + "description: |\n  « Voilà\u00a0: un texte »\n"
    path = tmp_path / "audit.yaml"
    path.write_text(text)
    assert "\u00a0" in load_config(path).description
    (told,) = problems(tmp_path, text + "sede: 3\n")
    assert "sede" in told


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "got an empty file"),
        (b"# nothing\n", "got comments only"),
        (b"- a\n", "got a list"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "expected a YAML config, got a PNG image"),
        ("name: x\n".encode("utf-16-le"), "line 1: expected UTF-8 text, got UTF-16"),
        (b"name: x\nseed: 1\nname: y\n", "line 3: name: the same key stands twice, first in line"),
        (b"datasets: []\nsede: 3\n", "this is the config of a zoo: use `bias-audit zoo run`"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, raw: bytes, expected: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.problems[0].find(expected) >= 0


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("output.formats=[pdf", "--set output.formats: the value is not valid YAML"),
        ("name=<<", "--set name: name: expected a name of at most 64"),
        ("backbones.layers=blocks", "counted from 0: backbones.0.layers"),
        ("seed=9999999999999999999", "--set seed: seed: expected a whole number of at most 18"),
    ],
)
def test_an_override_has_one_problem(tmp_path: Path, override: str, expected: str) -> None:
    (told,) = problems(tmp_path, VALID, override)
    assert expected in told


def test_json_is_yaml(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(
        '{"name": "a", "data": {"kind": "parametric"}, "backbones": [{"kind": "bundled"}], '
        '"analyses": [{"kind": "linear_probe"}]}'
    )
    assert load_config(path).name == "a"


def test_the_value_of_an_override_holds_no_comment(tmp_path: Path) -> None:
    path = tmp_path / "audit.yaml"
    path.write_text(VALID)
    assert load_config(path, ["output.folder=r #1"]).folder == Path("r #1")


def test_a_file_of_a_similar_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(VALID)
    with pytest.raises(ConfigError, match=r"did you mean 'quickstart\.yaml'\?"):
        load_config(tmp_path / "quickstrt.yaml")
