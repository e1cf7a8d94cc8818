"""The checks of data sources and of backbone sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch

from bias_audit.backbones.loading import Backbone, BackboneSource, Built, Given, load_backbone
from bias_audit.backbones.pooling import units
from bias_audit.config.catalog import BACKBONE_SOURCES, DATA_SOURCES
from bias_audit.config.schema import Sampling, Strict
from bias_audit.data.faces import Faces, FaceSource, FaceTable
from bias_audit.data.sampling import prepare
from bias_audit.errors import AuditError, BackboneError, DataError
from bias_audit.progress import Silent
from bias_audit.testing.checking import NOTHING, declared_params, expect, with_nothing_there

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_FEW: Final = 2
"""Images of each intersection that are drawn."""
_ROUNDING: Final = 1e-3


def check_data_source(plugin: FaceSource[Any], params: Mapping[str, Any] = _NOTHING) -> None:
    """Check that a data source lists faces as an audit needs them.

    Give parameters that point to a few images of your own making. The source reads them twice,
    alike; its table has one label of every declared attribute for each image, and words for where
    labels come from and what the licence is; its images open. Where nothing is at one of its
    paths, it raises a `DataError` that names the place.

    Raises:
        AssertionError: Something else came.
    """
    valid = declared_params(plugin, DATA_SOURCES, params)
    table = plugin.read(valid)
    expect(isinstance(table, FaceTable), f"read: expected a FaceTable, got {table!r}")
    _check_table(table)
    again = plugin.read(valid)
    same = again.references == table.references and np.array_equal(again.codes, table.codes)
    expect(same, "read: expected the same faces in the same order when read twice, got others")
    if plugin.declares is not None:
        said = plugin.declares(valid)
        expect(
            said == table.attributes,
            f"declares: expected the attributes that read gives, {table.attributes}, got {said}",
        )
    sampling = Sampling(max_per_intersection=_FEW)
    faces = prepare(table, sampling, workers=1, seed=0, cache=None, progress=Silent())
    expect(isinstance(faces, Faces) and len(faces) > 0, "expected images that open, got none")
    _check_paths(valid, plugin.read, DataError)


def _check_table(table: FaceTable) -> None:
    n, attributes = len(table.references), table.attributes
    expect(n > 0, "references: expected at least one image, got none; give params that have some")
    names = [attribute.name for attribute in attributes]
    expect(bool(names) and len({*names}) == len(names), f"attributes: expected names, got {names}")
    for each in attributes:
        expect(
            len({*each.levels}) == len(each.levels) > 0,
            f"attribute {each.name}: expected different levels, got {each.levels}",
        )
    codes, shape = table.codes, (n, len(attributes))
    is_whole = isinstance(codes, np.ndarray) and codes.dtype == np.int64
    expect(
        is_whole and codes.shape == shape,
        f"codes: expected an int64 array of shape {shape} (images, attributes), got "
        f"{getattr(codes, 'dtype', type(codes).__name__)} of shape {np.shape(codes)}",
    )
    sizes = np.array([len(each.levels) for each in attributes])
    expect(
        bool(((codes >= 0) & (codes < sizes)).all()),
        "codes: expected the index of a level of each attribute, got numbers out of range",
    )
    for name, values in (("identities", table.identities), ("splits", table.splits)):
        expect(
            values is None or len(values) == n,
            f"{name}: expected None or one for each of {n} images, got {len(values or ())}",
        )
    for name in ("name", "label_origin", "licence"):
        expect(bool(getattr(table, name).strip()), f"{name}: expected words, got none")


def check_backbone_source(
    plugin: BackboneSource[Any], params: Mapping[str, Any] = _NOTHING, *, pretrained: bool = True
) -> None:
    """Check that a backbone source builds a network that an audit can look into.

    Give parameters of a small network. Every backbone that they name is built twice, with the
    same weights and layers, under the name that `called` says; without weights it is built, too;
    an image of numbers passes through it, with finite activations at every audited layer that
    depend on the image alone. Of a source of given activations, which has no network, the first
    row of every layer is read instead. Where nothing is at one of its paths, the source raises a
    `BackboneError` that names the place. `pretrained=False` leaves out the weights where they
    would have to be fetched.

    Raises:
        AssertionError: Something else came.
    """
    valid = declared_params(plugin, BACKBONE_SOURCES, params)
    steps = plugin.steps(valid)
    expect(
        bool(steps) and all(isinstance(each, plugin.params_type) for each in steps),
        f"steps: expected the parameters of one backbone or more, got {steps!r}",
    )
    for own in steps:
        if plugin.given is None:
            plain = plugin.build(own, False)  # noqa: FBT003  the signature of every source
            expect(isinstance(plain, Built), f"build: expected an object of Built, got {plain!r}")
        one, two = (load_backbone("checked", plugin, own, pretrained=pretrained) for _ in range(2))
        if pretrained:
            expect(
                one.fingerprint == two.fingerprint,
                "build: expected the same weights when built twice, got others",
            )
        expect(one.layers == two.layers, f"expected the same layers, got {two.layers}")
        called = plugin.called(own)
        expect(
            called == one.record.name,
            f"called: expected the name of the backbone, {one.record.name!r}, got {called!r}",
        )
        missing = [path for path in plugin.files(own) if not path.is_file()]
        expect(not missing, f"files: expected files that are there, got {missing}")
        if one.given is None:
            _check_passes(one)
        else:
            _check_given(one, one.given)
    _check_paths(valid, lambda p: [plugin.build(s, True) for s in plugin.steps(p)], BackboneError)  # noqa: FBT003


def _check_passes(backbone: Backbone) -> None:
    """Two images of numbers pass together, then each alone."""
    size = backbone.preprocessing.height, backbone.preprocessing.width
    images = torch.from_numpy(
        np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    )
    together, *alone = (_activations(backbone, part) for part in (images, images[:1], images[1:]))
    for layer, values in together.items():
        expect(np.isfinite(values).all(), f"layer {layer}: expected finite activations")
        each = np.concatenate([part[layer] for part in alone])
        scale = float(np.abs(values).max())
        expect(
            np.allclose(values, each, rtol=_ROUNDING, atol=_ROUNDING * scale),
            f"layer {layer}: expected activations that depend on the image alone, got others when "
            "images pass together",
        )


def _check_given(backbone: Backbone, given: Given) -> None:
    """The first row of every layer; `values` itself refuses what is not finite."""
    for layer in backbone.record.layers:
        found = given.values(layer.name, "output", None, np.arange(1))
        expect(
            found.dtype == np.float32 and found.shape == (1, layer.n_units),
            f"layer {layer.name}: expected float32 of shape (1, {layer.n_units}), got "
            f"{found.dtype} of shape {found.shape}",
        )


def _activations(backbone: Backbone, images: torch.Tensor) -> dict[str, Any]:
    """Of every audited layer, shape (n_images, n_units)."""
    found: dict[str, Any] = {}
    handles = [
        backbone.module.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name, shape=shape: found.update(
                {name: units(output, shape).numpy()}
            )
        )
        for name, shape in backbone.shapes.items()
    ]
    try:
        with torch.inference_mode():
            backbone.module(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _check_paths(params: Strict, use: Callable[[Any], object], expected: type[AuditError]) -> None:
    for name, wrong in with_nothing_there(params):
        wanted = f"{name}: expected {expected.__name__} that names {NOTHING}, where nothing is"
        try:
            use(wrong)
        except expected as error:
            expect(str(NOTHING) in str(error), f"{wanted}, got: {error}")
        except Exception as error:
            raise AssertionError(f"{wanted}, got {type(error).__name__}: {error}") from error
        else:
            raise AssertionError(f"{wanted}, got no error")
