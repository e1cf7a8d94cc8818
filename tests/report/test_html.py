from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from bias_audit.report.audit_page import audit_page
from bias_audit.report.page import Page as PageParts
from bias_audit.report.page import html, source_hash, template_folder
from bias_audit.report.sections.method import error_rate
from bias_audit.results.audit import AuditResult
from bias_audit.results.store import read_audit
from bias_audit.shapes.group_table import GroupTable
from tests.report.page import LOADING, Page, Tag, read
from tests.report.synthetic import FAMILIES, make_audit

CSP = re.compile(
    "default-src 'none'; img-src data:; style-src 'sha256-[A-Za-z0-9+/]{43}='; "
    "script-src 'sha256-[A-Za-z0-9+/]{43}='; base-uri 'none'; form-action 'none'"
)
NUMBER = "[+\N{MINUS SIGN}]?\\d+\\.\\d+"
INTERVAL = re.compile(rf"{NUMBER}(?: %)? \[{NUMBER}, {NUMBER}\]")
GUESSES = re.compile(
    rf"(?:chance|expected|minus|plus|Chance is|p =|p <),? {NUMBER}(?: %)?"  # no estimate
)


def _charts(page: Page) -> list[Tag]:
    return [tag for tag in page.all("svg") if tag.attributes.get("role") == "img"]


@pytest.fixture(scope="module")
def page(two_backbones_page: str) -> Page:
    return read(two_backbones_page)


@pytest.fixture(scope="module")
def hostile_read(hostile_page: str) -> Page:
    return read(hostile_page)


