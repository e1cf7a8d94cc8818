"""What datasets.md promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bias_audit.config.catalog import DATA_SOURCES
from bias_audit.data.sources.parametric import SHIPPED
from bias_audit.files import sha256_of

TEXT = (Path(__file__).resolve().parents[2] / "datasets.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_are_valid(snippet: str) -> None:
    component = yaml.safe_load(snippet)["data"]
    DATA_SOURCES.load(component.pop("kind")).params_type.model_validate(component)


def test_every_source_has_a_snippet() -> None:
    kinds = {yaml.safe_load(snippet)["data"]["kind"] for snippet in SNIPPETS}
    assert kinds == set(DATA_SOURCES.kinds())


def test_the_checksum_is_that_of_the_shipped_labels() -> None:
    assert sha256_of(SHIPPED / "faces.csv") in TEXT
