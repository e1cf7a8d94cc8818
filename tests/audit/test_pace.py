"""The time left of an audit follows the estimate, and then what the stages before took."""

from __future__ import annotations

import pytest

from bias_audit.audit.estimate import Cost
from bias_audit.audit.pace import FORWARD, Pace
from bias_audit.errors import BackboneError
from bias_audit.progress import PacedStep

COST = Cost("net", (), 100.0, (("linear_probe", 50.0), ("topomap", 10.0)), 0, 0)


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("audit.pace", "progress"):
        monkeypatch.setattr(f"bias_audit.{module}.time", made)
    return made


def test_before_anything_is_done_the_estimate_counts(clock: Clock) -> None:
    pace = Pace(lambda: [COST, COST])
    assert pace.left(0) == 320
    with pace.stage(0, FORWARD):
        clock.now = 40
        assert pace.left(20) == 60 + 60 + 160
        assert pace.left(200) == 200 + 60 + 160  # the step itself knows better


def test_later_stages_take_as_much_longer_as_those_before_did(clock: Clock) -> None:
    pace = Pace(lambda: [COST])
    with pace.stage(0, FORWARD):
        clock.now = 200
    with pace.stage(0, "linear_probe"):
        clock.now = 220
        assert pace.left(0) == 2 * 50 - 20 + 2 * 10


def test_what_is_not_in_the_estimate_takes_no_time(clock: Clock) -> None:
    pace = Pace(lambda: [COST])
    with pace.stage(0, "confusions"):
        clock.now = 5
        assert pace.left(3) == 163


def test_the_estimate_is_made_only_if_it_is_asked_for() -> None:
    pace = Pace(lambda: pytest.fail("estimated"))
    with pace.stage(0, FORWARD):
        pass


def test_images_of_an_earlier_run_say_nothing_about_the_pace(clock: Clock) -> None:
    said: list[tuple[int, float]] = []
    step = PacedStep(100, 1.0, lambda done, left: said.append((done, left)))
    step.resume(80)
    clock.now = 10
    step.advance(5)
    assert said == [(85, 30.0)]  # two seconds an image


def test_what_cannot_be_estimated_is_audited_without_an_estimate() -> None:
    def costs() -> list[Cost]:
        raise BackboneError("the hub cannot be reached")

    assert Pace(costs).left(10) is None
