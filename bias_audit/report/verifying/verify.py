"""Does a printed report say what its embedded data say, and nothing else?"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, Literal

import bias_audit
from bias_audit.errors import OutputError
from bias_audit.report.audit_page import audit_page
from bias_audit.report.page import html
from bias_audit.report.verifying.report_reader import Chunk, OpenedReport, open_report
from bias_audit.results.audit import AuditResult
from bias_audit.results.store import audit_bytes, parse_audit
from bias_audit.shapes.printed import counted

Kind = Literal["text", "alt", "contents"]
_INLINE: Final = {"a", "strong", "em", "span", "code", "b", "i", "sub", "sup", "small", "abbr"}
_VOID: Final = {"meta", "img", "br", "link", "hr", "input"}
_UNPRINTED: Final = {"head", "footer", "script", "template"}
_SLOTS: Final = {"h1": "audit", "h2": "section"}
_UNSEEN: Final = re.compile("[\ufe00-\ufe0f]")
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_LEADER: Final = re.compile(r"\.+(\d+)")
_AHEAD, _WINDOW, _KEY = 60, 6000, 24
"""Passages and characters searched, and characters that must agree, to find the text again."""
_CONTEXT: Final = 24
_LONGEST: Final = 200
_RIGHT_TO_LEFT: Final = {"R", "AL", "AN"}


@dataclass(frozen=True)
class Passage:
    """A paragraph, a cell, a heading or the text of an image."""

    text: str
    kind: Kind = "text"
    target: str | None = None
    """Of an entry of the table of contents: the heading it leads to."""
    anchor: str | None = None
    """The heading's own name."""
    running: tuple[str, str] | None = None
    """A place in the head or foot of pages, and what it says from here on."""


def passages(document: str) -> tuple[Passage, ...]:
    """All passages of a paper document, in the order in which they are read."""
    reader = _Reader()
    reader.feed(document)
    reader.close()
    reader.flush()
    return tuple(reader.found)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Passage] = []
        self._text: list[str] = []
        self._unprinted = 0
        self._in_contents = False
        self._target: str | None = None
        self._heading: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag in _UNPRINTED:
            self._unprinted += 1
        if tag == "br":
            self._text.append(" ")
        elif tag not in _INLINE:
            self.flush()
        if tag == "img" and not self._unprinted:
            self.found.append(Passage(attributes.get("alt", ""), "alt"))
        if tag == "nav":
            self._in_contents = True
        if tag == "a" and self._in_contents:
            self._target = attributes.get("href", "").removeprefix("#")
        if tag in _SLOTS or attributes.get("class") == "seal":
            self._heading = {"slot": _SLOTS.get(tag, "seal"), **attributes}

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNPRINTED:
            self._text.clear()
            self._unprinted -= 1
        if tag not in _INLINE and tag not in _VOID:
            self.flush()
        if tag == "nav":
            self._in_contents = False
        if tag in {*_SLOTS, "p"}:
            self._heading = {}

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    def flush(self) -> None:
        """Close the passage that is being read."""
        text = "".join(self._text).strip()
        self._text.clear()
        if not text or self._unprinted:
            return
        target, self._target = self._target, None
        kind: Kind = "contents" if target else "text"
        about = self._heading
        running = (about["slot"], about.get("data-running", text)) if about else None
        self.found.append(Passage(text, kind, target, about.get("id"), running))


@dataclass(frozen=True)
class Difference:
    """A place where a page does not say what it must."""

    page: int
    """From 1; 0 where it is on no page."""
    expected: str
    found: str


@dataclass(frozen=True)
class Comparison:
    """All text of a report, compared."""

    n_passages: int
    n_numbers: int
    differences: tuple[Difference, ...]
    pages: dict[str, int]
    """Page, from 1, of each heading by its name."""
    listed: tuple[tuple[str, int], ...]
    """The table of contents as printed: the heading led to, and its page."""
    running: tuple[tuple[int, str, str], ...]
    """What heads and feet of pages must say: from which page on, and in which place."""


def plain(text: str) -> str:
    """The characters that are drawn: no spaces, which line breaks swallow, no unseen marks."""
    kept = "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", _UNSEEN.sub("", kept))


