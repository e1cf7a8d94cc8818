"""The summary on the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bias_audit.console import print_brief
from bias_audit.report.brief import brief
from bias_audit.results.finding import Finding
from tests.report.synthetic import criteria_of, make_audit, with_findings

REPORTS = (Path("runs/x/report.html"), Path("runs/x/report.pdf"))
MANY = tuple(f"net_{i}" for i in range(7))


def lines(**changes: object) -> tuple[str, ...]:
    return brief(make_audit(**changes).result, REPORTS)  # type: ignore[arg-type]


@pytest.mark.parametrize("backbones", [("one",), MANY])
@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("criteria", [(), criteria_of("age")])
def test_it_has_ten_lines_at_most_and_ends_with_the_report(
    backbones: tuple[str, ...], failed: bool, criteria: tuple[object, ...]
) -> None:
    told = lines(backbones=backbones, failed=failed, criteria=criteria)
    assert len(told) <= 10
    assert told[-1] == "Report: runs/x/report.html and report.pdf"
    assert any(line.startswith("Attention: could not be computed") for line in told) == failed


def test_fails_come_first_and_what_is_cut_is_counted() -> None:
    told = lines(criteria=criteria_of("age"))
    assert told[2] == "Verdicts: 1 PASS, 1 FAIL, 2 INCONCLUSIVE (3 of 4 shown)"
    assert told[3].startswith("  ■ FAIL AUC stays low (tf_efficientnet_lite0): ")
    assert told[3].endswith(", at most 0.55")
    assert all("INCONCLUSIVE" in line for line in told[4:6])
    assert any("(1 of 7 shown)" in line for line in lines(backbones=MANY))


def test_the_conclusion_is_that_of_page_one() -> None:
    assert lines()[1].startswith("From tf_efficientnet_lite0, age")


def test_without_probes_the_conclusion_is_the_clearest_finding() -> None:
    made = make_audit().result
    (subject,) = made.subjects
    empty = subject.analyses[0].model_copy(update={"blocks": (), "findings": ()})
    alone = subject.model_copy(update={"analyses": (empty,)})
    bare = made.model_copy(update={"subjects": (alone,), "together": ()})
    assert brief(bare, REPORTS)[1].endswith("so nothing can be concluded.")
    found = [Finding(text=text, weight=w) for text, w in (("Open.", 0), ("B.", 2), ("C.", 1))]
    assert brief(with_findings(bare, 0, *found), REPORTS)[1] == "B."


def test_warnings_are_pointed_at() -> None:
    made = make_audit(backbones=("one", "two"), failed=True).result
    warned = with_findings(made, 1, Finding(text="Look here.", weight=0.1, is_warning=True))
    (line,) = [line for line in brief(warned, REPORTS) if line.startswith("Attention")]
    assert line.endswith(". warnings among the findings: Linear decodability on two")


def test_without_criteria_it_says_that_nothing_was_judged() -> None:
    assert (
        lines()[2]
        == "Verdicts: none; no acceptance threshold was set, so there is no pass or fail"
    )


def test_every_headline_number_has_its_interval() -> None:
    (headline,) = [line for line in lines() if line.startswith("  tf_efficientnet_lite0: ")]
    assert headline.count("[") == headline.count("]") >= 2


def test_a_terminal_shows_one_row_per_line_and_the_whole_path() -> None:
    console = Console(width=60, force_terminal=True, color_system=None)
    told = (*lines(criteria=criteria_of("age"))[:-1], f"Report: {'long/' * 30}report.html")
    with console.capture() as captured:
        print_brief(console, told)
    shown = captured.get().splitlines()
    assert len(shown) == len(told)
    assert shown[-1] == told[-1]
    assert all(len(row) <= 60 for row in shown[:-1])


def test_a_log_has_every_line_whole() -> None:
    console = Console(width=60, force_terminal=False)
    told = lines(criteria=criteria_of("age"))
    with console.capture() as captured:
        print_brief(console, told)
    assert captured.get().splitlines() == list(told)
