"""Paper shows what carries the message, and says what it leaves out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bias_audit.report.audit_page import audit_page
from bias_audit.report.page import html
from bias_audit.report.sections.blocks import details, new_notes, shown_blocks
from bias_audit.results.store import read_audit
from bias_audit.shapes.group_ledger import GroupLedger
from bias_audit.shapes.group_table import SHAPE, GroupRow, GroupTable
from bias_audit.shapes.shape import Block
from bias_audit.shapes.tables import Column, Table
from tests.report.page import read
from tests.report.synthetic import LARGE, make_audit


def _table(detail: bool | None = None, rows: int = 0) -> GroupTable:
    return GroupTable(
        detail=detail,
        title="t",
        quantity="recall",
        metric="recall",
        layer="a",
        target="age",
        chance=None,
        rows=tuple(
            GroupRow(group={"levels": (("age", str(n)),)}, n=1, estimate=None) for n in range(rows)
        ),
    )


def _ledger() -> GroupLedger:
    return GroupLedger(title="t", n_groups=1, rule="r", entries=())


def _listed(*blocks: Block) -> frozenset[int]:
    return details((0, block) for block in blocks)


def test_an_analysis_says_what_is_detail() -> None:
    assert _listed(_table(True), _table(False), _table(False), _table(True)) == {0, 3}


def test_where_it_does_not_say_the_first_of_a_shape_is_shown() -> None:
    assert _listed(_table(), _table(), _table()) == {1, 2}
    assert details([(0, _table()), (1, _table()), (1, _table())]) == {2}
    assert _listed(_ledger(), _ledger()) == frozenset(), "small groups are never left out"


def test_no_analysis_fills_the_paper() -> None:
    assert _listed(*[_table(False) for _ in range(20)]) == set(range(7, 20))


def test_figures_are_for_what_a_short_table_does_not_show() -> None:
    assert [SHAPE.is_drawn(_table(rows=n)) for n in (3, 14, 15, 40, 126)] == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_a_note_is_printed_once() -> None:
    printed: set[str] = set()
    assert new_notes(("a", "b"), printed) == ("a", "b")
    assert new_notes(("b", "c"), printed) == ("c",)


def test_a_shortened_table_says_how_much_it_leaves_out() -> None:
    rows = tuple((str(n),) for n in range(126))
    table = Table("c", (Column("n"),), rows, excerpt=rows[:10])
    assert table.is_long
    assert table.left_out == "10 of 126 rows; the other 116 are in report.html and audit.json."
    assert not Table("c", (Column("n"),), rows[:14], excerpt=rows[:10]).is_long
    assert Table("c", (Column("n"),), rows).left_out.startswith("Its 126 rows")


def test_every_block_is_printed_or_counted(tmp_path: Path) -> None:
    made = make_audit(LARGE, layers=("a", "b"), empty=(0, 17, 125), per_cell=44)
    made.write(tmp_path)
    result = read_audit(tmp_path)
    page = read(html(audit_page(result, None), medium="paper"))
    text = page.tags[0].text
    left_out: Counter[str] = Counter()
    for block in shown_blocks(result.subjects[0].analyses, "backbone-0", None):
        left_out[block.question] += block.is_detail
        assert block.title in text or block.is_detail
        for table in block.tables:
            if not block.is_detail and table.is_long:
                assert table.left_out in text
    for question, n in left_out.items():
        if n:
            (part,) = (
                t for t in page.all("section") if t.attributes.get("aria-labelledby") == question
            )
            assert f"{n} more result" in part.text
    assert "NOT PROVIDED" in text
    links = [tag.attributes["href"] for tag in page.all("a") if tag.inside[-1] == "li"]
    assert not any(link.startswith("#backbone-0-0") for link in links), "contents list sections"
