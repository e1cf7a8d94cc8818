"""Results of analyses that are kept, so that only what changed is computed again.

An entry is found by the digest of everything the analysis depends on: activations, labels,
controls, settings, and the code and libraries behind it. It holds aggregates alone, as a run
folder does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from bias_audit.analyses.analysis import Head, Member, Network, Subject
from bias_audit.audit.cache import DiskCache
from bias_audit.audit.plan import PlannedAnalysis
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.errors import OutputError
from bias_audit.files import digest, tell_damage
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.claims import refuse_overclaims
from bias_audit.results.contributions import has_contributions
from bias_audit.results.store import audit_bytes
from bias_audit.software import software_of

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
