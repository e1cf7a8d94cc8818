"""Files of weights that may come from anywhere: read without running any code of theirs."""

from __future__ import annotations

import collections
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from bias_audit.config.catalog import first_names
from bias_audit.contents import recognise
from bias_audit.deferred import torch
from bias_audit.errors import BackboneError

if TYPE_CHECKING:
    from torch import Tensor

Nests: TypeAlias = "dict[str, dict[str, Tensor]]"
"""The tensors of every level of a file that has some, by its key, with dots between levels."""

_DEEPEST: Final = 8
_SAFETENSORS: Final = "safetensors file"
_PYTORCH: Final = "PyTorch file"
_LEGACY: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""How files of PyTorch before 1.6 begin."""


def read_tensors(path: Path) -> tuple[Nests, str]:
    """Read the tensors of a file, and its format in words.

    The content of the file, not its name, says what it is. Settings that trainers save beside
    weights (argparse, paths, OmegaConf, ...) are passed over; a class that is not on the list is
    refused, and nothing of the file is run.

    Raises:
        BackboneError: The file is missing, damaged, of another kind, or asks to run code.
    """
    refuse_missing(path)
    nests: Nests = {}
    try:
        kind = kind_of(path)
        if kind == _SAFETENSORS:
            from safetensors.torch import load_file  # noqa: PLC0415  loads torch

            nests = {"": tensors} if (tensors := load_file(path)) else {}
        elif kind == _PYTORCH:
            # the stream, not the path, whose ending the library would go by
            with _allowing(), path.open("rb") as stream, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about protocols and storages of older versions
                loaded = torch.load(stream, map_location="cpu", weights_only=True)
            nests = dict(_nests(loaded, set()))
    except OSError as error:
        raise BackboneError(f"weights file {path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # what a reader raises on arbitrary bytes is not bounded
        raise BackboneError(f"weights file {path}: {_unreadable(path, error)}") from error
    if not nests:
        got = "no tensor in it" if kind in {_SAFETENSORS, _PYTORCH} else kind
        raise BackboneError(
            f"weights file {path}: expected a safetensors file or what torch.save wrote, got {got}"
        )
    return nests, kind


def refuse_missing(path: Path) -> None:
    """Raise BackboneError unless there is a regular file."""
    if path.is_file():
        return
    if path.is_dir():
        found = "a folder; name the file of weights in it"
    elif path.exists():
        found = "no regular file"
    else:
        found = "not found, the link leads nowhere" if path.is_symlink() else "not found"
    raise BackboneError(f"weights file {path}: {found}")


def kind_of(path: Path) -> str:
    """What a file is, by its content."""
    with path.open("rb") as stream:
        start = stream.read(1024)
    if start.startswith(b"PK"):
        return _kind_of_archive(path)
    header = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{":
        is_whole = header <= path.stat().st_size
        return _SAFETENSORS if is_whole else f"a part of a {_SAFETENSORS}: it was not copied whole"
    if start.startswith(_LEGACY):
        return _PYTORCH
    if b'"weight_map"' in start:
        return "the index of weights in several files: join them first"
    found = recognise(start)
    return found.words if found else "neither of them" if start else "an empty file"


def _kind_of_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            is_stored = all(part.compress_type == zipfile.ZIP_STORED for part in archive.filelist)
    except zipfile.BadZipFile:
        return "a part of such a file or of a ZIP archive: it was not copied whole"
    ends = {name.rpartition("/")[2] for name in names}
    if any("/code/" in name for name in names) or "constants.pkl" in ends:
        return "a TorchScript archive: save the state_dict of its module"
    if "data.pkl" in ends:
        return _PYTORCH if is_stored else "a ZIP archive with compressed parts: save it again"
    if any(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz), as JAX and Flax save"
    if "model.weights.h5" in ends:
        return "a Keras archive"
    return "a ZIP archive of other files: unpack it first"


def _unreadable(path: Path, error: Exception) -> str:
    """Why a file of the right kind cannot be read, without the words of the library."""
    if "Unsupported operand" in str(error):
        return (
            "written with another pickle protocol than torch.save's own; save it again without "
            "pickle_protocol, or as a safetensors file"
        )
    # torch raises pickle.UnpicklingError, which may not be imported.
    is_refused = type(error).__name__ == "UnpicklingError"
    if is_refused and (names := _refused_names(path, error)):
        return (
            f"expected tensors and plain settings, got also {first_names(names)}, and to open "
            "those could run code; save the state_dict alone, or as a safetensors file"
        )
    return "not a readable weights file: it is damaged or was not copied whole"


def _refused_names(path: Path, error: Exception) -> list[str]:
    try:
        with _allowing(), path.open("rb") as stream:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(stream)
    except Exception:  # noqa: BLE001  older files are not archives; the message names one
        names = []
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        return []  # damaged names of what is allowed
    names.sort(key=lambda name: (name.startswith("torch."), name))  # its own say most
    return names or re.findall(r"GLOBAL ([\w.]+)", str(error)) or ["an object of its own"]


class _Passed:
    """Stands for a setting that a trainer saved; takes everything and keeps nothing."""

    def __init__(self, *_args: object, **_named: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...


class _Mapping:
    """Stands for a dictionary of a trainer's own class; a plain one takes its place."""

    def __new__(cls, *_args: object, **_named: object) -> Any:
        return collections.OrderedDict()