def test_the_page_loads_nothing_from_anywhere(page: Page, hostile_read: Page) -> None:
    for tag in (*page.tags, *hostile_read.tags):
        assert tag.name not in {"link", "iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") for name in tag.attributes)
        for name in LOADING:
            assert tag.attributes.get(name, "data:").startswith("data:")
        wanted = "data:image/webp;base64," if tag.name == "image" else "#"
        assert tag.attributes.get("href", wanted).startswith(wanted)
        assert "style" not in tag.attributes
    styles = "".join(tag.text for tag in page.all("style"))
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_policy_forbids_what_the_page_does_without(page: Page) -> None:
    policies = [
        tag.attributes["content"]
        for tag in page.all("meta")
        if tag.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    (policy,) = policies
    assert CSP.fullmatch(policy)
    for name in ("style", "script"):
        (inlined,) = page.all(name)
        assert f"{name}-src '{source_hash(inlined.text)}'" in policy
    (script,) = page.all("script")
    assert not script.attributes
    for word in ("eval(", "Function(", "innerHTML", "fetch(", "XMLHttpRequest", "http"):
        assert word not in script.text


def test_the_page_can_be_read_without_eyes(page: Page) -> None:
    assert page.all("html")[0].attributes["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("nav")) == 1
    assert page.all("a")[0].attributes["href"] == "#content"
    assert not page.all("img")
    charts = _charts(page)
    assert len(charts) > 10
    assert all(len(tag.attributes["aria-label"]) > 40 for tag in charts)
    assert all("scope" in tag.attributes for tag in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    levels = [int(t.name[1]) for t in page.tags if re.fullmatch(r"h[1-6]", t.name)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_link_leads_somewhere_and_no_anchor_is_used_twice(page: Page) -> None:
    anchors = [tag.attributes["id"] for tag in page.tags if "id" in tag.attributes]
    assert len(anchors) == len(set(anchors))
    links = [*page.all("a"), *page.all("use")]
    assert {tag.attributes["href"][1:] for tag in links} <= set(anchors)
    named = {
        t.attributes["aria-labelledby"] for t in page.tags if "aria-labelledby" in t.attributes
    }
    assert named <= set(anchors)


def test_labels_are_text_whatever_they_hold(hostile_page: str, hostile_read: Page) -> None:
    assert hostile_page.count("<script") == 1
    assert "evil.example" not in "".join(str(t.attributes.get("src")) for t in hostile_read.tags)
    text = hostile_read.all("main")[0].text
    for label in ("<script>alert(1)</script>", "$x^2$ & more", "=cmd()", "{{ 7*7 }}"):
        assert label in text
    assert "&amp;lt;" not in hostile_page


def test_every_number_of_a_block_carries_its_interval(page: Page) -> None:
    blocks = [t for t in page.all("section") if "block" in t.attributes.get("class", "").split()]
    assert len(blocks) > 10
    # A family of tests holds error rates and p-values alone, which are no estimates.
    blocks = [t for t in blocks if "test_families" not in t.attributes["class"]]
    alts = [tag.attributes["aria-label"] for tag in _charts(page)]
    found = 0
    for text in (*(block.text for block in blocks), *alts):
        without_layers = re.sub(r"blocks\.\d+", "", text)
        found += len(INTERVAL.findall(without_layers))
        if "by chance" in text:
            # A column of its own behind the recall: shares of all predictions, known exactly.
            without_layers = re.sub(rf"({INTERVAL.pattern})\s+0\.\d{{3}}\b", r"\1", without_layers)
        rest = GUESSES.sub("", INTERVAL.sub("", without_layers))
        # Neither has what guessing or an even spread gives, in the heading of a measure.
        rest = re.sub(rf"\((?:guessing|share of the image) {NUMBER}\)", "", rest)
        # The column of shares expected by chance holds percentages without an interval.
        rest = re.sub(rf"{NUMBER} %", "", rest) if "expected by chance" in text else rest
        assert not re.findall(NUMBER, rest), rest
    assert found > 300


def test_numbers_are_those_of_the_results(two_backbones: Path, page: Page) -> None:
    result = read_audit(two_backbones)
    text = page.all("main")[0].text
    for subject in result.subjects:
        for analysis in subject.analyses:
            for block in analysis.blocks:
                if not isinstance(block, GroupTable):
                    continue
                for row in block.rows:
                    if row.estimate is not None:
                        e = row.estimate
                        assert f"{e.value:.2f} [{e.lower:.2f}, {e.upper:.2f}]" in text


def test_fixed_sentences_hold_whatever_the_labels_are(hostile_read: Page) -> None:
    fixed = [
        tag.text.lower()
        for tag in hostile_read.all("section")
        if tag.attributes.get("aria-labelledby") in {"claims", "provenance"}
    ]
    assert len(fixed) == 2
    for word in (" race", "gender", "annotators", "from looking at"):
        assert not any(word in text for text in fixed)
    assert "need not agree with how the people shown describe themselves" in fixed[0]
    ledger = "only the exclusion ledger names single images, by file name"
    assert ledger in fixed[1]
    assert "no value of a single person" not in fixed[1]
    assert "61_1.jpg" in hostile_read.all("main")[0].text


def test_settings_of_a_backbone_read_as_sentences(page: Page) -> None:
    facts = " ".join(t.text for t in page.all("dl") if t.attributes.get("class") == "facts")
    assert "input: 224 x 224 pixels" in facts
    assert "stride set to 2, 2 in layer2.0.conv1" in facts
    assert "crop" not in facts


def test_page_one_answers_for_every_attribute(page: Page) -> None:
    (cover,) = page.all("header")
    assert "can be read from all 2 backbones" in page.all("h1")[0].text
    names = [t.text for t in page.all("p") if t.attributes.get("class") == "answer-name"]
    assert names[0] == "Age" and names[-1] == "Does the network use it?"
    for words in ("Of 100 pairs of faces", "Not examined: no erasure"):
        assert words in cover.text
    for title in ("Do next", "Do not conclude", "How sure"):
        assert title in cover.text


def test_findings_come_strongest_first_and_open_ones_follow(page: Page) -> None:
    lists = [t for t in page.all("ul") if t.attributes.get("class") == "findings"]
    decided = lists[0].text
    undecided = next(t.text for t in lists if "details" in t.inside)
    assert "is linearly decodable at" in decided
    assert "is undecided" not in decided and "is undecided" in undecided
    assert "glasses was not measured (one level has no images)" in undecided


def test_a_failed_analysis_is_named_on_page_one_and_shown_with_its_error(page: Page) -> None:
    assert "This report is incomplete" in page.all("header")[0].text
    failed = next(
        t for t in page.all("section") if t.attributes.get("aria-labelledby") == "failed"
    )
    assert "Topographic maps on second_net" in failed.text
    assert "layer 'blocks.9': expected one of 8 layers" in failed.text


def test_cautions_stand_with_the_data_and_empty_groups_are_named(page: Page) -> None:
    data = next(t for t in page.all("section") if t.attributes.get("aria-labelledby") == "data")
    assert "The faces are computer renders." in data.text
    cells = [t for t in page.all("td") if "empty" in t.attributes.get("class", "").split()]
    assert [cell.text for cell in cells] == ["none"]
    assert "child / C / Female" in page.all("main")[0].text


def test_the_error_rate_of_the_whole_audit_is_that_of_its_families(page: Page) -> None:
    made = make_audit(backbones=("one", "two"), failed=True).result
    n = FAMILIES * sum(len(analyses) for _, analyses in made.analysed)
    assert made.families == n
    assert f"has {n} families of tests with an error rate of 5 % each" in error_rate(made)
    assert f"in at most {n * 0.05:.2g} of them" in error_rate(made)
    plan = made.config["multiplicity"] | {"scope": "audit"}
    shared = made.model_copy(update={"config": made.config | {"multiplicity": plan}})
    assert f"5 % together ({5 / n:.2g} % each)" in error_rate(shared)
    assert "any false claim in the whole audit is at most 5 %" in error_rate(shared)
    method = next(
        s for s in page.all("section") if s.attributes.get("aria-labelledby") == "method"
    )
    assert "families of tests with an error rate of 5 % each" in method.text


def test_an_older_result_says_nothing_of_families() -> None:
    made = make_audit().result
    stored = json.loads(made.model_dump_json())
    for analysis in stored["subjects"][0]["analyses"]:
        del analysis["families"]
    older = AuditResult.model_validate(stored)
    assert (older.families, error_rate(older)) == (None, "")


def test_the_overview_compares_all_backbones(page: Page) -> None:
    (table,) = (t.text for t in page.all("table") if "at its best layer, against" in t.text)
    assert "first_net" in table
    assert "second_net" in table
    assert "difference\N{NO-BREAK SPACE}+0." in table


def test_verdicts_come_first_as_words_with_shapes(two_backbones: Path, page: Page) -> None:
    table = page.all("table")[0]
    assert table.attributes["class"].split()[0] == "verdicts"
    stored = read_audit(two_backbones).verdicts
    outcomes = [
        t
        for t in page.all("span")
        if "outcome" in t.attributes.get("class", "").split() and "table" in t.inside
    ]
    assert [tag.text.split() for tag in outcomes] == [
        [{"PASS": "●", "FAIL": "■", "INCONCLUSIVE": "◇"}[v.outcome], v.outcome] for v in stored
    ]
    assert {v.outcome for v in stored} == {"PASS", "FAIL", "INCONCLUSIVE"}
    for verdict in stored:
        assert verdict.criterion.name in table.text
        assert verdict.criterion.rationale in table.text
        if verdict.deciding and verdict.deciding.estimate:
            e = verdict.deciding.estimate
            assert f"{e.value:.2f} [{e.lower:.2f}, {e.upper:.2f}]" in table.text
        if verdict.n_to_decide:
            assert f"about {verdict.n_to_decide:,} images" in table.text
    assert f"{len(stored) - 4} INCONCLUSIVE" in page.all("main")[0].text


def test_without_criteria_page_one_says_that_nothing_was_judged(large_undrawn: PageParts) -> None:
    page = read(html(large_undrawn, medium="screen"))
    assert "No acceptance threshold was set" in page.all("header")[0].text
    assert not [t for t in page.all("table") if t.attributes.get("class") == "verdicts"]


def test_our_words_claim_no_more_than_was_measured(page: Page) -> None:
    text = page.all("body")[0].text.lower()
    assert not re.search(r"\b(biased|unbiased|fair|unfair|compliant|compliance)\b", text)
    assert "true race" not in text
    assert "encoding is not use" in text
    assert "use is not harm" in text


def test_the_same_results_give_the_same_bytes(hostile: Path, hostile_page: str) -> None:
    view = audit_page(read_audit(hostile), hostile)
    assert html(view, medium="screen") == hostile_page


@pytest.mark.slow
def test_pages_stay_small(two_backbones_page: str, large: Path) -> None:
    assert len(two_backbones_page) < 5e6
    assert len(html(audit_page(read_audit(large), large), medium="screen")) < 5e6


def test_long_tables_are_whole_on_screen_and_an_excerpt_on_paper(large_undrawn: PageParts) -> None:
    screen, paper = (read(html(large_undrawn, medium=m)) for m in ("screen", "paper"))

    def rows(page: Page) -> int:
        return len([tag for tag in page.all("tr") if "tbody" in tag.inside])

    assert rows(screen) > 2 * 240 + 2 * 126
    assert rows(paper) < 300
    assert "of 240 rows; the other" in paper.all("main")[0].text
    assert not paper.all("details")


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        ("ink", None),
        ("soft", None),
        ("soft", "shade"),
        ("link", "shade"),
        ("caution", "caution-shade"),
        ("failure", "failure-shade"),
        ("pass", None),
        ("failure", None),
        ("caution", None),
    ],
)
def test_text_stands_out_from_its_ground(ink: str, paper: str | None) -> None:
    style = (template_folder() / "report.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", style))
    ground = colours[paper] if paper else "#ffffff"
    one, two = sorted((_luminance(colours[ink]), _luminance(ground)))
    assert (two + 0.05) / (one + 0.05) >= 4.5
