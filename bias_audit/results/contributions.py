"""What single images contribute to an audit's numbers, kept so that audits can be compared.

An entry is one analysis of one backbone: the independent units of the audit, which images form
them, and each measure's influence of every unit. It is about single images, so it stays in the
cache, in a folder that only its owner may read; results hold its name alone, which is the digest
of its content.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bias_audit.arrays import IntArray
from bias_audit.errors import OutputError
from bias_audit.files import warn_of_damage, write_atomically, writing

if TYPE_CHECKING:
    from bias_audit.statistics.inference import Measured

FOLDER = "contributions"
"""Below a cache."""
_VERSION = 2
_NAME = re.compile(r"[0-9a-f]{32}")
_SAID = "value n unit is_share trials seed_freedom choice offset hidden".split()  # noqa: SIM905
"""What JSON says of a measure; infinite trials are null there."""
Of = Literal["estimate", "lift"]
Levels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class MeasureKey:
    """Which number of an analysis."""

    quantity: str
    target: str
    layer: str
    group: Levels | None = None
    """(attribute, level) pairs of a row of a group table; None for a point of a curve."""
    of: Of = "estimate"


@dataclass(frozen=True)
class Contributions:
    """The measures of one analysis, by independent unit."""

    images: tuple[str, ...]
    """SHA-256 of each image's bytes."""
    labels: tuple[str, ...]
    """A digest of each image's labels."""
    clusters: IntArray
    """Unit of each image, 0 .. n_clusters - 1, shape (n_images,)."""
    n_clusters: int
    """The first units are clusters of images; one for each name in `seeds` follows."""
    seeds: tuple[str, ...]
    """What a seed drew, by content: two audits share what has one name."""
    measures: Mapping[MeasureKey, Measured]


def write_contributions(cache: Path, entry: Contributions) -> str:
    """Keep an entry, and say its name; the same content has the same name."""
    content = _packed(entry)
    name = _name_of(content)
    folder = cache / FOLDER
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not has_contributions(cache, name):
        write_atomically(_path(cache, name), lambda file: file.write(content))
    return name


def read_contributions(cache: Path, name: str) -> Contributions | None:
    """The entry of that name; None if there is none, or if it is damaged."""
    content = _content(cache, name)
    if content is None:
        return None
    try:
        return _unpacked(content)
    except (OutputError, ValueError, KeyError, TypeError, IndexError, OSError, EOFError):
        return None  # another release wrote it


def has_contributions(cache: Path, name: str) -> bool:
    """Whether the entry of that name is there and undamaged."""
    return _content(cache, name) is not None


def _content(cache: Path, name: str) -> bytes | None:
    if not _NAME.fullmatch(name):
        return None
    try:
        content = _path(cache, name).read_bytes()
    except OSError:
        return None
    if _name_of(content) != name:
        warn_of_damage(_path(cache, name), "its content is not what its name says")
        return None
    return content


def _path(cache: Path, name: str) -> Path:
    return cache / FOLDER / f"{name}.npz"


def _name_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _packed(entry: Contributions) -> bytes:
    measures = list(entry.measures.values())
    head = {
        "version": _VERSION,
        "n_clusters": entry.n_clusters,
        "seeds": entry.seeds,
        "labels": entry.labels,
        "measures": [
            {"key": [key.quantity, key.target, key.layer, key.group, key.of]}
            | {name: getattr(measure, name) for name in _SAID}
            | ({} if np.isfinite(measure.trials) else {"trials": None})
            for key, measure in entry.measures.items()
        ],
    }
    n_units = entry.n_clusters + len(entry.seeds)
    influence = np.zeros((len(measures), n_units), dtype=np.float32)
    weight = np.zeros((len(measures), entry.n_clusters), dtype=np.float32)
    for place, measure in enumerate(measures):
        influence[place], weight[place] = measure.influence, measure.weight
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        head=np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
        images=np.array([bytes.fromhex(sha) for sha in entry.images], dtype="V32"),
        clusters=entry.clusters.astype(np.int64),
        influence=influence,
        weight=weight,
    )
    return buffer.getvalue()


def _unpacked(content: bytes) -> Contributions:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        head = json.loads(stored["head"].tobytes())
        images, clusters = stored["images"], stored["clusters"]
        influence, weight = (stored[name].astype(np.float64) for name in ("influence", "weight"))
    if head["version"] != _VERSION:
        raise OutputError(f"expected version {_VERSION} of an entry, got {head['version']}")
    from bias_audit.statistics.inference import Measured  # noqa: PLC0415  loads scipy

    return Contributions(
        images=tuple(image.tobytes().hex() for image in images),
        labels=tuple(head["labels"]),
        clusters=clusters,
        n_clusters=head["n_clusters"],
        seeds=tuple(head["seeds"]),
        measures={
            _key_of(said): Measured(
                influence=influence[place], weight=weight[place], **_said(said)
            )
            for place, said in enumerate(head["measures"])
        },
    )


def _key_of(said: Mapping[str, Any]) -> MeasureKey:
    quantity, target, layer, group, of = said["key"]
    levels = None if group is None else tuple((name, level) for name, level in group)
    return MeasureKey(quantity, target, layer, levels, of)


def _said(said: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: said[name] for name in _SAID}
    return known | ({"trials": np.inf} if said["trials"] is None else {})