class _List:
    """Stands for a list of another class; a plain one takes its place."""

    def __new__(cls, *_args: object, **_named: object) -> Any:
        return []


def _array(*_args: object) -> Any:
    """An array that its state has yet to fill; the size that the file names is not heeded."""
    return np.empty(0)


_SETTINGS: Final = (
    *"""
    argparse.Namespace types.SimpleNamespace typing.Any functools.partial fractions.Fraction
    inspect._empty uuid.UUID decimal.Decimal datetime.date datetime.datetime datetime.time
    datetime.timedelta datetime.timezone builtins.bool builtins.bytes builtins.dict builtins.float
    builtins.frozenset builtins.int builtins.list builtins.range builtins.slice builtins.str
    builtins.tuple omegaconf.base.ContainerMetadata omegaconf.base.Metadata omegaconf.base.SCMode
    omegaconf.dictconfig.DictConfig omegaconf.listconfig.ListConfig omegaconf.nodes.AnyNode
    omegaconf.nodes.BooleanNode omegaconf.nodes.BytesNode omegaconf.nodes.EnumNode
    omegaconf.nodes.FloatNode omegaconf.nodes.IntegerNode omegaconf.nodes.PathNode
    omegaconf.nodes.StringNode omegaconf.nodes.ValueNode
    ml_collections.config_dict.config_dict.ConfigDict
    ml_collections.config_dict.config_dict.FieldReference
    mmengine.logging.history_buffer.HistoryBuffer mmengine.config.config.Config
    mmcv.utils.config.Config transformers.training_args.TrainingArguments
    transformers.training_args.OptimizerNames transformers.trainer_utils.HubStrategy
    transformers.trainer_utils.IntervalStrategy transformers.trainer_utils.SaveStrategy
    transformers.trainer_utils.SchedulerType
    pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint
    pytorch_lightning.callbacks.early_stopping.EarlyStopping
    lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint
    lightning.pytorch.callbacks.early_stopping.EarlyStopping
    torch.torch_version.TorchVersion torch.nn.modules.normalization.LayerNorm
    torch.nn.modules.normalization.GroupNorm torch.nn.modules.batchnorm.BatchNorm1d
    torch.nn.modules.batchnorm.BatchNorm2d torch.nn.modules.batchnorm.BatchNorm3d
    """.split(),  # noqa: SIM905
    *(
        f"pathlib.{local}{kind}Path"
        for local in ("", "_local.")
        for kind in ("", "Pure", "Posix", "Windows", "PurePosix", "PureWindows")
    ),
    *(f"numpy.{kind.__name__}" for kind in {*np.sctypeDict.values()}),
)
_MAPPINGS: Final = """
    collections.defaultdict addict.addict.Dict box.box.Box detectron2.config.config.CfgNode
    easydict.EasyDict fvcore.common.config.CfgNode lightning.fabric.utilities.data.AttributeDict
    lightning.pytorch.utilities.parsing.AttributeDict
    lightning_fabric.utilities.data.AttributeDict mmcv.utils.config.ConfigDict
    mmengine.config.config.ConfigDict munch.Munch
    pytorch_lightning.utilities.parsing.AttributeDict yacs.config.CfgNode
""".split()  # noqa: SIM905


def _allowing() -> AbstractContextManager[None]:
    """What a file may contain beside tensors, with what is built in its place.

    Arrays and scalars of NumPy are the only classes that are built themselves.
    """
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    arrays = [
        (made, f"{package}.multiarray.{name}")
        for made, name in ((multiarray.scalar, "scalar"), (_array, "_reconstruct"))
        for package in ("numpy.core", "numpy._core")
    ]
    of_torch = (
        f"{getattr(getattr(module, name), '__module__', module.__name__)}.{name}"
        for module in (
            torch.optim,
            torch.optim.lr_scheduler,
            torch.nn.modules.activation,
            torch.nn.modules.loss,
        )
        for name in module.__all__
    )
    allowed: list[Any] = [
        *((_Passed, name) for name in (*_SETTINGS, *of_torch)),
        *((_Mapping, name) for name in _MAPPINGS),
        (_List, "collections.deque"),
        *arrays,
        (np.ndarray, "numpy.ndarray"),
        (np.dtype, "numpy.dtype"),
        *(getattr(np.dtypes, name) for name in np.dtypes.__all__),
    ]
    return torch.serialization.safe_globals(allowed)


def _nests(
    value: Any, seen: set[int], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Key and tensors of every level of dictionaries and lists; loops are visited once."""
    if len(path) > _DEEPEST or id(value) in seen or not isinstance(value, dict | list | tuple):
        return
    seen.add(id(value))
    items = dict(value if isinstance(value, dict) else enumerate(value))
    tensors = {}
    for name, item in items.items():
        if isinstance(item, np.ndarray) and item.dtype.kind in "fiu":
            tensors[str(name)] = torch.from_numpy(np.array(item))
        elif isinstance(item, torch.Tensor) and item.layout == torch.strided and not item.is_meta:
            tensors[str(name)] = item.detach()
    if tensors:
        yield ".".join(path), tensors
    for name, item in items.items():
        yield from _nests(item, seen, (*path, str(name)))
