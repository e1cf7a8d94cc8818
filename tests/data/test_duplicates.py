from __future__ import annotations

import io
import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter

from bias_audit.config.catalog import DATA_SOURCES
from bias_audit.data import duplicates
from bias_audit.data.duplicates import joined, near_duplicate_sets
from bias_audit.data.faces import FaceTable
from bias_audit.data.scan import SIDE, perceptual_hash
from bias_audit.data.sources.parametric import SHIPPED

Change = Callable[[Image.Image], Image.Image]
Seen = tuple[np.ndarray, np.ndarray, np.ndarray]


class Counted:
    def __init__(self) -> None:
        self.done = 0

    def advance(self, count: int = 1) -> None:
        self.done += count

    resume = advance


def seen(pictures: list[Image.Image]) -> Seen:
    greys = [picture.convert("L") for picture in pictures]
    reduced = [grey.resize((64, 64), Image.Resampling.LANCZOS) for grey in greys]
    return (
        np.stack([perceptual_hash(image) for image in reduced]),
        np.stack([perceptual_hash(ImageOps.mirror(image)) for image in reduced]),
        np.stack([np.asarray(g.resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for g in greys]),
    )


def sets_of(pictures: list[Image.Image]) -> np.ndarray:
    step = Counted()
    result = near_duplicate_sets(*seen(pictures), step=step)
    assert step.done == len(pictures)
    return result


def jpeg(quality: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")

    return change


def cropped(image: Image.Image) -> Image.Image:
    edge_x, edge_y = image.width // 100, image.height // 100
    return image.crop((edge_x, edge_y, image.width - edge_x, image.height - edge_y))


CHANGES: dict[str, Change] = {
    "jpeg": jpeg(30),
    "half size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "crop": cropped,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "mirror": ImageOps.mirror,
    "mirror and jpeg": lambda image: jpeg(50)(ImageOps.mirror(image)),
}


@pytest.fixture(scope="module")
def renders() -> list[Image.Image]:
    files = sorted((SHIPPED / "images").iterdir())[::12]
    return [Image.open(file).convert("RGB") for file in files]


def test_different_renders_are_never_joined(renders: list[Image.Image]) -> None:
    assert sets_of(renders).tolist() == list(range(len(renders)))


@pytest.mark.parametrize("name", CHANGES)
def test_planted_copies_are_found_and_nothing_else(name: str, renders: list[Image.Image]) -> None:
    n = len(renders)
    sets = sets_of([*renders, *(CHANGES[name](image) for image in renders)])
    assert (sets[:n] == np.arange(n)).all()
    assert (sets[n:] == np.arange(n)).mean() >= 0.95
    wrong = sets[n:][(sets[n:] != np.arange(n)) & (sets[n:] < n)]
    assert len(wrong) == 0


def test_blocks_do_not_change_the_answer(
    renders: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [*renders[:20], *(CHANGES["mirror"](image) for image in renders[:20]), *renders[:5]]
    whole = sets_of(pictures)
    monkeypatch.setattr(duplicates, "_ROWS", 7)
    monkeypatch.setattr(duplicates, "_COLUMNS", 11)
    assert sets_of(pictures).tolist() == whole.tolist()


def test_pictures_without_structure_are_not_joined() -> None:
    assert sets_of([Image.new("RGB", (64, 64), c) for c in ("red", "red", "grey")]).tolist() == [
        0,
        1,
        2,
    ]


@st.composite
def clumps(draw: st.DrawFn) -> Seen:
    """Few hashes, each with copies at any distance around the limit; few thumbnails, some flat."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, n_hashes, n_pictures = (draw(st.integers(1, most)) for most in (40, 5, 4))
    flips = rng.random((n, 256)) < rng.choice([0, 0.02, 0.09, 0.1, 0.11, 0.2], (n, 1))
    bits = rng.integers(0, 2, (n_hashes, 256))[rng.integers(0, n_hashes, n)] ^ flips
    hashes = np.packbits(bits.astype(np.uint8), axis=1).view(np.uint64)
    turned = rng.integers(0, n, n)
    mirrored = np.where(rng.random((n, 1)) < 0.5, hashes[turned], ~hashes)
    pictures = rng.integers(0, 256, (n_pictures, 8, 8))
    pictures[: draw(st.integers(0, n_pictures))] = 128
    noise = rng.integers(-80, 81, (n, 8, 8)) * rng.integers(0, 2, (n, 1, 1))
    thumbnails = pictures[rng.integers(0, n_pictures, n)] + noise
    flipped = rng.random((n, 1, 1)) < 0.3
    thumbnails = np.where(flipped, thumbnails[:, :, ::-1], thumbnails)
    return hashes, mirrored, np.clip(thumbnails, 0, 255).astype(np.uint8)


def one_by_one(hashes: np.ndarray, mirrored: np.ndarray, thumbnails: np.ndarray) -> list[int]:
    """The sets by their definition: every pair, one after the other."""
    n = len(hashes)
    grey = thumbnails.astype(np.float64)
    fine = np.array([g - gaussian_filter(g, 1) for g in grey]).reshape(n, -1)
    fine -= fine.mean(axis=1, keepdims=True)
    mirror = fine.reshape(grey.shape)[:, :, ::-1].reshape(n, -1)
    pairs = []
    for i, j in itertools.combinations(range(n), 2):
        for own, picture in ((hashes, fine), (mirrored, mirror)):
            distance = int(np.bitwise_count(own[i] ^ hashes[j]).sum(dtype=int))
            if distance <= 50 and min(fine[i].std(), fine[j].std()) >= 1:
                cosine = (
                    picture[i] @ fine[j] / np.sqrt((fine[i] ** 2).sum() * (fine[j] ** 2).sum())
                )
                pairs += [(i, j)] if cosine >= 0.73 else []
    sets: list[int] = joined(np.array(pairs, dtype=np.int64).reshape(-1, 2), n).tolist()
    return sets


@given(clumps(), st.integers(1, 9), st.integers(1, 9))
def test_sets_are_those_of_all_pairs(pictures: Seen, rows: int, columns: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(duplicates, "_ROWS", rows)
        patched.setattr(duplicates, "_COLUMNS", columns)
        found = near_duplicate_sets(*pictures, step=Counted())
    assert found.tolist() == one_by_one(*pictures)


def test_a_common_hash_takes_no_more_memory() -> None:
    rng = np.random.default_rng(0)
    n = 5_000
    hashes = np.zeros((n, 4), dtype=np.uint64)
    thumbnails = rng.integers(0, 256, (n, 32, 32), dtype=np.uint8)
    thumbnails[1::2] = thumbnails[1]
    tracemalloc.start()
    sets = near_duplicate_sets(hashes, hashes, thumbnails, step=Counted())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (sets[1::2] == 1).all() and len(set(sets.tolist())) == n // 2 + 1
    assert peak < 200e6  # the 12 million pairs of this hash alone would take 200 MB


def test_memory_does_not_grow_with_the_number_of_pairs() -> None:
    rng = np.random.default_rng(0)
    n = 12_000
    hashes = rng.integers(0, 2**63, (n, 4), dtype=np.uint64)
    thumbnails = rng.integers(0, 256, (n, 8, 8), dtype=np.uint8)
    hashes[1::2], thumbnails[1::2] = hashes[::2], thumbnails[::2]
    tracemalloc.start()
    sets = near_duplicate_sets(hashes, ~hashes, thumbnails, step=Counted())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (sets == np.arange(n) // 2).all()
    assert peak < 150e6  # one byte for each of all pairs would take 144 MB, their words 4.6 GB


def test_the_hash_is_that_of_imagehash(renders: list[Image.Image]) -> None:
    for image in renders[:5]:
        bits = np.unpackbits(perceptual_hash(image).view(np.uint8)).astype(bool)
        assert (bits == imagehash.phash(image, hash_size=16).hash.ravel()).all()


@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=20))
def test_joined_is_the_finest_partition_that_keeps_pairs_together(
    pairs: list[tuple[int, int]],
) -> None:
    sets = joined(np.array(pairs, dtype=np.int64).reshape(-1, 2), 15)
    assert all(sets[i] == sets[j] for i, j in pairs)
    expected = {frozenset([i]) for i in range(15)}
    for i, j in pairs:
        touched = {group for group in expected if i in group or j in group}
        expected = expected - touched | {frozenset().union(*touched)}
    assert len(set(sets.tolist())) == len(expected)
    assert list(dict.fromkeys(sets.tolist())) == list(range(len(expected)))


def read(kind: str, root: Path, **more: object) -> FaceTable:
    source = DATA_SOURCES.load(kind)
    table: FaceTable = source.read(source.params_type(root=root, **more))
    return table


@pytest.mark.parametrize(
    ("kind", "folder", "more", "expected"),
    [("fairface", "fairface", {"split": "all"}, 4), ("utkface", "utkface", {}, 12)],
)
def test_real_faces_give_the_pairs_seen_by_eye(
    shared: Path, kind: str, folder: str, more: dict[str, object], expected: int
) -> None:
    table = read(kind, shared / "data" / folder, **more)
    pictures = [Image.open(reference.file).convert("L") for reference in table.references]
    sets = sets_of(pictures)
    assert len(sets) - len(set(sets.tolist())) == expected
    assert np.bincount(sets).max() == 2
