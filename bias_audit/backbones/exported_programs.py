"""Files of torch.export (.pt2), checked before they are opened: opening one can run its code.

The library unpickles samples, constants and custom objects, links compiled code, evaluates the
sizes of symbols as Python expressions and calls any function of torch that a graph names. A file
with pickles of more than tensors, compiled code, other expressions than sizes, or other functions
than PyTorch's operators on tensors is refused here, and what was checked is what is opened.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import torch
from torch import Tensor, fx

from bias_audit.backbones.extras import first_line
from bias_audit.backbones.graphs import GraphInput, ReadGraph
from bias_audit.config.catalog import first_names
from bias_audit.contents import other_content
from bias_audit.errors import BackboneError

_OPERATOR: Final = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+\.\w+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|ge|gt|le|lt|getitem)"
    r"|torch\.sym_(int|float|max|min|not|ite)"
)
_SYMBOL: Final = re.compile(
    r"[suz]\w{0,3}\d+|True|False|positive|nonnegative|integer"
    r"|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|Eq|Ne|Ge|Gt|Le|Lt|Integer|Add|Mul|Pow"
)
_DECLARED: Final = re.compile(r"Symbol\('([suz]\w{0,3}\d+)'")
_LONGEST: Final = 300
"""Characters of the expression of a size."""
_PLAIN_TREES: Final = {None, "builtins.tuple", "builtins.list", "builtins.dict"}
_PICKLES: Final = re.compile(
    r"(weights|constants)/[^/]*\.pt|custom_obj_|opaque_obj_|/(aotinductor|executorch)/"
)
_IMAGES: Final = 4
_ACTIVATIONS: Final = ("relu", "gelu", "silu", "hardswish", "hardtanh", "cat")


def read_exported_program(path: Path) -> ReadGraph:
    """Read a .pt2 file that `torch.export.save` wrote.

    Raises:
        BackboneError: It is damaged, could run code, or takes something other than images.
    """
    checked = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(checked, "w") as copy:
            refused = list(_refused(archive))
            for name in {} if refused else dict.fromkeys(archive.namelist()):
                copy.writestr(name, archive.read(name))
    except BackboneError:
        raise
    except Exception as error:  # what a reader raises on arbitrary bytes is not bounded
        why = other_content(path, b"PK") or first_line(error)
        raise BackboneError(f"{path}: no readable file of torch.export ({why})") from error
    if refused:
        raise BackboneError(
            f"{path}: expected weights and PyTorch's operators alone, got also "
            f"{first_names(refused)}, and to open those could run code; export the module again "
            "with torch.export.save, without compiling it"
        )
    try:
        checked.seek(0)
        program = torch.export.load(checked)
    except Exception as error:
        raise BackboneError(
            f"{path}: torch.export cannot read this file ({first_line(error)}); export it with "
            f"the PyTorch that is installed here ({torch.__version__})"
        ) from error
    return _read(program, path)


def _refused(archive: zipfile.ZipFile) -> Iterator[str]:
    """What in an archive could run code, or is not known to be harmless."""
    names = archive.namelist()
    models = [name for name in names if re.fullmatch(r"[^/]+/models/[^/]+\.json", name)]
    if [PurePosixPath(name).name for name in models] != ["model.json"]:
        raise BackboneError(
            f"{archive.filename}: expected what torch.export.save of PyTorch 2.8 or later writes, "
            "got a zip archive without its models/model.json; export the module again"
        )
    for name in names:
        if _PICKLES.search(name):
            yield name.partition("/")[2]
        elif "/sample_inputs/" in name:
            try:
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)
            except Exception:  # noqa: BLE001  then the library would unpickle it all the same
                yield f"objects in {name.partition('/')[2]}"
        elif name.endswith("_config.json"):
            found = json.loads(archive.read(name))
            entries = found.get("config", {}) if isinstance(found, dict) else {}
            for entry, settings in entries.items():
                path = str(settings.get("path_name", ""))
                if settings.get("use_pickle") is not False or not re.fullmatch(r"\w+", path):
                    yield f"a pickle for {entry}"
    yield from dict.fromkeys(_refused_in(json.loads(archive.read(models[0]))))


def _refused_in(value: Any) -> Iterator[str]:
    """Functions and expressions of a serialised graph, at any depth."""
    if isinstance(value, list):
        for item in value:
            yield from _refused_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "target" and isinstance(item, str) and not _OPERATOR.fullmatch(item):
                yield f"the function {item}"
            elif key == "expr_str" and not _is_size(item):
                yield f"the expression {item}"
            elif key in {"in_spec", "out_spec"} and isinstance(item, str):
                yield from (f"results of type {each}" for each in _other_trees(json.loads(item)))
            elif key == "guards_code" and item:
                continue  # conditions on inputs, in Python: never evaluated here
            else:
                yield from _refused_in(item)


def _is_size(text: object) -> bool:
    """Whether a text computes a size from symbols and numbers, and nothing else."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        return False
    text = _DECLARED.sub(r"(\1", text)
    words = re.findall(r"[^\W\d]\w*", text)
    signs = set(re.sub(r"\w", "", text))
    return all(map(_SYMBOL.fullmatch, words)) and signs <= set("+-*/%(),<>=! ")


