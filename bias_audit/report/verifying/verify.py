"""Is a printed report what its embedded data say, and nothing else?"""

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
from bias_audit.report.verifying.opening import OpenedReport, open_report
from bias_audit.results.audit import AuditResult
from bias_audit.results.store import audit_bytes, parse_audit
from bias_audit.shapes.printed import count, counted

_SHOWN: Final = 12

NOT_SHOWN: Final = (
    "Not shown by this: who wrote or signed the file, and that drawings match their numbers "
    "(compare figures/ of the run, or `render` the run again)."
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    holds: bool
    told: str
    """What was compared, and how many."""
    details: tuple[str, ...] = ()
    """Where it does not hold."""


def _check(name: str, wrong: Sequence[str], told: str, otherwise: str = "") -> Check:
    """Holds where nothing is wrong; `otherwise` is told where something is."""
    rest = len(wrong) - _SHOWN
    details = (*wrong[:_SHOWN], *([f"and {rest} more"] if rest > 0 else []))
    text = otherwise if wrong and otherwise else told
    return Check(name, holds=not wrong, told=text, details=details)


@dataclass(frozen=True)
class Verified:
    """All checks of one report."""

    checks: tuple[Check, ...]
    result: AuditResult | None = field(repr=False)
    """What is embedded; None where it cannot be read."""

    @property
    def holds(self) -> bool:
        """Whether everything does."""
        return all(check.holds for check in self.checks)


def verify_report(path: Path, *, run: Path | None = None) -> Verified:
    """Hold a printed report against the data inside it.

    Raises:
        UnreadableReportError: It is no report of ours, or too damaged.
    """
    opened = open_report(path)
    digest = hashlib.sha256(opened.data).hexdigest()
    drawn = plain("".join(text for page in opened.pages for text in page.marked.values()))
    is_printed = digest in drawn
    end = "the one printed" if is_printed else "not printed on any page"
    said = f"SHA-256 {digest} of the embedded audit.json is {end}"
    checks = [_container(opened), Check("digest", holds=is_printed, told=said)]
    if run is not None:
        checks.append(_same_run(run, digest))
    try:
        result = parse_audit(opened.data, source=f"{path}: audit.json")
        expected = passages(html(audit_page(result, None, audit_sha256=digest), medium="paper"))
    except OutputError as error:
        return Verified((*checks, Check("schema", holds=False, told=str(error))), None)
    except (LookupError, ValueError, TypeError, ArithmeticError) as error:
        told = f"the embedded data cannot be printed: {error}"
        return Verified((*checks, Check("schema", holds=False, told=told)), None)
    told = f"audit.json is of schema version {result.schema_version}"
    checks.append(Check("schema", holds=True, told=told))
    other = ""
    if opened.release != bias_audit.__version__:
        other = (
            f" The PDF was written by bias-audit {opened.release or 'an unknown release'}, this "
            f"is {bias_audit.__version__}: sentences may differ without fault; verify it with the "
            "release that wrote it."
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
        wrong.append("audit.json does not have the checksum that the PDF states for it")
    if opened.relationship != "/Data":
        wrong.append(f"audit.json is embedded as {opened.relationship}, expected /Data")
    told = (
        f"{counted(len(opened.pages), 'page')}, audit.json of {count(len(opened.data))} bytes "
        f"inside, {counted(opened.n_fonts, 'font')} that draw the characters they are read "
        "as, nothing laid over a page, no script"
    )
    if wrong:
        otherwise = "the file holds what bias-audit does not write"
    else:
        otherwise = (
            f"its fonts lack {counted(len(opened.boxes), 'character')}: print it again with a "
            "font that has them (output.fonts)"
        )
    return _check("file", (*wrong, *opened.boxes), told, otherwise)


def _same_run(run: Path, digest: str) -> Check:
    path = run / "audit.json"
    try:
        found = hashlib.sha256(audit_bytes(run)).hexdigest()
    except OutputError as error:
        return Check("run", holds=False, told=str(error))
    if found == digest:
        return Check("run", holds=True, told=f"{path} is the embedded one")
    return Check("run", holds=False, told=f"{path} has SHA-256 {found}, expected {digest}")


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
        f'page {number}: text that belongs to no passage: "{text[:200]}"'
        for number, text in stray
        if text
    ]
    what = (
        f"{counted(compared.n_passages, 'passage')} with {counted(compared.n_numbers, 'number')}"
    )
    differs = f"differs in {counted(len(wrong), 'place')} of {what}.{other}"
    return _check("text", wrong, f"{what}, all as audit.json gives them", differs)


def _figures(expected: Sequence[Passage], opened: OpenedReport, other: str) -> Check:
    found = [chunk.text for chunk in opened.chunks if chunk.is_alt]
    wrong = [
        f"page {number + 1}: a drawing that belongs to no figure"
        for number, page in enumerate(opened.pages)
        if any((number, mark) not in opened.figures for mark in page.drawings)
    ]
    for number, passage in enumerate(expected):
        text, said = passage.text, found[number] if number < len(found) else ""
        if said != text:
            wrong.append(f'figure {number + 1}: expected "{text[:120]}", found "{said[:120]}"')
    if len(found) != len(expected):
        wrong.append(f"expected {len(expected)} figures, found {len(found)}")
    told = f"{counted(len(expected), 'figure')} with their texts"
    all_hold, differ = f"{told}, all as audit.json gives them", f"{told} differ.{other}"
    return _check("figures", wrong, all_hold, differ)


def _pages(compared: Comparison, opened: OpenedReport) -> Check:
    total = len(opened.pages)
    wrong = [
        f"contents: {target} is on page {compared.pages.get(target, 0)}, printed is {page}"
        for target, page in compared.listed
        if compared.pages.get(target) != page
    ]
    for number, page in enumerate(opened.pages, start=1):
        said, must = " ".join(page.running), _running(number, total, compared)
        if plain(said) != plain(must):
            wrong.append(f'page {number}: head and foot say "{said}", expected "{must}"')
    told = f"numbers, heads and feet of {counted(total, 'page')}, and the table of contents"
    return _check("pages", wrong, told)


def _running(number: int, total: int, compared: Comparison) -> str:
    """What the head and foot of a page must say: the first page has none."""
    if number == 1:
        return ""
    said = []
    for slot in ("audit", "section", "seal"):
        here = [text for page, name, text in compared.running if name == slot and page == number]
        before = [text for page, name, text in compared.running if name == slot and page < number]
        said.append(here[0] if here else before[-1] if before else "")
    return " ".join((*said, f"Page {number} of {total}"))
