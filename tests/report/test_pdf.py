from __future__ import annotations

import hashlib
import io
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader
from pypdf.generic import NullObject

from bias_audit.errors import OutputError
from bias_audit.report.audit_page import audit_page
from bias_audit.report.page import html
from bias_audit.report.pdf import Embedded, pdf
from bias_audit.report.render import render
from bias_audit.report.verifying.pages import PageReader, check_glyphs
from bias_audit.results.store import read_audit

pytestmark = pytest.mark.slow  # PDFs are printed and read

DATA = Embedded(b'{"made": "up"}\n' * 100, "2026-11-21T06:06:00+00:00")


@pytest.fixture(scope="module")
def document(hostile: Path) -> str:
    return html(audit_page(read_audit(hostile), hostile), medium="paper")


def _tags(node: Any) -> list[Any]:
    """All structure elements below a node."""
    node = node.get_object() if hasattr(node, "get_object") else node
    if isinstance(node, list):
        return [tag for child in node for tag in _tags(child)]
    if not hasattr(node, "get"):
        return []
    below = _tags(node["/K"]) if "/K" in node else []
    return [node, *below] if "/S" in node else below


@pytest.fixture(scope="module")
def printed(document: str) -> bytes:
    return pdf(document, embedded=DATA)


@pytest.fixture(scope="module")
def root(printed: bytes) -> Any:
    return PdfReader(io.BytesIO(printed)).trailer["/Root"]


def _kinds(root: Any) -> list[Any]:
    return _tags(root["/StructTreeRoot"]["/K"])


def test_a_pdf_claims_pdf_a_3a_with_what_that_needs(root: Any, printed: bytes) -> None:
    """ISO 19005-3: 6.6.4 (claim), 6.2.3 (output intent), 6.7.2 to 6.7.4 (tags, language)."""
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"
    assert b'pdfaid:part="3" pdfaid:conformance="A"' in root["/Metadata"].get_data()
    (intent,) = root["/OutputIntents"]
    assert intent["/S"] == "/GTS_PDFA1"
    assert intent["/DestOutputProfile"]["/N"] == 3
    assert not {"/OpenAction", "/AA", "/AcroForm", "/OCProperties"} & set(root)
    assert "/JavaScript" not in root["/Names"]
    reader = PdfReader(io.BytesIO(printed))
    assert not reader.is_encrypted
    assert "/ID" in reader.trailer
    assert str(reader.metadata["/Creator"]).startswith("bias-audit ") if reader.metadata else False


def test_the_data_are_an_associated_file(root: Any) -> None:
    """ISO 19005-3, Annex E: name, relationship, description, type, and listed for readers."""
    (file,) = (entry.get_object() for entry in root["/AF"])
    assert (file["/F"], file["/UF"], file["/AFRelationship"]) == ("audit.json",) * 2 + ("/Data",)
    assert "results" in file["/Desc"]
    stream = file["/EF"]["/F"].get_object()
    assert stream["/Subtype"] == "/application/json"
    assert stream.get_data() == DATA.content
    params = stream["/Params"]
    assert params["/Size"] == len(DATA.content)
    digest = hashlib.md5(DATA.content, usedforsecurity=False).digest()
    assert params["/CheckSum"].original_bytes == digest
    assert str(params["/ModDate"]).startswith("D:20261121060600")
    assert root["/Names"]["/EmbeddedFiles"]["/Names"][0] == "audit.json"


def test_all_content_is_tagged_or_an_artifact(printed: bytes, root: Any) -> None:
    """Nothing is drawn outside marks; every mark is one element's; running text is none's."""
    reader = PdfReader(io.BytesIO(printed))
    numbers = root["/StructTreeRoot"]["/ParentTree"]["/Nums"]
    parents = {int(numbers[i]): numbers[i + 1].get_object() for i in range(0, len(numbers), 2)}
    for number, page in enumerate(reader.pages):
        text = PageReader().read(page)
        assert text.loose == [], number
        elements = parents[int(str(page["/StructParents"]))]
        marks = {k for k, e in enumerate(elements) if not isinstance(e.get_object(), NullObject)}
        assert set(text.marked) <= marks
        assert bool(text.running) == (number > 0)
        for annotation in page.get("/Annots", []):
            note = annotation.get_object()
            assert note["/Subtype"] == "/Link" and note["/Contents"]


def test_figures_tables_and_headings_are_told(root: Any, document: str) -> None:
    elements = _kinds(root)
    figures = [tag for tag in elements if tag["/S"] == "/Figure"]
    assert len(figures) == document.count("<img ") > 3
    assert all(len(tag["/Alt"]) > 40 for tag in figures)
    headers = [tag for tag in elements if tag["/S"] == "/TH"]
    assert {tag["/A"]["/Scope"] for tag in headers} == {"/Column", "/Row"}
    levels = [int(tag["/S"][2:]) for tag in elements if tag["/S"] in {"/H1", "/H2", "/H3", "/H4"}]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_fonts_are_embedded_and_say_their_characters(printed: bytes) -> None:
    resources: Any = PdfReader(io.BytesIO(printed)).pages[0]["/Resources"]
    fonts = resources["/Font"]
    assert len(fonts) > 1
    for font in (entry.get_object() for entry in fonts.values()):
        descriptor = font["/DescendantFonts"][0].get_object()["/FontDescriptor"].get_object()
        assert {"/FontFile2", "/FontFile3"} & set(descriptor)
        check = check_glyphs(font)
        assert check and check.characters
        assert (check.wrong, check.undrawn) == ((), frozenset())


def test_bookmarks_and_contents_name_sections(printed: bytes) -> None:
    reader = PdfReader(io.BytesIO(printed))
    flat = str(reader.outline)
    for title in (
        "Contents",
        "This document",
        "Were the thresholds met?",
        "Data",
        "Method",
        "Provenance",
    ):
        assert title in flat
    contents = reader.pages[1].extract_text()
    assert "Data . ." in contents
    assert "Recall of" not in contents


def test_the_same_document_and_data_give_the_same_bytes(document: str, printed: bytes) -> None:
    assert pdf(document, embedded=DATA) == printed


@pytest.mark.slow
def test_an_audit_of_126_groups_is_printed(large: Path, caplog: pytest.LogCaptureFixture) -> None:
    view = audit_page(read_audit(large), large)
    reader = PdfReader(io.BytesIO(pdf(html(view, medium="paper"))))
    assert [r for r in caplog.records if r.name.startswith("weasyprint")] == []
    n_pages = len(reader.pages)
    assert 10 < n_pages <= 25
    assert f"Page 2 of {n_pages}" in reader.pages[1].extract_text()
    assert "Contents" in reader.pages[1].extract_text()
    assert "Page" not in reader.pages[0].extract_text(), "the cover has no running text"
    assert tuple(map(round, reader.pages[0].mediabox[2:])) == (595, 842)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x.png", "file:///etc/hostname"])
def test_nothing_but_embedded_data_is_fetched(address: str) -> None:
    page = f'<html lang="en"><title>t</title><h1>t</h1><img src="{address}" alt="x"></html>'
    with pytest.raises(ValueError, match="disallowed protocol"):
        pdf(page)


def test_an_image_without_a_text_is_an_error() -> None:
    dot = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    with pytest.raises(ValueError, match="alt"):
        pdf(f'<html lang="en"><title>t</title><img src="{dot}"></html>')


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
