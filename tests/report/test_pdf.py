from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from bias_audit.errors import OutputError
from bias_audit.report.html import html
from bias_audit.report.pdf import pdf
from bias_audit.report.render import render
from bias_audit.report.view import AuditView, audit_view
from bias_audit.results.store import read_audit


@pytest.fixture(scope="module")
def document(hostile: Path) -> str:
    return html(audit_view(read_audit(hostile), hostile), medium="paper")


def _tags(node: Any) -> list[Any]:
    """All structure elements below a node."""
    node = node.get_object() if hasattr(node, "get_object") else node
    if isinstance(node, list):
        return [tag for child in node for tag in _tags(child)]
    if not hasattr(node, "get"):
        return []
    below = _tags(node["/K"]) if "/K" in node else []
    return [node, *below] if "/S" in node else below


def test_a_pdf_is_tagged_archivable_and_has_bookmarks(
    document: str, caplog: pytest.LogCaptureFixture
) -> None:
    printed = pdf(document)
    assert [r for r in caplog.records if r.name.startswith("weasyprint")] == []
    reader = PdfReader(io.BytesIO(printed))
    root: Any = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"
    assert "/StructTreeRoot" in root
    assert b'pdfaid:part="3" pdfaid:conformance="A"' in root["/Metadata"].get_data()
    kinds = [tag["/S"] for tag in _tags(root["/StructTreeRoot"]["/K"])]
    assert {"/H1", "/H2", "/Table", "/TH", "/Caption", "/Figure"} <= set(kinds)
    figures = [tag for tag in _tags(root["/StructTreeRoot"]["/K"]) if tag["/S"] == "/Figure"]
    assert len(figures) == document.count("<img ")
    assert all(len(tag["/Alt"]) > 40 for tag in figures)
    flat = str(reader.outline)
    for title in ("Summary", "Data", "Method", "Provenance", "Topographic maps at b"):
        assert title in flat
    assert pdf(document) == printed, "the same document gives the same bytes"


@pytest.mark.slow
def test_an_audit_of_126_groups_is_printed(
    large_view: AuditView, caplog: pytest.LogCaptureFixture
) -> None:
    reader = PdfReader(io.BytesIO(pdf(html(large_view, medium="paper"))))
    assert [r for r in caplog.records if r.name.startswith("weasyprint")] == []
    n_pages = len(reader.pages)
    assert 10 < n_pages < 60
    assert f"Page 2 of {n_pages}" in reader.pages[1].extract_text()
    assert "Contents" in reader.pages[1].extract_text()
    assert "Page" not in reader.pages[0].extract_text(), "the cover has no running text"
    assert tuple(map(round, reader.pages[0].mediabox[2:])) == (595, 842)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x.png", "file:///etc/hostname"])
def test_nothing_but_embedded_data_is_fetched(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    page = f'<html lang="en"><title>t</title><h1>t</h1><img src="{address}" alt="x"></html>'
    assert pdf(page).startswith(b"%PDF")
    messages = [record.getMessage() for record in caplog.records]
    assert any("disallowed protocol" in message for message in messages), messages


def test_an_image_without_a_text_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    dot = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    pdf(f'<html lang="en"><title>t</title><img src="{dot}"></html>')
    assert any("alt" in record.getMessage() for record in caplog.records)


class _NoPango:
    """An import system on a machine without the text layout libraries."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "weasyprint":
            raise OSError("cannot load library 'libpango-1.0-0'")


def test_without_pango_the_html_is_written_and_the_packages_are_named(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "audit.json").write_bytes((hostile / "audit.json").read_bytes())
    (folder / "arrays").symlink_to(hostile / "arrays")
    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_NoPango(), *sys.meta_path])
    with pytest.raises(OutputError, match=r"libpango-1\.0-0 libpangoft2-1\.0-0"):
        render(folder)
    assert (folder / "report.html").stat().st_size > 10_000
    assert not (folder / "report.pdf").exists()
