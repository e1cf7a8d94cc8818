"""Self-tests that are kept, so that they are repeated only when the code or a library changes."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from bias_audit.files import digest, read_checked, tell_damage, write_checked
from bias_audit.progress import Progress
from bias_audit.results.selftest import SelfTest
from bias_audit.selftest.run import code_digest, self_test, versions
from bias_audit.selftest.sizes import Mode

SEED = 0


def kept(cache: Path) -> SelfTest | None:
    """The self-test of this code and these libraries that a cache holds, a full one first.

    Args:
        cache: The cache of an audit, `output.cache`.
    """
    modes: tuple[Mode, ...] = ("full", "quick")
    for mode in modes:
        path = _path(cache, mode)
        text = read_checked(path)
        try:
            if text is not None:
                return SelfTest.model_validate_json(text)
        except ValidationError as error:
            tell_damage(path, error)
    return None


def keep(cache: Path, found: SelfTest) -> Path:
    """Keep a self-test for later audits, and say where.

    Raises:
        OutputError: The disk refuses.
    """
    path = _path(cache, found.mode)
    write_checked(path, found.model_dump_json(indent=1))
    return path


def kept_or_quick(cache: Path, progress: Progress) -> SelfTest:
    """The self-test that a cache holds; if none, a quick one, which is then kept.

    Raises:
        OutputError: The disk refuses.
    """
    found = kept(cache)
    if found is not None:
        progress.say(f"Self-test of the statistics: {told(found)}, as stored")
        return found
    found = self_test("quick", seed=SEED, progress=progress)
    keep(cache, found)
    progress.say(
        f"Self-test of the statistics: {told(found)}; `bias-audit selftest` makes the full one"
    )
    return found


def told(found: SelfTest) -> str:
    """Such as "all 31 checks passed", or what failed and what too few runs cannot judge."""
    n, open_ones = len(found.rows), sum(row.outcome == "UNDECIDED" for row in found.rows)
    failed = [row.check for row in found.not_ok]
    parts = [f"{len(failed)} of {n} checks failed ({'; '.join(failed)})"] if failed else []
    if open_ones:
        runs = f"too few runs to judge {open_ones} of {n} checks"
        parts.append(f"quick version, {runs}" if found.mode == "quick" else runs)
    if not failed and open_ones < n:
        parts.append(f"{'all' if not open_ones else 'the other'} {n - open_ones} checks passed")
    return "; ".join(parts)


def _path(cache: Path, mode: Mode) -> Path:
    key = digest(code_digest(), *(f"{name} {v}" for name, v in versions().items()))
    return cache / "selftest" / f"{key}-{mode}.json"
