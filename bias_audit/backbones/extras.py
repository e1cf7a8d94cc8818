"""Libraries that only some backbones need: imported when a config names such a backbone."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_session, try_to_load_from_cache

from bias_audit.errors import BackboneError


def needed(module: str, *, extra: str, kind: str) -> Any:
    """Import a library of an extra.

    Raises:
        BackboneError: It is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackboneError(
            f"kind: {kind} needs the package {module.partition('.')[0]}, which is not installed: "
            f"pip install 'bias-audit[{extra}]'"
        ) from error


def first_line(error: Exception) -> str:
    """The class of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def reach_hub(repository: str, revision: str | None, files: tuple[str, ...]) -> None:
    """Find out within seconds whether the hub can be reached, unless a file is in its cache.

    The hub's own library tries for many minutes, file by file.

    Raises:
        Exception: It cannot be reached; which one is the library's own.
    """
    found = (try_to_load_from_cache(repository, each, revision=revision) for each in files)
    if not constants.HF_HUB_OFFLINE and not any(isinstance(path, str) for path in found):
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)


def hub_folder(repository: str) -> Path:
    """Where the hub's library keeps a repository."""
    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
