"""What a notebook shows of a finished audit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import bias_audit
from bias_audit.errors import OutputError
from tests.report.page import LOADING, read


def test_a_notebook_shows_verdicts_and_answers(
    two_backbones: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    audit = bias_audit.open(two_backbones)
    page = read(audit._repr_html_())
    text = page.all("div")[0].text
    for words in ("FAIL AUC stays low (first_net)", "Of 100 pairs of faces", "all 2 backbones"):
        assert words in text
    assert "Topographic maps on second_net" in text
    assert str(audit).splitlines()[0].startswith(audit.result.name)
    assert not [tag for tag in page.tags if set(tag.attributes) & set(LOADING)]


def test_the_link_leads_to_the_report_from_where_the_notebook_runs(
    two_backbones: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(two_backbones, tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    assert "href" not in bias_audit.open(folder)._repr_html_()
    (folder / "report.html").touch()
    assert 'href="run/report.html"' in bias_audit.open(folder)._repr_html_()


def test_labels_stay_text(hostile: Path) -> None:
    page = read(bias_audit.open(hostile)._repr_html_())
    assert not page.all("script")
    assert not page.all("img")


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"audit\.json"):
        bias_audit.open(tmp_path)
