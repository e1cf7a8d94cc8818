from __future__ import annotations

from pathlib import Path

import pytest

from bias_audit.config.load import load_config
from bias_audit.errors import ConfigError

VALID = """\
name: demo
data: {kind: parametric}
backbones:
  - kind: bundled
analyses:
  - kind: linear_probe
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "audit.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text), overrides)
    return caught.value.problems


def test_valid_config_loads_with_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, VALID))
    assert config.folder == Path("runs/demo")
    assert config.analyses[0].kind == "linear_probe"


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
    told = problems(tmp_path, text)
    assert len(told) == 5
    found = "\n".join(told)
    assert "line 2: sede: unknown key 'sede'; did you mean 'seed'?" in found
    assert "line 3: data.kind: unknown data source 'fairfaces'; did you mean 'fairface'?" in found
    assert "line 6: backbones.0.layer: unknown key 'layer'; did you mean 'layers'?" in found
    assert "line 8: activations.batch_size" in found
    assert "got 'many'" in found
    assert "line 11: analyses.0.folds" in found
    assert "got 1" in found


def test_missing_sections_are_named(tmp_path: Path) -> None:
    told = problems(tmp_path, "name: demo\n")
    assert {line.split(": ")[1] for line in told} == {"data", "backbones", "analyses"}
    assert all("missing" in line for line in told)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n- b\n", "expected a mapping"),
        ("", "expected a mapping"),
        ("name: [unclosed\n", "not valid YAML"),
        (VALID + "name: twice\n", "line 7: name: the same key stands twice"),
        (VALID + "seed: !!python/object/apply:os.system ['true']\n", "seed"),
    ],
)
def test_what_is_no_config_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in "\n".join(problems(tmp_path, text))


def test_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(tmp_path / "absent.yaml")


def test_overrides_win_and_are_validated(tmp_path: Path) -> None:
    path = write(tmp_path, VALID)
    config = load_config(path, ["seed=7", "backbones.0.layers=blocks", "output.folder=/tmp/x"])
    assert config.seed == 7
    assert config.backbones[0].params["layers"] == "blocks"
    assert config.folder == Path("/tmp/x")
    assert "--set seed" in problems(tmp_path, VALID, "seed=many")[0]
    assert "expected dotted.key=value" in problems(tmp_path, VALID, "seed")[0]
    assert "no place of that name" in problems(tmp_path, VALID, "backbones.5.kind=x")[0]


def test_nested_unknown_key_names_the_keys_of_its_own_section(tmp_path: Path) -> None:
    told = problems(tmp_path, VALID + "output:\n  foldr: x\n")
    assert told == (
        "line 8: output.foldr: unknown key 'foldr'; did you mean 'folder'? "
        "(known: folder, cache, formats, fonts)",
    )


@pytest.mark.parametrize(
    "text",
    [
        VALID + "x: " + "[" * 3000 + "]" * 3000 + "\n",
        VALID + "x: " + "{a: " * 3000 + "1" + "}" * 3000 + "\n",
        "name: &a [*a]\n",
        "x: &q {y: *q}\n",
        "x: &q [*q, *q, *q]\n",
    ],
)
def test_endless_nesting_is_refused(tmp_path: Path, text: str) -> None:
    (told,) = problems(tmp_path, text)
    assert told.startswith("line ")
    assert "nested more than 50 deep" in told


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("name=" + "[" * 3000, "--set name: the value is nested more than 50 deep"),
        ("name=&a [*a]", "--set name: name: nested more than 50 deep"),
        ("a." * 3000 + "a=1", "nested more than 50 deep"),
        ("seed=2024-13-45", "--set seed: seed: expected a date that exists"),
        ("seed=[", "--set seed: the value is not valid YAML"),
        ("seed=!!python/name:os.system x", "--set seed: seed: could not determine"),
        ("²=1", "--set ²: ²: unknown key"),
        ("0=1", "--set 0: 0: unknown key"),
        ("9" * 5000 + "=1", "unknown key"),
        ("output.cache=~nouser/x", "expected ~ for your own folder"),
        ('output.cache="a\\0b"', "null character"),
        ("backbones.²=1", "no place of that name"),
        ("activations={workers: 0}", "--set activations: activations.workers"),
    ],
)
def test_overrides_that_make_no_sense_are_told(
    tmp_path: Path, override: str, expected: str
) -> None:
    assert expected in "\n".join(problems(tmp_path, VALID, override))


def test_merge_keys_are_not_supported(tmp_path: Path) -> None:
    text = VALID.replace("- kind: linear_probe", "- &x {kind: linear_probe}\n  - <<: *x")
    told = problems(tmp_path, text)
    assert told == ("line 7: merge keys (<<) are not supported; write the keys out",)
    assert "unknown key '<<'" in problems(tmp_path, VALID + '"<<": 1\n')[0]


def test_keys_are_text(tmp_path: Path) -> None:
    told = problems(tmp_path, VALID + "? &a [*a]\n: 1\n")
    assert told == ("line 7: expected text as a key, got a list or mapping",)


def test_small_groups_and_multiplicity_have_defaults_and_limits(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, VALID), ["multiplicity.draws=2519"])
    assert config.multiplicity.draws == 2519
    assert (config.multiplicity.discovery, config.multiplicity.verdicts) == (
        "benjamini_hochberg",
        "max_t",
    )
    assert config.small_groups.minimum > config.small_groups.suppress_below
    told = problems(tmp_path, VALID + "small_groups: {minimum: 3}\n")
    assert "line 7: small_groups: expected suppress_below to be at most minimum (3)" in told[0]
    told = problems(tmp_path, VALID, "multiplicity.verdicts=benjamini_hochberg")
    assert "multiplicity.verdicts" in told[0]
