from __future__ import annotations

from pathlib import Path

import pytest

from bias_audit.audit.checking import data_lines
from bias_audit.audit.run import with_unique_names
from bias_audit.config.schema import AuditConfig
from bias_audit.progress import Silent
from tests.report.synthetic import make_audit


def test_backbones_of_one_name_are_numbered() -> None:
    subjects = make_audit(backbones=("net", "other", "net")).result.subjects
    names = [subject.backbone.name for subject in with_unique_names(subjects)]
    assert names == ["net", "other", "net (2)"]


@pytest.mark.parametrize("folds", [(3,), (3, 8), (8, 3)])
def test_warnings_are_about_the_folds_that_were_asked_for(
    folds: tuple[int, ...], tmp_path: Path
) -> None:
    config = AuditConfig.model_validate(
        {
            "name": "x",
            "data": {"kind": "parametric"},
            "sampling": {"max_per_intersection": 7, "near_duplicates": False},
            "backbones": [{"kind": "bundled"}],
            "output": {"cache": str(tmp_path)},
            "analyses": [{"kind": "linear_probe", "folds": n} for n in folds],
        }
    )
    told = [line for line in data_lines(config, Silent()) if line.startswith("warning: ")]
    assert any("fewer images than 8 folds" in line for line in told) == (max(folds) == 8)
    assert not any("5 folds" in line for line in told)
