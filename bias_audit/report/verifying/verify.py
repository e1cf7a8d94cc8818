"""Is a printed report what its embedded data say, and nothing else?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import bias_audit
from bias_audit.errors import OutputError
from bias_audit.report.html import html
from bias_audit.report.verifying.comparing import Comparison, Difference, compare, plain
from bias_audit.report.verifying.opening import OpenedReport, open_report
from bias_audit.report.verifying.passages import Passage, passages
from bias_audit.report.verifying.structure import Chunk
from bias_audit.report.view import audit_view
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

    Args:
        path: The PDF.
        run: The folder of the run that it is said to come from.

    Raises:
        UnreadableReportError: It is no report of ours, or too damaged.
    """
    opened = open_report(path)
    digest = hashlib.sha256(opened.data).hexdigest()
    checks = [_container(opened), _printed_digest(opened, digest)]
    if run is not None:
        checks.append(_same_run(run, digest))
    try:
        result = parse_audit(opened.data, source=f"{path}: audit.json")
        expected = passages(html(audit_view(result, None, audit_sha256=digest), medium="paper"))
    except OutputError as error:
        return Verified((*checks, Check("schema", holds=False, told=str(error))), None)
    except (LookupError, ValueError, TypeError, ArithmeticError) as error:
        told = f"the embedded data cannot be printed: {error}"
        return Verified((*checks, Check("schema", holds=False, told=told)), None)
    checks.append(
        Check(
            "schema", holds=True, told=f"audit.json is of schema version {result.schema_version}"
        )
    )
    return Verified((*checks, *_text_checks(opened, expected)), result)


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
    if opened.boxes:
        told = (
            f"its fonts lack {counted(len(opened.boxes), 'character')}: print it again with a "
            "font that has them (output.fonts)"
        )
    if wrong:
        told = "the file holds what bias-audit does not write"
    problems = (*wrong, *_some(opened.boxes))
    return Check("file", holds=not problems, told=told, details=problems)


def _printed_digest(opened: OpenedReport, digest: str) -> Check:
    drawn = plain("".join(text for page in opened.pages for text in page.marked.values()))
    holds = digest in drawn
    told = f"SHA-256 {digest} of the embedded audit.json"
    return Check(
        "digest",
        holds=holds,
        told=f"{told} is the one printed" if holds else f"{told} is not printed on any page",
    )


def _same_run(run: Path, digest: str) -> Check:
    try:
        found = hashlib.sha256(audit_bytes(run)).hexdigest()
    except OutputError as error:
        return Check("run", holds=False, told=str(error))
    told = f"{run / 'audit.json'} is the embedded one"
    if found == digest:
        return Check("run", holds=True, told=told)
    return Check(
        "run", holds=False, told=f"{run / 'audit.json'} has SHA-256 {found}, expected {digest}"
    )


def _text_checks(opened: OpenedReport, expected: Sequence[Passage]) -> Iterator[Check]:
    text = [passage for passage in expected if passage.kind != "alt"]
    chunks = opened.reading.chunks
    compared = compare(text, [chunk for chunk in chunks if not chunk.is_alt])
    release = _other_release(opened)
    yield _text(compared, _stray(opened), release)
    yield _alts([p.text for p in expected if p.kind == "alt"], chunks, opened, release)
    yield _pages(compared, opened)


def _other_release(opened: OpenedReport) -> str:
    if opened.release == bias_audit.__version__:
        return ""
    wrote = opened.release or "an unknown release"
    return (
        f" The PDF was written by bias-audit {wrote}, this is {bias_audit.__version__}: sentences "
        "may differ without fault; verify it with the release that wrote it."
    )


def _stray(opened: OpenedReport) -> Iterator[str]:
    for number, page in enumerate(opened.pages, start=1):
        yield from (f"page {number}: {problem}" for problem in page.problems)
        loose = "".join(page.loose).strip()
        if loose:
            yield f'page {number}: text that belongs to no passage: "{loose[:200]}"'
    for chunk in opened.reading.unreached:
        yield f'page {chunk.page + 1}: text that belongs to no passage: "{chunk.text[:200]}"'


def _text(compared: Comparison, stray: Iterator[str], release: str) -> Check:
    wrong = [*map(_told, compared.differences), *stray]
    what = (
        f"{counted(compared.n_passages, 'passage')} with {counted(compared.n_numbers, 'number')}"
    )
    if not wrong:
        return Check("text", holds=True, told=f"{what}, all as audit.json gives them")
    places = f"{counted(len(wrong), 'place')} of {what}"
    return Check("text", holds=False, told=f"differs in {places}.{release}", details=_some(wrong))


def _told(difference: Difference) -> str:
    where = f"page {difference.page}" if difference.page else "no page"
    expected = f'"{difference.expected}"' if difference.expected else "nothing"
    found = f'"{difference.found}"' if difference.found else "nothing"
    return f"{where}: expected {expected}, found {found}"


def _alts(
    expected: list[str], chunks: Sequence[Chunk], opened: OpenedReport, release: str
) -> Check:
    found = [chunk for chunk in chunks if chunk.is_alt]
    wrong = [
        f"page {number + 1}: a drawing that belongs to no figure"
        for number, page in enumerate(opened.pages)
        if any((number, mark) not in opened.reading.figures for mark in page.drawings)
    ]
    for number, text in enumerate(expected):
        said = found[number].text if number < len(found) else ""
        if said != text:
            wrong.append(f'figure {number + 1}: expected "{text[:120]}", found "{said[:120]}"')
    if len(found) != len(expected):
        wrong.append(f"expected {len(expected)} figures, found {len(found)}")
    told = f"{counted(len(expected), 'figure')} with their texts"
    if not wrong:
        return Check("figures", holds=True, told=f"{told}, all as audit.json gives them")
    return Check("figures", holds=False, told=f"{told} differ.{release}", details=_some(wrong))


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
    return Check("pages", holds=not wrong, told=told, details=_some(wrong))


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


def _some(lines: Sequence[str]) -> tuple[str, ...]:
    rest = len(lines) - _SHOWN
    return (*lines[:_SHOWN], *([f"and {rest} more"] if rest > 0 else []))