def compare(expected: Sequence[Passage], chunks: Sequence[Chunk]) -> Comparison:
    """Hold printed text against what it must be.

    Spaces, line breaks and the marks of lists are not compared. A passage in a script that is
    written from right to left is compared by its characters and its numbers, not by their order,
    which a PDF keeps as it is drawn.
    """
    comparer = _Comparer(expected, chunks)
    number = 0
    while number < len(expected):
        number = number + 1 if comparer.fits(number) else comparer.resume(number)
    if rest := comparer.printed[comparer.place :]:
        comparer.differ("", rest)
    return Comparison(
        n_passages=len(expected),
        n_numbers=sum(len(_NUMBER.findall(passage.text)) for passage in expected),
        differences=tuple(comparer.differences),
        pages=comparer.pages,
        listed=tuple(comparer.listed),
        running=tuple(comparer.running),
    )


class _Comparer:
    def __init__(self, expected: Sequence[Passage], chunks: Sequence[Chunk]) -> None:
        self._expected, self._chunks = expected, chunks
        self._texts = [plain(passage.text) for passage in expected]
        self._starts: list[int] = []
        parts, length = [], 0
        for chunk in chunks:
            self._starts.append(length)
            parts.append(plain(chunk.text))
            length += len(parts[-1])
        self.printed = "".join(parts)
        self.place = 0
        """In what is printed: all before it is compared."""
        self.differences: list[Difference] = []
        self.pages: dict[str, int] = {}
        self.listed: list[tuple[str, int]] = []
        self.running: list[tuple[int, str, str]] = []

    def fits(self, number: int) -> bool:
        """Whether a passage is what is printed next; then it is taken."""
        passage, text = self._expected[number], self._texts[number]
        seen = self.printed[self.place : self.place + len(text)]
        if seen != text and not _same_characters(seen, text):
            return False
        page, end = self._page(), self.place + len(text)
        if passage.kind == "contents":
            leader = _LEADER.match(self.printed, end)
            if leader is None:
                return False
            end = leader.end()
            self.listed.append((passage.target or "", int(leader[1])))
        if passage.anchor:
            self.pages[passage.anchor] = page
        if passage.running:
            self.running.append((page, *passage.running))
        self.place = end
        return True

    def resume(self, number: int) -> int:
        """Find the next passage that is printed, where least is lost; all up to there differs."""
        best: tuple[int, int, int] | None = None
        lost = 0
        for ahead in range(number, min(number + _AHEAD, len(self._texts))):
            key = self._key(ahead)
            start = self.place + (ahead == number)  # it does not fit where it is looked for
            found = self.printed.find(key, start, self.place + _WINDOW) if key else -1
            if found >= 0:
                cost = lost + found - self.place
                best = min(best or (cost, ahead, found), (cost, ahead, found))
            lost += len(self._texts[ahead])
        _, ahead, found = best or (0, len(self._expected), len(self.printed))
        missing = " | ".join(passage.text for passage in self._expected[number:ahead])
        self.differ(missing, self.printed[self.place : found])
        self.place = found
        return ahead

    def differ(self, expected: str, found: str) -> None:
        """Keep a difference that begins here."""
        self.differences.append(Difference(self._page(), *_around(expected, found)))

    def _key(self, number: int) -> str:
        """The start of a passage, long enough to be found; entries of contents have no next."""
        key = self._texts[number][: 2 * _KEY]
        following = number + 1
        while len(key) < _KEY and following < len(self._texts):
            if self._expected[following - 1].kind == "contents":
                return key
            key += self._texts[following][: 2 * _KEY]
            following += 1
        return key

    def _page(self) -> int:
        """From 1; 0 where there is no text."""
        if not self._chunks:
            return 0
        return self._chunks[max(bisect_right(self._starts, self.place) - 1, 0)].page + 1


def _same_characters(seen: str, text: str) -> bool:
    if not any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text):
        return False
    one, other = (sorted(_NUMBER.findall(each)) for each in (seen, text))
    return Counter(seen) == Counter(text) and one == other


def _around(expected: str, found: str) -> tuple[str, str]:
    """The part that differs, with a little of what is around it."""
    spread = [place for place, character in enumerate(expected) if plain(character)]
    bare = "".join(expected[place] for place in spread)
    start = _n_alike(bare, found)
    end = _n_alike(bare[start:][::-1], found[start:][::-1])
    first, last = max(start - _CONTEXT, 0), max(end - _CONTEXT, 0)
    from_, to = (
        (spread[first], spread[len(bare) - last - 1] + 1) if len(bare) > last + first else (0, 0)
    )
    return _short(expected[from_:to]), _short(found[first : len(found) - last])


def _n_alike(one: str, other: str) -> int:
    """Characters from the start that agree."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _short(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


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
