"""A printed report is held against the data inside it; every change to it is noticed."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import pytest
from pikepdf import Pdf
from typer.testing import CliRunner

import bias_audit
from bias_audit.cli import app
from bias_audit.groups import Attribute
from bias_audit.report.render import render
from bias_audit.report.verifying.report_reader import Chunk, UnreadableReportError
from bias_audit.report.verifying.verify import Passage, Verified, compare, verify_report
from tests.once import once
from tests.report import tampering
from tests.report.synthetic import criteria_of, make_audit
from tests.report.tampering import tampered

pytestmark = pytest.mark.slow  # PDFs are printed and read

STRANGE = (
    Attribute("עיר", ("ילד", "מבוגר 20-29")),
    Attribute("kind", ("<b>x</b> {{ 7*7 }}", "$x^2$ & =1+1", "n" * 200)),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Right-to-left labels, formulas, markup and 200 characters; printed."""

    def make(folder: Path) -> None:
        made = make_audit(STRANGE, layers=("a", "b"), per_cell=9, criteria=criteria_of("kind"))
        render(made.write(folder), formats=("pdf",))

    return once(tmp_path_factory, "printed", make)


@pytest.fixture(scope="module")
def report(run: Path) -> Path:
    return run / "report.pdf"


def failing(found: Verified) -> set[str]:
    return {check.name for check in found.checks if not check.holds}


def test_a_report_as_written_holds(report: Path, run: Path) -> None:
    found = verify_report(report, run=run)
    names = ["file", "digest", "run", "schema", "text", "figures", "pages"]
    assert [(check.name, check.holds) for check in found.checks] == [(n, True) for n in names]
    assert "passages with" in found.checks[4].text
    assert found.holds


def test_the_same_results_give_the_same_bytes(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "again")
    (path,) = render(tmp_path / "again", formats=("pdf",))
    assert path.read_bytes() == (run / "report.pdf").read_bytes()


@pytest.mark.parametrize("nth", [0, 40, 300, 700, -1])
def test_any_changed_digit_is_noticed(report: Path, tmp_path: Path, nth: int) -> None:
    change = _change_a_page_number if nth < 0 else tampering.change_a_digit(nth)
    found = verify_report(tampered(report, tmp_path / "changed.pdf", change))
    assert failing(found) & {"text", "pages", "digest"}
    details = [line for check in found.checks for line in check.details]
    assert any("expected" in line and "page" in line for line in details), details


def _change_a_page_number(pdf: Pdf) -> None:
    page = pdf.pages[1]
    codes = tampering.codes_of(next(iter(tampering.fonts(pdf).values())))
    content = page.Contents.read_bytes()
    at = content.rindex(b"<" + codes["2"].hex().encode() + b">")
    changed = content[:at] + b"<" + codes["3"].hex().encode() + b">" + content[at + 6 :]
    page.Contents.write(changed)


