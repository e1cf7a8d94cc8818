"""Does a printed report say what its embedded data say, and nothing else?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import bias_audit
from bias_audit.errors import OutputError
from bias_audit.report.audit_page import audit_page
from bias_audit.report.page import html
from bias_audit.report.verifying.comparing import Comparison, Passage, compare, passages, plain
from bias_audit.report.verifying.report_reader import OpenedReport, open_report
from bias_audit.results.audit import AuditResult
from bias_audit.results.store import audit_bytes, parse_audit
from bias_audit.shapes.printed import counted

_SHOWN: Final = 12

NOT_SHOWN: Final = (
    "Not checked: who wrote or signed the file, and whether drawings match their numbers "
    "(compare them with figures/ of the run, or render the run again)."
)


@dataclass(frozen=True)
class Check:
    """One property of a report that was checked."""

    name: str
    holds: bool
    text: str
    """What was compared, and how many."""
    details: tuple[str, ...] = ()
    """Where it does not hold."""


def _check(name: str, wrong: Sequence[str], text: str, otherwise: str) -> Check:
    """Holds where nothing is wrong; the text is `otherwise` where something is."""
    rest = len(wrong) - _SHOWN
    details = (*wrong[:_SHOWN], *([f"and {rest} more"] if rest > 0 else []))
    return Check(name, holds=not wrong, text=otherwise if wrong else text, details=details)


@dataclass(frozen=True)
class Verified:
    """All checks of one report."""

    checks: tuple[Check, ...]
    result: AuditResult | None = field(repr=False)
    """What is embedded; None where it cannot be read."""

    @property
    def holds(self) -> bool:
        """Whether all checks hold."""
        return all(check.holds for check in self.checks)


def verify_report(path: Path, *, run: Path | None = None) -> Verified:
    """Compare a printed report with the data inside it.

    Raises:
        UnreadableReportError: It is no report of ours, or too damaged.
    """
    opened = open_report(path)
    digest = hashlib.sha256(opened.data).hexdigest()
    drawn = plain("".join(text for page in opened.pages for text in page.marked.values()))
    is_printed = digest in drawn
    printed = "the report prints" if is_printed else "no page prints"
    said = f"{printed} the SHA-256 of its embedded data, {digest}"
    checks = [_container(opened), Check("digest", holds=is_printed, text=said)]
    if run is not None:
        checks.append(_same_run(run, digest))
    try:
        result = parse_audit(opened.data, source=f"{path}: audit.json")
        expected = passages(html(audit_page(result, None, audit_sha256=digest), medium="paper"))
    except OutputError as error:
        return Verified((*checks, Check("schema", holds=False, text=str(error))), None)
    except (LookupError, ValueError, TypeError, ArithmeticError):
        text = "no report can be made from the embedded data, which were changed or damaged"
        return Verified((*checks, Check("schema", holds=False, text=text)), None)
    text = f"the embedded data can be read (schema version {result.schema_version})"
    checks.append(Check("schema", holds=True, text=text))
    other = ""
    if opened.release != bias_audit.__version__:
        other = (
            f" The PDF was written by bias-audit {opened.release or 'an unknown release'}, and "
            f"this is {bias_audit.__version__}, so sentences may differ although nothing was "
            "changed; verify it with the release that wrote it."
        )
    compared = compare(
        [passage for passage in expected if passage.kind != "alt"],
        [chunk for chunk in opened.chunks if not chunk.is_alt],
    )
    checks += [
        _text(compared, opened, other),
        _figures([passage for passage in expected if passage.kind == "alt"], opened, other),
        _pages(compared, opened),
    ]
    return Verified(tuple(checks), result)


def _container(opened: OpenedReport) -> Check:
    wrong = list(opened.foreign)
    if not opened.states_its_checksum:
        wrong.append("the embedded audit.json does not match the checksum in the PDF")
    if opened.relationship != "/Data":
        wrong.append(f"audit.json is attached as {opened.relationship}, expected /Data")
    text = (
        f"{counted(len(opened.pages), 'page')} with embedded data; the letters drawn are those of "
        f"the text ({counted(opened.n_fonts, 'font')}), nothing covers a page, and no script runs"
    )
    if wrong:
        otherwise = "the PDF contains something that bias-audit does not write"
    else:
        otherwise = (
            f"the fonts lack {counted(len(opened.boxes), 'character')}; render the report again "
            "with a font that has them (output.fonts)"
        )
    return _check("file", (*wrong, *opened.boxes), text, otherwise)


def _same_run(run: Path, digest: str) -> Check:
    path = run / "audit.json"
    try:
        found = hashlib.sha256(audit_bytes(run)).hexdigest()
    except OutputError as error:
        return Check("run", holds=False, text=str(error))
    if found == digest:
        return Check("run", holds=True, text=f"{path} is the same as the embedded data")
    text = f"{path} has SHA-256 {found}, the embedded data have {digest}"
    return Check("run", holds=False, text=text)


def _text(compared: Comparison, opened: OpenedReport, other: str) -> Check:
    wrong = []
    for each in compared.differences:
        where = f"page {each.page}" if each.page else "no page"
        expected, found = (
            f'"{said}"' if said else "nothing" for said in (each.expected, each.found)
        )
        wrong.append(f"{where}: expected {expected}, found {found}")
    stray: list[tuple[int, str]] = []
    for number, page in enumerate(opened.pages, start=1):
        wrong += [f"page {number}: {problem}" for problem in page.problems]
        stray.append((number, "".join(page.loose).strip()))
    stray += [(chunk.page + 1, chunk.text) for chunk in opened.unreached]
    wrong += [
        f'page {number}: text that is not in the embedded data: "{text[:200]}"'
        for number, text in stray
        if text
    ]
    what = (
        f"{counted(compared.n_passages, 'passage')} with {counted(compared.n_numbers, 'number')}"
    )
    agrees = f"{what}, all as in the embedded data"
    differs = f"{counted(len(wrong), 'difference')} from the embedded data in {what}.{other}"
    return _check("text", wrong, agrees, differs)


def _figures(expected: Sequence[Passage], opened: OpenedReport, other: str) -> Check:
    found = [chunk.text for chunk in opened.chunks if chunk.is_alt]
    wrong = [
        f"page {number + 1}: a drawing that is not part of any figure"
        for number, page in enumerate(opened.pages)
        if any((number, mark) not in opened.figures for mark in page.drawings)
    ]
    for number, passage in enumerate(expected):
        text, said = passage.text, found[number] if number < len(found) else ""
        if said != text:
            wrong.append(
                f'figure {number + 1}: expected the description "{text[:120]}", '
                f'found "{said[:120]}"'
            )
    if len(found) != len(expected):
        wrong.append(f"expected {len(expected)} figures, found {len(found)}")
    what = f"{counted(len(expected), 'figure')} with a description"
    agrees = f"{what}, all as in the embedded data"
    differs = f"{counted(len(wrong), 'difference')} from the embedded data in {what}.{other}"
    return _check("figures", wrong, agrees, differs)


def _pages(compared: Comparison, opened: OpenedReport) -> Check:
    total = len(opened.pages)
    wrong = [
        f"contents: {target} is on page {compared.pages.get(target, 0)}, but {page} is printed"
        for target, page in compared.listed
        if compared.pages.get(target) != page
    ]
    for number, page in enumerate(opened.pages, start=1):
        said, must = " ".join(page.running), _running(number, total, compared)
        if plain(said) != plain(must):
            wrong.append(f'page {number}: expected the header and footer "{must}", found "{said}"')
    what = f"table of contents, headers and footers of {counted(total, 'page')}"
    differs = f"{counted(len(wrong), 'difference')} from the embedded data in the {what}"
    return _check("pages", wrong, f"{what}, all as in the embedded data", differs)


def _running(number: int, total: int, compared: Comparison) -> str:
    """What the header and footer of a page must say: the first page has none."""
    if number == 1:
        return ""
    said = []
    for slot in ("audit", "section", "seal"):
        here = [text for page, name, text in compared.running if name == slot and page == number]
        before = [text for page, name, text in compared.running if name == slot and page < number]
        said.append(here[0] if here else before[-1] if before else "")
    return " ".join((*said, f"Page {number} of {total}"))
