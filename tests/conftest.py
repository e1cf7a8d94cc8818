"""What many tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that all workers end at about the same time."""
    items.sort(key=lambda item: "functional" not in item.path.parts)
    for item in items:
        if isinstance(item, pytest.Function) and "browser" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if "not slow" in config.option.markexpr:
        terminalreporter.write_line(
            "Left to make test-all: tests that need a browser, Ray, a build, kills, or much time."
        )


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    """UMAP's compiler sets threads anew; more of them than cores wait for each other."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _same_networks() -> None:
    """A network made in a test is the same in every session, whatever ran before it."""
    torch.manual_seed(0)  # noqa: TID251 (layers draw their weights from the global generator)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real faces and weights that may not be part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(
            "needs real faces and weights in ../shared, which a public clone does not have"
        )
    return SHARED
