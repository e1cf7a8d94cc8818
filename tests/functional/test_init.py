"""A config of one's own begins as a copy of a shipped one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bias_audit.config.catalog import shipped_configs
from bias_audit.config.load import load_config, load_zoo
from tests.functional.conftest import bias_audit


@pytest.mark.parametrize("name", shipped_configs())
def test_a_copy_differs_in_its_name_alone_and_marks_the_users_paths(
    name: str, tmp_path: Path
) -> None:
    done = bias_audit("init", name, "mine.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    copy, shipped = tmp_path / "mine.yaml", shipped_configs()[name]
    load = load_zoo if name.startswith("zoo") else load_config
    assert load(copy).model_dump() == load(shipped).model_dump() | {"name": "mine"}
    lines = copy.read_text().splitlines()
    marked = [line for line, text in enumerate(lines, 1) if text.endswith("# your own path")]
    assert marked == [int(line) for line in re.findall(r"Edit line (\d+)", done.stdout)]
    assert bool(marked) == ("quickstart" not in name)


def test_nothing_is_written_over_and_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("mine")
    taken = bias_audit("init", "quickstart", cwd=tmp_path)
    assert taken.returncode == 2 and "expected a name that is free" in taken.stderr
    assert (tmp_path / "quickstart.yaml").read_text() == "mine"
    unknown = bias_audit("init", "quikstart", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "did you mean 'quickstart'" in unknown.stderr
    assert (
        sum(name in unknown.stderr for name in shipped_configs()) <= 6
    )  # the first, and the nearest
    listed = bias_audit("init", cwd=tmp_path).stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(shipped_configs())


@pytest.mark.parametrize("verb", [("check",), ("layers",), ("data", "check", "--quick")])
def test_verbs_take_the_name_of_a_shipped_config(verb: tuple[str, ...], tmp_path: Path) -> None:
    done = bias_audit(*verb, "quickstart", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