def _other_trees(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value.get("type") not in _PLAIN_TREES:
        yield str(value.get("type"))
    children = value.get("children_spec", ()) if isinstance(value, dict) else value
    if isinstance(children, list):
        for child in children:
            yield from _other_trees(child)


class _Noting(fx.Interpreter):
    """Computes a graph and keeps some of its values."""

    def __init__(self, module: fx.GraphModule, wanted: Mapping[str, str]) -> None:
        super().__init__(module)
        self._wanted = wanted
        self.kept: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self._wanted and isinstance(result, Tensor):
            # A later operation may change it in place.
            self.kept[n.name] = result.clone()
        return result


def _read(program: Any, path: Path) -> ReadGraph:
    module, signature = program.graph_module, program.graph_signature
    tensors = {**program.state_dict, **program.constants}
    lifted = {
        spec.arg.name: tensors[spec.target]
        for spec in signature.input_specs
        if spec.target is not None
    }
    nodes = list(module.graph.nodes)
    inputs = [n for n in nodes if n.op == "placeholder" and n.name not in lifted]
    taken = _taken(inputs, path)
    values = dict(_outputs_of_modules(nodes))
    by_node = {node.name: node for node in nodes}
    result = by_node[signature.user_outputs[0]]
    given = {"": result.name, **values}
    device_of: dict[str, dict[str, Any]] = {}

    def compute(images: Tensor, names: Sequence[str]) -> Mapping[str, Tensor]:
        where = str(images.device)
        if where not in device_of:
            device_of.clear()
            device_of[where] = {n: t.detach().to(images.device) for n, t in lifted.items()}
        wanted = {given.get(name, name): name for name in names}
        noting = _Noting(module, wanted)
        arguments = [
            device_of[where].get(node.name, images) for node in nodes if node.op == "placeholder"
        ]
        with torch.no_grad():
            noting.run(*arguments)
        return {name: noting.kept[given.get(name, name)] for name in names}

    return ReadGraph(
        compute,
        taken,
        tuple(values),
        "",
        tuple(_blocks(nodes, values)),
        n_parameters=sum(tensor.numel() for tensor in program.parameters()),
        head=_head(result, lifted),
    )


def _taken(inputs: Sequence[fx.Node], path: Path) -> GraphInput:
    example = inputs[0].meta.get("val") if len(inputs) == 1 else None
    is_images = isinstance(example, Tensor) and example.ndim == _IMAGES and example.shape[1] == 3  # noqa: PLR2004
    is_number = isinstance(example, Tensor) and (
        example.is_floating_point() or example.dtype == torch.uint8
    )
    if not is_images or not is_number or not isinstance(example, Tensor):
        got = [tuple(each.meta["val"].shape) for each in inputs if "val" in each.meta]
        raise BackboneError(
            f"{path}: expected one input of images, shape (n, 3, height, width), got {got}"
        )
    count, _, height, width = (int(s) if isinstance(s, int) else None for s in example.shape)
    return GraphInput(height, width, count, dtype=example.dtype)


def _outputs_of_modules(nodes: Sequence[fx.Node]) -> Iterator[tuple[str, str]]:
    """The last node of every module, by the module's name."""
    last: dict[str, str] = {}
    for node in nodes:
        if isinstance(node.meta.get("val"), Tensor) and node.op == "call_function":
            for name in _modules_of(node):
                last.pop(name, None)
                last[name] = node.name
    yield from last.items()


def _modules_of(node: fx.Node) -> list[str]:
    """Names of the modules around a node, the outermost first; repeated calls are left out."""
    stack = node.meta.get("nn_module_stack") or {}
    return [path for path, _ in stack.values() if path and "@" not in path]


def _blocks(nodes: Sequence[fx.Node], values: Mapping[str, str]) -> Iterator[str]:
    """The innermost module around each sum of two branches, or else each activation function."""
    for wanted in (("add",), _ACTIVATIONS):
        found = [
            around[-1]
            for node in nodes
            if (around := _modules_of(node)) and _operator(node).removesuffix("_") in wanted
            if sum(_depends(argument) for argument in node.args) > 1 or wanted == _ACTIVATIONS
        ]
        if found:
            yield from (name for name in dict.fromkeys(found) if name in values)
            return


def _operator(node: fx.Node) -> str:
    return str(node.target).removeprefix("aten.").partition(".")[0]


def _depends(argument: object) -> bool:
    return isinstance(argument, fx.Node) and argument.op == "call_function"


def _head(
    result: fx.Node, lifted: Mapping[str, Tensor]
) -> tuple[str, Tensor, Tensor | None] | None:
    """The last linear layer, where the graph ends in one."""
    if _operator(result) != "linear" or not isinstance(result.args[0], fx.Node):
        return None
    names = [each.name for each in result.args[1:] if isinstance(each, fx.Node)]
    if not names or not all(name in lifted for name in names):
        return None
    weight, *bias = (lifted[name].detach().float() for name in names)
    return result.args[0].name, weight, bias[0] if bias else None
