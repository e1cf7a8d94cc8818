"""The same pages on every machine; what no font draws is said."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pikepdf
import pytest
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure
from pypdf import PdfReader
from typer.testing import CliRunner

from bias_audit.cli import app
from bias_audit.config.font_files import read_font
from bias_audit.errors import AuditError
from bias_audit.groups import Attribute
from bias_audit.report.figures import lettering as figures
from bias_audit.report.figures.lettering import lettering
from bias_audit.report.figures.saving import data_uri
from bias_audit.report.figures.style import styled
from bias_audit.report.fonts import PrintFonts, named, undrawn_warning
from bias_audit.report.pdf import pdf
from bias_audit.report.render import render
from bias_audit.report.verifying.pages import GlyphCheck, PageReader, check_glyphs
from bias_audit.report.verifying.report_reader import undrawn_characters
from bias_audit.report.verifying.verify import verify_report
from tests.report.fonts import make_collection, make_font
from tests.report.synthetic import make_audit

pytestmark = pytest.mark.slow  # PDFs are printed and read

NOWHERE = "\U0010fff0\U0010fff1"
"""Characters for private use, so that no machine has a font for them."""
TEXT = "Backbone ●■◆▲ 0123456789 \u2212\u2013…≤≥\u00d7 Ökologie κόσμος"
STYLE = "b, p { font-family: var(--print-sans) } code { font-family: var(--print-mono) }"


def page(text: str) -> str:
    return (
        f'<html lang="en"><title>t</title><style>{STYLE}</style>'
        f"<p>{text} <b>{text}</b> <code>{text}</code></p>"
    )


def checks(printed: bytes) -> list[GlyphCheck]:
    resources: Any = PdfReader(io.BytesIO(printed)).pages[0]["/Resources"]
    found = [check_glyphs(entry.get_object()) for entry in resources["/Font"].values()]
    return [check for check in found if check is not None]


@pytest.mark.parametrize("installed", [(), ("STIXGeneral.ttf", "cmr10.ttf")])
def test_a_machine_with_other_fonts_prints_the_same_bytes(
    installed: tuple[str, ...], tmp_path: Path
) -> None:
    for name in installed:
        (tmp_path / name).symlink_to(Path(mpl.get_data_path()) / "fonts" / "ttf" / name)
    (tmp_path / "fonts.conf").write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<dir>{tmp_path}</dir><cachedir>{tmp_path / 'cache'}</cachedir></fontconfig>"
    )
    code = (
        "import hashlib, sys; from bias_audit.report.pdf import pdf;"
        "print(hashlib.sha256(pdf(sys.argv[1])).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, page(TEXT)],
        env={**os.environ, "FONTCONFIG_FILE": str(tmp_path / "fonts.conf")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert other.stdout.strip() == hashlib.sha256(pdf(page(TEXT))).hexdigest()
    assert other.stderr == ""


def test_the_bundled_fonts_draw_what_reports_use() -> None:
    assert [(check.wrong, check.lacking) for check in checks(pdf(page(TEXT)))] == [
        ((), frozenset())
    ] * 3


@pytest.mark.parametrize(
    "text",
    [
        "بيت بب لا",
        "ילד (א) [ב] «ג»",
        "e\u0301 i\u0307\u0301 \ufb01 fi office",
        "a\u200b\u200d\u00ad\u2060b",
    ],
    ids=["joined letters", "mirrored brackets", "accents and ligatures", "nothing to see"],
)
def test_shaped_text_is_not_taken_for_a_forgery(text: str) -> None:
    assert {(check.wrong, check.lacking) for check in checks(pdf(page(text)))} == {
        ((), frozenset())
    }


def test_characters_without_a_glyph_are_found_one_by_one(tmp_path: Path) -> None:
    text = f"a{NOWHERE} \x07 \ue0ff"
    assert undrawn_characters(pdf(page(text))) >= {*NOWHERE, "\x07"}
    half = PrintFonts((read_font(make_font(tmp_path / "half.ttf", NOWHERE[0])),))
    assert undrawn_characters(pdf(page(NOWHERE), fonts=half)) == {NOWHERE[1]}


def test_a_glyph_that_looks_like_a_missing_one_is_none(tmp_path: Path) -> None:
    path = make_font(tmp_path / "boxes.ttf", f"{NOWHERE}\U0010fff2", boxes=NOWHERE[0])
    fonts = PrintFonts((read_font(path),))
    printed = pdf(page(f"{NOWHERE}\U0010fff2"), fonts=fonts)
    with pikepdf.open(io.BytesIO(printed)) as document:  # as printed with the outline of the box
        for entry in document.objects:
            if isinstance(entry, pikepdf.Dictionary) and "/FontFile2" in entry:
                font = TTFont(io.BytesIO(entry["/FontFile2"].read_bytes()))
                if font.getBestCmap().keys() & {ord(NOWHERE[0])}:
                    font["glyf"][".notdef"] = font["glyf"][font.getBestCmap()[ord(NOWHERE[0])]]
                    changed = io.BytesIO()
                    font.save(changed)
                    entry["/FontFile2"].write(changed.getvalue())
        again = io.BytesIO()
        document.save(again)
    assert undrawn_characters(again.getvalue()) == {NOWHERE[0]}


def test_a_glyph_that_the_font_does_not_name_is_a_forgery() -> None:
    printed = pdf(page("38"))
    with pikepdf.open(io.BytesIO(printed)) as document:
        for entry in document.objects:
            if isinstance(entry, pikepdf.Dictionary) and "/FontFile2" in entry:
                font = TTFont(io.BytesIO(entry["/FontFile2"].read_bytes()))
                for table in font["cmap"].tables:
                    table.cmap.pop(ord("8"), None)
                changed = io.BytesIO()
                font.save(changed)
                entry["/FontFile2"].write(changed.getvalue())
        again = io.BytesIO()
        document.save(again)
    assert {check.wrong for check in checks(again.getvalue())} == {("'8'",)}


def test_a_glyph_that_is_read_as_nothing_is_a_forgery() -> None:
    printed = pdf(page("38"))
    with pikepdf.open(io.BytesIO(printed)) as document:
        for entry in document.objects:
            if isinstance(entry, pikepdf.Stream) and b"beginbfchar" in entry.read_bytes():
                entry.write(entry.read_bytes().replace(b"<0038>\n", b"<>\n"))
        again = io.BytesIO()
        document.save(again)
    assert {check.wrong for check in checks(again.getvalue())} == {("a glyph without text",)}


def test_letters_of_a_cluster_of_which_one_has_its_text_are_read(tmp_path: Path) -> None:
    """A Hindi vowel that stands before its consonant, and is written behind it."""
    word = "\u0915\u093f"
    font = read_font(make_font(tmp_path / "hindi.ttf", word))
    printed = pdf(page(word), fonts=PrintFonts((font,)))
    assert not any(check.wrong or check.undrawn for check in checks(printed))
    read = PageReader().read(PdfReader(io.BytesIO(printed)).pages[0])
    assert word in "".join(read.marked.values())


def test_collections_and_variable_fonts_become_one_face(tmp_path: Path) -> None:
    fonts = [make_font(tmp_path / f"{c}.ttf", c) for c in NOWHERE]
    first = read_font(make_collection(tmp_path / "both.ttc", *fonts))
    assert first.characters == {ord(NOWHERE[0])} and "first" in first.assumed
    varying = read_font(make_font(tmp_path / "varying.ttf", NOWHERE, weights=True))
    assert "variable" in varying.assumed
    assert "fvar" not in TTFont(io.BytesIO(varying.content))
    for font in (first, varying):
        lacking = undrawn_characters(pdf(page(NOWHERE), fonts=PrintFonts((font,))))
        assert lacking == {c for c in NOWHERE if ord(c) not in font.characters}
    assert read_font(fonts[0]).assumed == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "found nothing at"),
        (b"", "another kind of file"),
        (b"<!doctype html>", "web page"),
        (b"wOF2" + bytes(99), "web font (WOFF)"),
        (b"%!PS-AdobeFont-1.0", "PostScript Type 1"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x00\x01\x00\x00" + bytes(99), "damaged"),
        (b"ttcf" + bytes(range(99)), "damaged"),
    ],
)
def test_what_is_no_font_is_refused_by_what_it_is(
    content: bytes | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.ttf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="expected") as raised:
        read_font(path)
    assert words in str(raised.value) and str(path) in str(raised.value)


def test_a_cut_font_and_a_forbidden_one_are_refused(tmp_path: Path) -> None:
    whole = make_font(tmp_path / "whole.ttf", NOWHERE)
    cut = tmp_path / "cut.ttf"
    for length in (10, 60, 300, whole.stat().st_size - 20):
        cut.write_bytes(whole.read_bytes()[:length])
        with pytest.raises(ValueError, match="cut short or damaged"):
            read_font(cut)
    for licence in (0x2, 0x100, 0x208):
        with pytest.raises(ValueError, match="forbids"):
            read_font(make_font(tmp_path / "closed.ttf", NOWHERE, licence=licence))
    assert read_font(make_font(tmp_path / "preview.ttf", NOWHERE, licence=0x4)).characters


@styled
def _drawn(text: str) -> Figure:
    figure = Figure(figsize=(1, 1))
    figure.text(0.5, 0.5, text, weight="bold")
    return figure


def test_figures_use_further_fonts_then_those_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"a{NOWHERE}\u3000\u200b"
    installed: list[str] = []
    monkeypatch.setattr(figures, "findSystemFonts", lambda: installed)
    with lettering(text) as undrawn:
        box = data_uri(_drawn(text), form="svg")
    assert undrawn == set(NOWHERE)
    with lettering(text) as undrawn:
        data_uri(_drawn("a"), form="png")
    assert undrawn == set()
    further = read_font(make_font(tmp_path / "one.ttf", NOWHERE[0]))
    with lettering(text, [further]) as undrawn:
        half = data_uri(_drawn(text), form="svg")
    assert undrawn == {NOWHERE[1]} and half != box
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    other = make_font(tmp_path / "two.ttf", NOWHERE[1])
    installed += [str(tmp_path / "broken.ttf"), str(other)]
    with lettering(text, [further]) as undrawn:
        both = data_uri(_drawn(text), form="svg")
    assert undrawn == set() and both != half


@pytest.mark.parametrize(
    ("characters", "words"),
    [
        ("女", "Install fonts-noto-cjk "),
        ("여ㄅ、\uff01", "Install fonts-noto-cjk "),
        ("ሴქ", "(Ethiopic, Georgian). Install fonts-noto-core "),
        ("ሴ女", "apt-get install fonts-noto-cjk fonts-noto-core)"),
        ("\U0001f9e0\U0001f3fd", "(emoji). Install fonts-symbola "),
        ("\x07\ue000", "U+0007, U+E000 (control characters, private use). Name a font file"),
        ("\x07\ufdd0", "U+0007, U+FDD0 (control characters, unassigned). No font has them"),
        ("کابتث", "and 1 more"),
        ("\u202e\u0301", ": U+0301, U+202E "),
    ],
)
def test_a_warning_names_characters_scripts_and_packages(characters: str, words: str) -> None:
    found = set(characters) | ({"ک", "a"} if "more" in words else set())
    told = undrawn_warning(make_audit().result, found, Path("a run/report.pdf"))
    assert words in told.replace("\u202e", "")
    assert "look the same" not in told
    if "No font" not in told:
        assert told.endswith(" in output.fonts; then: bias-audit render 'a run'")


def test_names_are_safe_to_print() -> None:
    assert named("女") == "女 (U+5973)"
    assert [named(c) for c in "\x1b\u202e\u0301\U0010fff0"] == [
        "U+001B", "U+202E", "U+0301", "U+10FFF0",
    ]  # fmt: skip


def test_groups_that_look_the_same_in_print_are_named_and_verify_differs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = Attribute("kind", (f"a{NOWHERE[0]}", f"a{NOWHERE[1]}", "b"))
    made = make_audit((kinds, Attribute("age", ("x", "y"))), layers=("a", "b"), per_cell=9)
    folder = made.write(tmp_path / "run")
    render(folder, formats=("pdf",))
    (told,) = (m for name, _, m in caplog.record_tuples if name.startswith("bias_audit"))
    assert f"In print, groups of kind look the same: {', '.join(kinds.levels[:2])}. " in told
    assert "2 characters as empty boxes: U+10FFF0, U+10FFF1 " in told
    found = {check.name: check for check in verify_report(folder / "report.pdf").checks}
    assert not found["file"].holds
    assert [line.split()[0] for line in found["file"].details] == ["U+10FFF0", "U+10FFF1"]
    assert "page 3" in found["file"].details[0]

    caplog.clear()
    render(folder, formats=("pdf",), fonts=[make_font(tmp_path / "have.ttf", NOWHERE)])
    assert caplog.messages == []
    assert verify_report(folder / "report.pdf").holds
    with pytest.raises(AuditError, match="--font: expected a font file"):
        render(folder, formats=("pdf",), fonts=[tmp_path / "none.ttf"])


def test_a_font_of_the_config_that_is_gone_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_audit()
    config = {**made.result.config, "output": {"fonts": [str(tmp_path / "gone.ttf")]}}
    moved = replace(made, result=made.result.model_copy(update={"config": config}))
    with caplog.at_level(logging.WARNING):
        render(moved.write(tmp_path / "run"), formats=())
    assert "output.fonts: expected a font file, found nothing at" in caplog.text


def test_a_font_is_checked_with_the_config(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "name: t\ndata: {kind: parametric}\nbackbones: [{kind: bundled}]\n"
        f"analyses: [{{kind: linear_probe}}]\noutput: {{fonts: [{tmp_path / 'gone.ttf'}]}}\n"
    )
    result = CliRunner().invoke(app, ["check", str(config)])
    assert result.exit_code == 2
    assert "output.fonts.0: expected a font file, found nothing at" in result.output
