"""The command without its script, and shipped configs by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bias_audit.config.load import load_config, load_zoo
from bias_audit.errors import ConfigError


@pytest.mark.parametrize("module", ["bias_audit", "bias_audit.cli"])
def test_the_package_is_a_program(module: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "check", "nothing.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nothing.yaml: 1 problem" in done.stderr


def test_shipped_configs_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart", "quickstart.yaml", "audit_configs/quickstart.yaml"):
        assert load_config(Path(name)).name == "quickstart"
    assert load_zoo(Path("zoo_quickstart")).name == "zoo_quickstart"
    with pytest.raises(ConfigError, match="did you mean 'quickstart'"):
        load_config(Path("quikstart"))
    for name in ("mine.yaml", "sub/quickstart.yaml", "../quickstart"):
        with pytest.raises(ConfigError, match="there is no such file"):
            load_config(Path(name))


def test_a_file_of_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart").write_text(
        "{name: mine, data: {kind: parametric}, backbones: [{kind: bundled}], "
        "analyses: [{kind: linear_probe}]}"
    )
    assert load_config(Path("quickstart")).name == "mine"
