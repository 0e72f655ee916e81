"""Which output of a network is which class of a dataset: by number, by WordNet id, by files that name the outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.oracles import oracle
from wsol.class_map import map_classes, select
from wsol.errors import UserError
from wsol.manifest import Manifest, Sample, Split


def dataset(*classes: str) -> Manifest:
    """Two test images a class and one to choose thresholds on."""
    boxes = np.array([[0.0, 0.0, 9.0, 9.0]])
    rows = [
        Sample(f"{role}/{i}-{c}.jpg", f"{role}/{i}-{c}.jpg", c, (10, 10), boxes)
        for role, n in (("test", 2), ("train-fullsup", 1))
        for c in range(len(classes))
        for i in range(n)
    ]
    splits = {
        role: Split.from_samples([r for r in rows if r.image_id.startswith(role)])
        for role in ("test", "train-fullsup")
    }
    return Manifest("some", classes, splits)


def test_a_network_of_the_same_classes_changes_nothing() -> None:
    manifest = dataset("a", "b")
    kept, known = map_classes(manifest, 2, "net")
    assert kept is manifest
    assert (known.outputs, known.plain, known.note(kept, "test")) == ((0, 1), True, None)


def test_fewer_outputs_leave_images_out_and_say_how_many() -> None:
    kept, known = map_classes(dataset("a", "b", "c"), 2, "net")
    assert (kept.classes, len(kept.split("test")), known.left_out) == (
        ("a", "b"),
        4,
        {"test": 2, "train-fullsup": 1},
    )
    assert known.note(kept, "test") == (
        "2 of 6 images of 'test' are left out: the network knows 2 of the 3 classes of 'some' (the first 2 classes)"
    )
    assert kept.notes == ("only 2 of 3 classes, those that the network knows (the first 2 classes)",)


def test_imagenets_outputs_are_found_by_wordnet_id() -> None:
    """Tench is output 0, English springer 217, toilet tissue 999, as everywhere."""
    oracle("timm")
    manifest = dataset("n15075141 toilet tissue", "n01440764", "n02102040-English_springer")
    _, known = map_classes(manifest, 1000, "net")
    assert known.outputs == (999, 0, 217)
    assert not known.plain


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LOC_synset_mapping.txt", "n01440764 tench\nn01443537 goldfish\nn01484850 great white\n"),
        ("names.txt", "Tench (n01440764)\ngoldfish\nGreat_White (n01484850)\n"),
        (
            "index.json",
            '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"], "2": ["n01484850", "x"]}',
        ),
    ],
)
def test_files_that_name_the_outputs(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    _, known = map_classes(dataset("n01484850", "n01440764"), 3, "net", tmp_path / name)
    assert (known.outputs, known.source) == ((2, 0), f"by {name}")


def test_spellings_of_birds_and_a_class_that_the_network_lacks(tmp_path: Path) -> None:
    (tmp_path / "birds.txt").write_text(
        "background\nPhoebastria nigripes (Black-footed Albatross)\nEuphagus (Brewer's Blackbird)\n"
    )
    manifest = dataset("001.Black_footed_Albatross", "002.Laysan_Albatross", "009.Brewer_Blackbird")
    kept, known = map_classes(manifest, 3, "net", tmp_path / "birds.txt")
    assert known.outputs == (1, -1, 2)
    assert sorted(set(kept.split("test").labels.tolist())) == [0, 2]  # labels stay as they are
    assert known.left_out == {"test": 2, "train-fullsup": 1}
    again, _ = select(manifest, known.outputs, "record")
    assert again.split("test").image_ids == kept.split("test").image_ids


@pytest.mark.parametrize(
    ("names", "classes", "outputs", "source"),
    [
        (("b", "a"), ("b", "a"), (0, 1), "the same classes"),
        (("b", "a"), ("b", "a", "c"), (0, 1), "the first 2 classes"),
        (("b", "a"), ("a", "b"), (1, 0), "by name"),
        (("b", "a", "c"), ("a", "c"), (1, 2), "by name"),
        (("b", "a"), ("a", "x", "b"), (1, -1, 0), "by name"),
        (("b", "a"), ("a", "x"), (1,), "by name"),
        (("a-b", "a b"), ("a b", "a-b"), (1, 0), "by name"),  # as written, before spellings are made alike
        (("n01440764 tench", "n01443537"), ("n01443537 goldfish", "n01440764"), (1, 0), "by name"),
        (("0", "1", "10", "2"), ("0", "1", "2", "10"), (0, 1, 3, 2), "by name"),
        (("class 0", "class 1"), ("b", "a"), (0, 1), "the same classes"),
        (("b", "a"), ("0", "1"), (0, 1), "the same classes"),
    ],
)
def test_classes_that_a_run_was_trained_with_are_found_by_their_names(
    names: tuple[str, ...], classes: tuple[str, ...], outputs: tuple[int, ...], source: str
) -> None:
    """By number only where they are listed alike, or where one side has numbers for names."""
    _, known = map_classes(dataset(*classes), len(names), "run", names=names)
    assert (known.outputs, known.source) == (outputs, source)


def test_a_run_of_other_classes_is_refused_unless_a_file_says_more(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"run: no output has the name of a class; .* 'x' .* 'a' .*--class-map"
    ):
        map_classes(dataset("x", "y"), 2, "run", names=("a", "b"))
    (tmp_path / "map.txt").write_text("y\nx\n")
    _, known = map_classes(dataset("x", "y"), 2, "run", tmp_path / "map.txt", ("a", "b"))
    assert (known.outputs, known.source) == ((1, 0), "by map.txt")


@pytest.mark.parametrize(
    ("classes", "text", "message"),
    [
        (("a", "b"), None, "has 3 classes, but dataset 'some' has 2; .*--class-map FILE"),
        (("a", "b"), "a\nb\n", "names 2 outputs, but net has 3"),
        (("a", "b"), "x\ny\nz\n", "no output has the name of a class; the dataset's are 'a'"),
        (("a", "b"), "a\na\nb\n", r"several outputs \(0, 1\) have the name of class 'a'"),
        (("a", "b"), '{"1": "a"}', 'expected an object with an entry "0"'),
    ],
)
def test_classes_that_cannot_be_matched(
    classes: tuple[str, ...], text: str | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / ("map.json" if text and text.startswith("{") else "map.txt")
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=message):
        map_classes(dataset(*classes), 3, "net", file if text is not None else None)
