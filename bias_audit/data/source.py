"""What a data source plugin is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from bias_audit.config.schema import Strict
from bias_audit.data.faces import FaceTable
from bias_audit.groups import Attribute

P = TypeVar("P", bound=Strict)


@dataclass(frozen=True)
class FaceSource(Generic[P]):
    """A kind of face dataset."""

    title: str
    params_type: type[P]
    read: Callable[[P], FaceTable]
    """Reads labels and references, opens no image; raises DataError when nothing can be read."""
    declares: Callable[[P], tuple[Attribute, ...]] | None = None
    """The attributes that `read` gives, where they are known without reading anything."""
