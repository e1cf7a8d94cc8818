"""Paths of label files, and the folders, links and pointers that real trees are made of."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from bias_audit.data.faces import Exclusion, ImageReference
from bias_audit.data.finding import ImageFinder
from bias_audit.data.sources import fairface, manifest, utkface
from bias_audit.errors import DataError


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"never opened")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("1.jpg", "train/2.jpg", "train/deep/3.jpg"):
        put(tmp_path / "faces" / name)
    put(tmp_path / "outside" / "4.jpg")
    return tmp_path / "faces"


def found(finder: ImageFinder, name: str) -> Path:
    reference = finder.find(name)
    assert isinstance(reference, ImageReference), reference
    return reference.file


def refused(finder: ImageFinder, name: str) -> Exclusion:
    exclusion = finder.find(name)
    assert isinstance(exclusion, Exclusion)
    return exclusion


@pytest.mark.parametrize("before", ["", "./", "train/deep/../../", "../faces/", "train/.//../"])
def test_paths_inside_of_the_folder(root: Path, before: str) -> None:
    assert found(ImageFinder(root), f"{before}train/2.jpg") == root / "train/2.jpg"


def test_a_file_with_a_backslash_in_its_name_comes_first(root: Path) -> None:
    file = put(root / "train\\2.jpg")
    finder = ImageFinder(root)
    assert found(finder, "train\\2.jpg") == file
    assert not list(finder.notices())


def test_what_was_changed_is_counted(root: Path) -> None:
    finder = ImageFinder(root)
    for name in ("train\\2.jpg", f"{root}/1.jpg", f"{root}/train/2.jpg", "1\u200b.jpg", "1.jpg"):
        found(finder, name)
    assert sorted(notice.partition(" ")[0] for notice in finder.notices()) == ["1", "1", "2"]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_every_part_of_a_path_in_any_unicode_form(root: Path, on_disk: str, written: str) -> None:
    name = "Zoë Müller/é 1.jpg"
    file = put(root / unicodedata.normalize(on_disk, name))  # type: ignore[arg-type]
    finder = ImageFinder(root)
    other = unicodedata.normalize(written, name).replace(" ", "\xa0")  # type: ignore[arg-type]
    assert found(finder, other) == file
    assert list(finder.notices())


def test_two_files_that_look_alike_are_not_guessed_between(root: Path) -> None:
    files = [put(root / unicodedata.normalize(form, "é.jpg")) for form in ("NFC", "NFD")]
    finder = ImageFinder(root)
    assert [found(finder, file.name) for file in files] == files
    assert refused(finder, "é\u200b.jpg").reason == "ambiguous path"


def test_absolute_paths_inside_of_the_folder_also_through_links(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    other = root.parent / "other"
    other.symlink_to(root / "train")
    for base in (root, link):
        finder = ImageFinder(base)
        for name in (f"{root}/train/2.jpg", f"{link}/train/2.jpg", f"{other}/2.jpg"):
            assert found(finder, name) == root / "train/2.jpg"


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("C:\\Users\\me\\faces\\train\\2.jpg", "write 'train/2.jpg', without 'C:\\Users"),
        ("\\\\server\\share\\train\\2.jpg", "write 'train/2.jpg'"),
        ("/home/me/faces/train/2.jpg", "write 'train/2.jpg', without '/home/me/faces/'"),
        ("/home/me/none.jpg", "relative to it"),
    ],
)
def test_absolute_paths_of_another_machine_get_the_fix(root: Path, name: str, fix: str) -> None:
    exclusion = refused(ImageFinder(root), name)
    assert exclusion.reason == "absolute path"
    assert fix in exclusion.detail


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("", "empty field", "expected an image or a path"),
        ("\u200b", "empty field", "expected an image or a path"),
        ("none.jpg", "missing file", "expected an image file"),
        ("1.JPG", "missing file", "there is '1.jpg'"),
        ("train", "missing file", "is a folder"),
        ("1.jpg/2.jpg", "missing file", "expected a folder, got the file"),
        ("../outside/4.jpg", "path leaves the folder", "which is outside"),
        ("train/../../outside/4.jpg", "path leaves the folder", "which is outside"),
        ("a\0b", "missing file", ""),
        ("x" * 5000, "missing file", ""),
        (".", "missing file", "itself"),
    ],
)
def test_paths_to_nowhere(root: Path, name: str, reason: str, detail: str) -> None:
    exclusion = refused(ImageFinder(root), name)
    assert exclusion.reason == reason
    assert detail in exclusion.detail
    assert len(exclusion.detail) < 500


def test_links_inside_are_followed_and_those_outside_name_the_key(root: Path) -> None:
    (root / "inside.jpg").symlink_to("train/2.jpg")
    (root / "mounted").symlink_to("../outside")
    (root / "file.jpg").symlink_to(root.parent / "outside/4.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    closed, opened = ImageFinder(root), ImageFinder(root, follow_links=True)
    for name in ("mounted/4.jpg", "file.jpg"):
        exclusion = refused(closed, name)
        assert exclusion.reason == "path leaves the folder"
        assert "is a link that leads outside" in exclusion.detail
        assert "data.follow_links: true" in exclusion.detail
        assert found(opened, name) == root / name
    assert found(closed, "inside.jpg").read_bytes() == b"never opened"
    assert refused(opened, "../outside/4.jpg").reason == "path leaves the folder"
    assert refused(opened, "loop.jpg").reason == "missing file"
    assert list(opened.notices()) == [
        "2 images were read through links that lead out of the folder, which the config allows"
    ]


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("../.git/annex/objects/ab/cd/SHA256E-s1--x.jpg/SHA256E-s1--x.jpg", "git annex get"),
        ("/cache/dvc/files/md5/ab/cdef", "dvc pull"),
        ("../.dvc/cache/ab/cdef", "dvc pull"),
        ("nowhere", "leads nowhere"),
    ],
)
def test_links_to_content_that_was_not_fetched(root: Path, target: str, command: str) -> None:
    (root / "train/5.jpg").symlink_to(target)
    (root / "test").symlink_to(target)
    for finder in (ImageFinder(root), ImageFinder(root, follow_links=True)):
        for name in ("train/5.jpg", "test/5.jpg"):
            assert command in refused(finder, name).detail


def test_a_dvc_file_without_its_content(root: Path) -> None:
    put(root / "test.dvc")
    put(root / "train/9.jpg.dvc")
    for name in ("test/1.jpg", "train/9.jpg"):
        exclusion = refused(ImageFinder(root), name)
        assert exclusion.reason == "content not fetched"
        assert "dvc pull" in exclusion.detail


def test_a_link_that_a_copy_has_turned_into_text(root: Path) -> None:
    (root / "test").write_text("../outside\n")
    assert "turned into text" in refused(ImageFinder(root), "test/4.jpg").detail
    assert found(ImageFinder(root, follow_links=True), "test/4.jpg").is_file()


def test_every_source_of_folders_follows_links_where_it_is_asked_to(tmp_path: Path) -> None:
    root, mounted = tmp_path / "root", tmp_path / "mounted"
    put(mounted / "1.jpg")
    root.mkdir()
    (root / "train").symlink_to(mounted)
    (root / "20_0_0_20170116174525125.jpg").symlink_to(mounted / "1.jpg")
    labels = "file,age,gender,race\ntrain/1.jpg,0-2,Male,White"
    (root / "fairface_label_train.csv").write_text(labels)
    (root / "m.csv").write_text("path,group\ntrain/1.jpg,a\n")
    own = {"file": root / "m.csv", "attributes": {"group": ["a"]}}
    for source, settings in (
        (fairface, {"root": root}),
        (utkface, {"root": root}),
        (manifest, own),
    ):
        params = source.Params.model_validate(settings)
        with pytest.raises(DataError, match=r"data\.follow_links: true"):
            source.PLUGIN.read(params)
        followed = source.Params.model_validate({**settings, "follow_links": True})
        assert len(source.PLUGIN.read(followed)) == 1
