"""What WeasyPrint leaves open in a tagged PDF: artifacts, scopes of headings of tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

_PAGINATION: Final = (b"/Artifact", b"<</Type/Pagination>>")


def finish(document: object, pdf: Any) -> None:  # noqa: ARG001  WeasyPrint's signature
    """Complete the tags of a PDF before it is written.

    Running heads and page numbers become artifacts (ISO 32000-1, 14.8.2.2), since WeasyPrint tags
    them as text but leaves them out of the structure; headings of tables get their scope.

    Args:
        document: As laid out.
        pdf: A `pydyf.PDF`, changed in place.
    """
    objects: list[Any] = [entry for entry in pdf.objects if isinstance(entry, dict)]
    by_reference = {entry.reference: entry for entry in objects}
    root = by_reference[pdf.catalog["StructTreeRoot"]]
    reached = {element.reference for element in _below(root, by_reference)}
    numbers = by_reference[root["ParentTree"]]["Nums"]
    _mark_artifacts(pdf, objects, numbers, reached)
    for element in objects:
        if element.get("S") == "/TH" and element.reference in reached:
            element["A"]["Scope"] = _scope(element, by_reference)
    if "AF" in pdf.catalog:  # WeasyPrint lists each file twice
        pdf.catalog["AF"][:] = list(dict.fromkeys(pdf.catalog["AF"]))


def _below(node: Any, by_reference: dict[bytes, Any]) -> Iterator[Any]:
    """All structure elements below one, in the order in which they are read."""
    waiting = [node]
    while waiting:
        element = waiting.pop()
        kids = element.get("K", ())
        found = [by_reference[kid] for kid in kids if isinstance(kid, bytes)]
        found = [kid for kid in found if "S" in kid]
        yield from found
        waiting += found


def _mark_artifacts(pdf: Any, objects: list[Any], numbers: list[Any], reached: set[bytes]) -> None:
    """Marked content that no structure element reaches is set aside as an artifact."""
    parents = dict(zip(numbers[::2], numbers[1::2], strict=True))
    streams = {entry.reference: entry for entry in pdf.objects if hasattr(entry, "stream")}
    for page in objects:
        if page.get("Type") != "/Page":
            continue
        elements = parents[page["StructParents"]]
        loose = {number for number, ref in enumerate(elements) if ref not in reached}
        operators = streams[page["Contents"]].stream
        for place, operator in enumerate(operators):
            if operator != b"BDC":
                continue
            marks = operators[place - 1]
            if isinstance(marks, dict) and marks.get("MCID") in loose:
                operators[place - 2 : place] = _PAGINATION
        for number in loose:
            elements[number] = "null"


def _scope(heading: Any, by_reference: dict[bytes, Any]) -> str:
    row = by_reference[heading["P"]]
    return "/Column" if by_reference[row["P"]]["S"] == "/THead" else "/Row"