CHANGES: list[tuple[Callable[[Pdf], None], set[str]]] = [
    (tampering.add_a_sentence(), {"text"}),
    (tampering.add_a_sentence(b"/Artifact BMC", b"EMC"), {"pages"}),
    (tampering.add_a_sentence(b"/Span <</MCID 1>> BDC", b"EMC"), {"text"}),
    (tampering.add_a_sentence(b"/Span <</MCID 9999>> BDC", b"EMC"), {"text"}),
    (tampering.change_the_data, {"file", "digest", "text"}),
    (tampering.leave_a_page_out, {"text", "pages"}),
    (tampering.swap_two_pages, {"pages"}),
    (tampering.swap_two_glyphs, {"file"}),
    (tampering.lay_a_note_over, {"file"}),
    (tampering.run_a_script, {"file"}),
    (tampering.hide_a_file, {"file"}),
    (tampering.change_an_alt, {"figures"}),
    (tampering.draw_beside_the_figures, {"figures"}),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_a_change_is_noticed(
    report: Path, tmp_path: Path, change: Callable[[Pdf], None], expected: set[str]
) -> None:
    found = verify_report(tampered(report, tmp_path / "changed.pdf", change))
    assert expected <= failing(found), [(c.name, c.text, c.details) for c in found.checks]


def test_a_copy_that_changes_nothing_holds(report: Path, tmp_path: Path) -> None:
    """Another program wrote the file anew: its bytes differ, what it says does not."""
    copy = tampered(report, tmp_path / "copy.pdf", lambda _: None)
    assert copy.read_bytes() != report.read_bytes()
    assert verify_report(copy).holds


def test_another_run_is_told(report: Path, run: Path, tmp_path: Path) -> None:
    content = (run / "audit.json").read_text(encoding="utf-8")
    (tmp_path / "audit.json").write_text(content + "\n", encoding="utf-8")
    assert failing(verify_report(report, run=tmp_path)) == {"run"}
    assert failing(verify_report(report, run=tmp_path / "none")) == {"run"}


def test_another_release_is_named(
    report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tampered(report, tmp_path / "changed.pdf", tampering.change_a_digit(0))
    monkeypatch.setattr(bias_audit, "__version__", "99.0")
    told = " ".join(check.text for check in verify_report(changed).checks)
    assert "written by bias-audit" in told and "this is 99.0" in told


def test_exit_codes(report: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    agrees = runner.invoke(app, ["verify", str(report)])
    assert agrees.exit_code == 0, agrees.output
    assert "MATCHES" in agrees.output and "Not checked" in agrees.output
    changed = tampered(report, tmp_path / "changed.pdf", tampering.change_a_digit(300))
    differs = runner.invoke(app, ["verify", str(changed)])
    assert differs.exit_code == 1
    assert "DIFFERS" in differs.output and "expected" in differs.output
    (tmp_path / "text.pdf").write_text("no PDF")
    assert runner.invoke(app, ["verify", str(tmp_path / "text.pdf")]).exit_code == 2
    assert runner.invoke(app, ["verify", str(tmp_path / "none.pdf")]).exit_code == 2


def _lead_back_to_the_start(pdf: Pdf) -> None:
    document = pdf.Root.StructTreeRoot.K[0]
    document.K.append(document)


def _unpack_to_a_gigabyte(pdf: Pdf) -> None:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b" " * 2**20) for _ in range(1024)) + packer.flush()
    stream = pikepdf.Stream(pdf, packed)
    stream.Filter = pikepdf.Name.FlateDecode
    pdf.pages[2].Contents = pdf.make_indirect(stream)


@pytest.mark.parametrize(
    ("spoil", "saved"),
    [
        (lambda _: None, {"encryption": pikepdf.Encryption(owner="a", user="b")}),
        (lambda pdf: pdf.Root.__delattr__("AF"), {}),
        (_lead_back_to_the_start, {}),
        (_unpack_to_a_gigabyte, {"stream_decode_level": pikepdf.StreamDecodeLevel.none}),
    ],
)
def test_what_is_no_report_is_refused_with_a_reason(
    report: Path, tmp_path: Path, spoil: Callable[[Pdf], None], saved: dict[str, Any]
) -> None:
    spoilt = tampered(report, tmp_path / "spoilt.pdf", spoil, **saved)
    with pytest.raises(UnreadableReportError, match="expected"):
        verify_report(spoilt)


def test_no_damage_ends_in_a_defect(report: Path, tmp_path: Path) -> None:
    """Random bytes changed, and the end cut off: a message or a difference, never a crash."""
    rng = np.random.default_rng(0)
    content = report.read_bytes()
    for trial in range(12):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), size=40):
            damaged[place] = int(rng.integers(0, 256))
        if trial % 3 == 0:
            damaged = damaged[: int(rng.integers(100, len(content)))]
        path = tmp_path / "damaged.pdf"
        path.write_bytes(bytes(damaged))
        try:
            found = verify_report(path)
        except UnreadableReportError:
            continue
        assert found.checks


def said(*texts: str) -> list[Chunk]:
    return [Chunk(number, text) for number, text in enumerate(texts)]


def test_lines_and_pages_may_break_anywhere() -> None:
    passages = [Passage("One sentence with 0.83 [0.82, 0.85]."), Passage("Another\none.")]
    whole = compare(passages, said("One sentence with 0.83 [0.82, 0.85]. Another one."))
    assert (whole.n_numbers, whole.differences) == (3, ())
    for texts in (
        ("One sen", "tence with 0.", "83 [0.82, 0.85]. Another one."),
        ("One sentence with 0.83 [0.82, 0.85].", "Another", " one."),
    ):
        assert compare(passages, said(*texts)) == whole


def test_the_place_and_both_readings_are_told() -> None:
    passages = [Passage(f"Passage number {n} of many, which is long enough.") for n in range(50)]
    texts = [passage.text for passage in passages]
    texts[20] = texts[20].replace("20", "29")
    found = compare(passages, said(*texts)).differences
    assert [difference.page for difference in found] == [21]
    assert "20 of many" in found[0].expected and "29ofmany" in found[0].found
    (dropped,) = compare(passages, said(*texts[:10], *[p.text for p in passages[11:]])).differences
    assert "number 10 of" in dropped.expected and dropped.found == ""
    (added,) = compare(passages, said(*[p.text for p in passages], "More.")).differences
    assert (added.expected, added.found) == ("", "More.")


def test_a_difference_late_in_a_passage_is_told() -> None:
    """The passage begins as it must, so it is not searched for at its own place."""
    passages = [
        Passage(f"Passage {n}: {'so it goes on, ' * 9}and ends with 0.5{n}.") for n in range(9)
    ]
    texts = [passage.text for passage in passages]
    texts[4] = texts[4].replace("0.54", "0.59")
    (only,) = compare(passages, said(*texts)).differences
    assert only.page == 5 and "0.54" in only.expected and "0.59" in only.found
    texts[8] = texts[8].replace("0.58", "0.59")
    assert len(compare(passages, said(*texts)).differences) == 2


def test_right_to_left_text_is_compared_by_characters_and_numbers() -> None:
    passages = [Passage("ילד 0.83 [0.82, 0.85]"), Passage("end")]
    assert compare(passages, said("0.83 [0.82, 0.85] דלי", "end")).differences == ()
    assert len(compare(passages, said("0.38 [0.82, 0.85] דלי", "end")).differences) == 1
    assert len(compare(passages, said("0.83 [0.82, 0.85] דלא", "end")).differences) == 1
