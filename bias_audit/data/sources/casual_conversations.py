"""Casual Conversations v2 (Porgali et al. 2023): frames of videos of paid, consenting people."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field

from bias_audit.config.schema import UserPath
from bias_audit.data.annotations import face_table, listed
from bias_audit.data.answers import AnswerReader, Answers, among
from bias_audit.data.faces import SUFFIXES, Exclusion, FaceSource, FaceTable
from bias_audit.data.finding import ImageFinder, Linked, existing_folder
from bias_audit.data.rows import PLACE, Row
from bias_audit.errors import DataError
from bias_audit.groups import Attribute

ATTRIBUTES: Final = {
    "age": Answers(edges=[18, 30, 40, 50, 60]),
    "gender": Answers(
        levels=["cis woman", "cis man", "transgender woman", "transgender man", "non-binary"],
        several=True,
    ),
    "monk": Answers(scale="monk"),
    "fitzpatrick": Answers(scale="fitzpatrick"),
}
"""Age and gender are provided by the people themselves, skin tones by annotators."""
_FIELDS = {"monk": ("monk_skin_tone", "scale"), "fitzpatrick": ("fitzpatrick_skin_tone", "type")}
_NAME = re.compile(r"[^/\\\0]+(?<!\.)")
"""A subject whose folder is in the root."""
_FILE = "CasualConversationsV2.json"


class Params(Linked):
    """Where the annotations and the frames lie, and what of them to read."""

    root: UserPath = Field(
        description=f"Folder with {_FILE} (or in annotations/), and with folders of frames named "
        "by subject, directly or one level deeper."
    )
    attributes: Annotated[tuple[str, ...], among(ATTRIBUTES)] = Field(
        default=("age", "gender"), min_length=1, description=f"Of {', '.join(ATTRIBUTES)}."
    )
    per_person: int = Field(default=5, ge=1, description="Frames used of each person, at most.")


def read(params: Params) -> FaceTable:
    """Read the annotations and list the frames; no image is opened.

    Raises:
        DataError: The annotations are not there, or cannot be read.
    """
    root = existing_folder(params.root, expected=f"{_FILE} and folders of frames")
    readers = {name: AnswerReader(name, ATTRIBUTES[name], ["18"]) for name in params.attributes}
    finder = ImageFinder(root, follow_links=params.follow_links)
    rows: list[Row | Exclusion] = []
    for person, entry in _people(root).items():
        frames = [
            path
            for pattern in (f"{escape(person)}/*", f"*/{escape(person)}/*")
            for path in (sorted(root.glob(pattern)) if _NAME.fullmatch(person) else ())
            if path.suffix.lower() in SUFFIXES
        ]
        if not frames:
            detail = "expected a folder of frames of this subject, got none"
            rows.append(Exclusion(f"{_FILE}: a subject", "missing file", detail))
        spread = np.linspace(0, len(frames) - 1, min(len(frames), params.per_person))
        labels = {name: reader.read(_text(entry, name)) for name, reader in readers.items()}
        for place in spread.astype(int):
            path = frames[place].relative_to(root).as_posix()
            rows.append({"path": path, "person": person, PLACE: path, **labels})
    entries = [*listed(rows, {}, finder, readers, path_column="path", identity_column="person")]
    return face_table(
        entries,
        declared(params),
        name="Casual Conversations v2",
        label_origin="self-provided age and gender of paid, consenting participants; skin "
        "tones by annotators",
        licence="Casual Conversations v2 agreement: evaluation only (Porgali et al. 2023)",
        cautions=(
            "For evaluation only: its agreement forbids training, and to infer who is shown.",
            "Frames of one video are alike: intervals count each person once.",
        ),
        notices=[
            *finder.notices(),
            *(notice for reader in readers.values() for notice in reader.notices()),
            f"at most {params.per_person} frames of each person, evenly from all",
        ],
        answers=readers,
    )


def _people(root: Path) -> dict[str, Mapping[str, Any]]:
    """The first annotation of each subject, in the order of the file."""
    files = (root / _FILE, root / "annotations" / _FILE)
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        raise DataError(f"{root}: expected {_FILE} in it, got none")
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: expected readable JSON, got damaged text") from error
    entries = content.values() if isinstance(content, dict) else content
    found: dict[str, Mapping[str, Any]] = {}
    for entry in entries if isinstance(entries, list) or isinstance(content, dict) else ():
        if isinstance(entry, dict) and str(entry.get("subject_id", "")).strip():
            found.setdefault(str(entry["subject_id"]), entry)
    if not found:
        raise DataError(f"{file}: expected a list of entries with subject_id, got none")
    return found


def _text(entry: Mapping[str, Any], name: str) -> str:
    field, inner = _FIELDS.get(name, (name, ""))
    value = entry.get(field)
    value = value.get(inner, value) if inner and isinstance(value, dict) else value
    return "" if value is None else str(value)


def declared(params: Params) -> tuple[Attribute, ...]:
    """The chosen attributes."""
    return tuple(ATTRIBUTES[name].attribute(name) for name in params.attributes)


PLUGIN = FaceSource(
    title="Casual Conversations v2", params_type=Params, read=read, declares=declared
)
