"""Intermediate results on disk, so that an interrupted analysis goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from bias_audit.analyses.analysis import Head, Member, Network, Outcome, Subject
from bias_audit.analyses.probing.separability import Units
from bias_audit.audit.plan import PlannedAnalysis
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.errors import OutputError
from bias_audit.files import digest, read_arrays, tell_damage, write_arrays, writing
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.claims import refuse_overclaims
from bias_audit.results.contributions import Contributions, has_contributions, write_contributions
from bias_audit.results.store import audit_bytes
from bias_audit.software import software_of

Arrays = Mapping[str, npt.NDArray[Any]]


class DiskCache:
    """Arrays by key, one file each, in a folder only its owner may read.

    What is kept here may be about single images; it never enters a run folder.
    """

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is made on the first `put`."""
        self.folder = folder

    def get(self, key: str) -> dict[str, npt.NDArray[Any]] | None:
        """What was put under `key`; None if nothing was, or if the file is damaged."""
        return read_arrays(self._path(key))

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep arrays under `key`, atomically.

        Raises:
            OutputError: The disk refuses.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_arrays(self._path(key), arrays)

    def _path(self, key: str) -> Path:
        return self.folder / f"{digest(key)}.npz"


_RESULT = "__result__"


@dataclass(frozen=True)
class KeptAnalysis:
    """What an earlier audit found, under the same circumstances."""

    result: AnalysisResult
    arrays: dict[str, npt.NDArray[Any]]


class KeptAnalyses:
    """The folder they are in."""

    def __init__(self, cache: Path) -> None:
        """Use the cache of an audit, `output.cache`."""
        self._cache = cache
        self._entries = DiskCache(cache / "analyses")

    def get(self, key: str) -> KeptAnalysis | None:
        """What was kept under `key`; None if nothing was, or if it is damaged.

        Nor without what single images contribute: a comparison with this audit needs that.
        """
        arrays = self._entries.get(key)
        if arrays is None or _RESULT not in arrays:
            return None
        try:
            result = AnalysisResult.model_validate_json(arrays.pop(_RESULT).tobytes())
        except ValidationError as error:
            tell_damage(self._cache / "analyses", error)
            return None
        named = result.contributions
        if named is not None and not has_contributions(self._cache, named):
            return None
        return KeptAnalysis(result, arrays)

    def put(self, key: str, found: KeptAnalysis) -> None:
        """Keep a result with its arrays, atomically.

        Raises:
            OutputError: The disk refuses.
        """
        raw = np.frombuffer(found.result.model_dump_json().encode(), dtype=np.uint8)
        self._entries.put(key, {**found.arrays, _RESULT: raw})


def analysis_key(planned: PlannedAnalysis, subject: Subject, config: AuditConfig) -> str:
    """Digest of everything that the result of an analysis depends on."""
    return digest(*_of_planned(planned), *_of_subject(subject, config))


def joint_key(planned: PlannedAnalysis, members: Sequence[Member], config: AuditConfig) -> str:
    """The same of an analysis of all backbones together, which may read what was found on each."""
    return digest(
        *_of_planned(planned),
        *(digest(*_of_subject(member.subject, config)) for member in members),
        *(
            result.model_dump_json(exclude={"seconds", "arrays", "contributions"})
            for member in members
            for result in member.results
        ),
    )


def _of_planned(planned: PlannedAnalysis) -> Iterator[str]:
    yield planned.kind
    yield software_of(f"bias_audit.analyses.methods.{planned.kind}").digest
    yield software_of(refuse_overclaims.__module__).digest  # what it refuses now was never kept
    yield planned.params.model_dump_json()
    yield from (_of_run(folder) for folder in planned.analysis.reads(planned.params))


def _of_subject(subject: Subject, config: AuditConfig) -> tuple[str, ...]:
    return (
        subject.name,
        subject.architecture,
        subject.weights_sha256,
        str(subject.seed),
        str(subject.shuffles),
        str(subject.refits),
        subject.multiplicity.model_dump_json(),
        subject.small_groups.model_dump_json(),
        subject.activations.fingerprint,
        json.dumps([subject.activations.layers, config.activations.positions]),
        faces_digest(subject.faces),
        "" if subject.likeness is None else subject.likeness.digest,
        *(digest(c.kind, c.name, c.fingerprint) for c in subject.controls),
        *_of_head(subject.head, subject.without_head),
        *_of_training(subject),
        *_of_network(subject.network),
    )


def faces_digest(faces: Faces) -> str:
    """Of the images in their order, their labels, and what else is known of them."""
    table = faces.table
    return digest(
        table.name,
        *faces.pixels,
        repr([(attribute.name, attribute.levels) for attribute in table.attributes]),
        table.codes.tobytes(),
        faces.clusters.tobytes(),
        faces.found.tobytes(),
        repr((table.identities, table.splits, table.label_origin, table.cautions)),
        repr(sorted(table.disagreement.items())),
    )


def _of_run(folder: Path) -> str:
    try:
        return digest(audit_bytes(folder))
    except OutputError:
        return ""  # the analysis, which needs it, will say so


def _of_head(head: Head | None, without_head: str) -> Iterator[str]:
    if head is None:
        yield without_head
        return
    yield head.name
    for array in (head.weight, head.bias, head.reference):
        yield "" if array is None else digest(np.ascontiguousarray(array).tobytes())


def _of_network(network: Network | None) -> Iterator[str]:
    if network is not None:
        yield network.fingerprint
        yield digest(network.data.model_dump_json(), str(network.without_classes))


def _of_training(subject: Subject) -> Iterator[str]:
    if subject.training is None:
        return
    yield str(subject.training.n_steps)
    for step in subject.training.steps:
        yield digest(step.name, step.activations.fingerprint, *_of_head(step.head, ""))


def keep_contributions(outcome: Outcome, subject: Subject, cache: Path) -> str | None:
    """Write what an analysis measured, unit by unit, into the cache.

    Args:
        outcome: Of the analysis.
        subject: That it looked at.
        cache: The audit's cache folder.

    Returns:
        The name of the entry; None if the analysis has nothing to compare image by image.

    Raises:
        OutputError: The disk refuses.
    """
    if not outcome.measures:
        return None
    units = Units.of(subject)
    return write_contributions(
        cache,
        Contributions(
            images=subject.faces.sha256,
            labels=_labels(subject),
            clusters=units.clusters,
            n_clusters=units.n_clusters,
            seeds=_seeds(subject, units.n_seeds),
            measures=outcome.measures,
        ),
    )


def _labels(subject: Subject) -> tuple[str, ...]:
    table = subject.faces.table
    return tuple(
        digest(
            json.dumps(
                {a.name: a.levels[c] for a, c in zip(table.attributes, row, strict=True)},
                sort_keys=True,
            )
        )[:12]
        for row in table.codes
    )


def _seeds(subject: Subject, n_seeds: int) -> tuple[str, ...]:
    """What stands at each seed's place, by content: the n-th draw of every control with several.

    Two audits with the same draws, such as random weights of one architecture seen through the
    same images, share them; all else is independent.
    """
    by_kind: dict[str, list[str]] = {}
    for control in subject.controls:
        by_kind.setdefault(control.kind, []).append(control.fingerprint)
    drawn = [prints for prints in by_kind.values() if len(prints) > 1]
    return tuple(
        digest(str(place), *(prints[place] for prints in drawn if place < len(prints)))
        for place in range(n_seeds)
    )
