"""The pivot type and its text form: what is refused, where the message points, and that nothing is lost on
the way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsol.errors import UserError
from wsol.files.strict_yaml import load_yaml
from wsol.manifest import Manifest, Sample, Split, load_manifest, read_head, split_hash, write_manifest

HEADER = "image_id,path,label,width,height,boxes,masks,ignore_mask,part_mask,parts"


def sample(image_id: str = "a.jpg", **changes: Any) -> Sample:
    given: dict[str, Any] = {"path": image_id, "label": 0, **changes}
    if "boxes_xyxy" in given:
        given["boxes_xyxy"] = np.array(given["boxes_xyxy"], float).reshape(-1, 4)
    return Sample(image_id, **given)


def manifest(*rows: Sample, **changes: Any) -> Manifest:
    given: dict[str, Any] = {"dataset": "toy", "classes": ("cat", "dog"), **changes}
    return Manifest(splits={"test": Split.from_samples(rows)}, **given)


def same(a: Sample, b: Sample) -> bool:
    plain = ("image_id", "path", "label", "size_wh", "masks", "ignore_mask", "part_mask")
    parts = (a.parts is None) == (b.parts is None) and (
        a.parts is None or np.array_equal(a.parts, b.parts or 0)
    )
    return (
        all(getattr(a, n) == getattr(b, n) for n in plain)
        and parts
        and np.array_equal(a.boxes_xyxy, b.boxes_xyxy)
    )


RICH = sample(
    "dir/b.png",
    path="elsewhere/b.png",
    label=1,
    size_wh=(20, 10),
    boxes_xyxy=[[0, 0, 20, 10], [1.5, 2, 3.25, 4]],
    masks=("m 1.png", "m2.png"),
    ignore_mask="i.png",
    part_mask="p.png",
)


class TestTextForm:
    def test_is_what_the_documentation_says(self, tmp_path: Path) -> None:
        write_manifest(manifest(sample(), RICH, root="pics", notes=("by hand",)), tmp_path / "m", source="x")
        assert (tmp_path / "m" / "test.csv").read_text() == (
            f"{HEADER}\n"
            "a.jpg,,0,,,,,,,\n"
            "dir/b.png,elsewhere/b.png,1,20,10,0 0 20 10|1.5 2 3.25 4,m 1.png|m2.png,i.png,p.png,\n"
        )
        head = load_yaml((tmp_path / "m" / "manifest.yaml").read_text(), "x")
        assert head["splits"]["test"]["images"] == 2
        assert head["splits"]["test"]["boxes"] == 2
        assert head["source"] == "x"
        assert head["classes"] == ["cat", "dog"]

    def test_round_trip(self, tmp_path: Path) -> None:
        parts = np.array([[1, 2, 1], [0.5, 0, 0]])
        rows = (sample(), RICH, sample("c", parts=parts))
        made = manifest(*rows, part_names=("beak", "tail"), corners="inclusive", notes=("n",), root="/pics")
        write_manifest(made, tmp_path)
        back = load_manifest(tmp_path)
        assert (back.dataset, back.classes, back.part_names) == ("toy", ("cat", "dog"), ("beak", "tail"))
        assert (back.corners, back.notes, back.root) == ("inclusive", ("n",), "/pics")
        assert all(same(a, b) for a, b in zip(back.split("test"), rows[:2]))
        assert np.array_equal(back.split("test")[2].parts, parts)  # type: ignore[arg-type]
        assert back.hash() == made.hash()
        head = read_head(tmp_path)
        assert head["splits"]["test"]["sha256"] == split_hash(made.split("test"))

    def test_columns_may_be_left_out_and_reordered(self, tmp_path: Path) -> None:
        write_manifest(manifest(sample(), sample("b")), tmp_path)
        (tmp_path / "test.csv").write_text("label,image_id,boxes\n1,x y.jpg,0 0 1 1\n0,b,\n")
        first, second = load_manifest(tmp_path, edited=True).split("test")
        assert same(first, sample("x y.jpg", label=1, boxes_xyxy=[[0, 0, 1, 1]]))
        assert same(second, sample("b"))

    def test_an_empty_split_survives_and_is_refused_when_asked_for(self, tmp_path: Path) -> None:
        write_manifest(manifest(), tmp_path)
        back = load_manifest(tmp_path)
        assert len(back.splits["test"]) == 0
        with pytest.raises(UserError, match=r"has an empty split 'test'; splits with images: none"):
            back.split("test")
        with pytest.raises(UserError, match=r"has no split 'train-weaksup'"):
            back.split("train-weaksup")
        with pytest.raises(UserError, match=r"unknown split 'tst'; did you mean 'test'"):
            back.split("tst")

    def test_roles_limit_what_is_read(self, tmp_path: Path) -> None:
        one = Split.from_samples([sample()])
        write_manifest(Manifest("toy", ("c",), {"test": one, "train-weaksup": one}), tmp_path)
        (tmp_path / "train-weaksup.csv").write_text("broken")
        assert list(load_manifest(tmp_path, roles=["test"]).splits) == ["test"]

    def test_writing_again_removes_splits_that_are_gone(self, tmp_path: Path) -> None:
        one = Split.from_samples([sample()])
        write_manifest(Manifest("toy", ("c",), {"test": one, "train-weaksup": one}), tmp_path)
        write_manifest(Manifest("toy", ("c",), {"test": one}), tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.yaml", "test.csv"]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            pytest.param(sample("a\nb"), "control character", id="newline"),
            pytest.param(sample("a\rb"), "control character", id="carriage return"),
            pytest.param(sample(os.fsdecode(b"\xff.jpg")), "not UTF-8", id="undecodable name"),
            pytest.param(sample("../a"), "not a relative path", id="leaves the root"),
            pytest.param(sample("a", masks=("x|y",)), r"mask path with '\|'", id="bar in a mask path"),
            pytest.param(sample(""), "an empty id", id="empty id"),
        ],
    )
    def test_what_could_not_be_read_back_is_not_written(
        self, tmp_path: Path, row: Sample, message: str
    ) -> None:
        write_manifest(manifest(sample("old")), tmp_path)
        with pytest.raises(UserError, match=message):
            write_manifest(manifest(row), tmp_path)
        assert load_manifest(tmp_path).split("test").image_ids == ["old"]
        assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.yaml", "test.csv"]


ROW_DEFECTS = [
    pytest.param("a,,x,,,,,,,", r"test\.csv:2: invalid literal", id="label is no number"),
    pytest.param("a,,5,,,,,,,", r"test\.csv:2: image 'a' has label 5, but there are 2", id="label too large"),
    pytest.param("a,,-1,,,,,,,", r"test\.csv:2: image 'a' has label -1", id="label negative"),
    pytest.param("a,,99999999999,,,,,,,", r"test\.csv:2: ", id="label beyond 32 bits"),
    pytest.param("a,,0,,,,,,", r"test\.csv:2: expected 10 fields, got 9", id="a field missing"),
    pytest.param(",,0,,,,,,,", r"test\.csv:2: path '' is empty", id="no id"),
    pytest.param("a,../b,0,,,,,,,", r"test\.csv:2: path '\.\./b' .* leaves", id="path escapes"),
    pytest.param("/a,,0,,,,,,,", r"test\.csv:2: path '/a' .* leaves", id="absolute id"),
    pytest.param("a,,0,,,,x|/m,,,", r"test\.csv:2: path '/m' .* leaves", id="mask escapes"),
    pytest.param("a,,0,,,,,../i,,", r"test\.csv:2: path '\.\./i' .* leaves", id="ignore mask escapes"),
    pytest.param('"a\nb",,0,,,,,,,', r"test\.csv:2: .* line break", id="line break in an id"),
    pytest.param('"a,,0,,,,,,,', r"test\.csv:2: unexpected end of data", id="open quote"),
    pytest.param("a,,0,5,,,,,,", r"test\.csv:2: width and height", id="width alone"),
    pytest.param("a,,0,0,5,,,,,", r"test\.csv:2: image size 0x5", id="no width"),
    pytest.param("a,,0,,,1 2 3,,,,", r"test\.csv:2: a box needs 4 numbers", id="three numbers"),
    pytest.param("a,,0,,,1 2 3 nan,,,,", r"test\.csv:2: box \(1 2 3 nan\) .* not a number", id="nan"),
    pytest.param("a,,0,,,9 2 3 4,,,,", r"test\.csv:2: box \(9 2 3 4\) .* is not 0 <= x0", id="reversed"),
    pytest.param("a,,0,,,-1 2 3 4,,,,", r"test\.csv:2: box \(-1 2 3 4\)", id="negative"),
    pytest.param("a,,0,10,10,0 0 11 5,,,,", r"test\.csv:2: box .* of 10x10 lies outside", id="outside"),
    pytest.param("a,,0,,,,,,,1 2 3", r"test\.csv:2: expected 0 parts", id="parts without names"),
    pytest.param("a,,0,,,,,,,\na,,0,,,,,,,", r"test\.csv:3: image id 'a' is listed twice", id="id twice"),
    pytest.param("a,,0,,,,,,,\n\nb,,0,,,,,,,", r"test\.csv:3: expected 10 fields, got 0", id="blank line"),
]


@pytest.mark.parametrize(("rows", "message"), ROW_DEFECTS)
def test_row_defects_name_file_and_line(tmp_path: Path, rows: str, message: str) -> None:
    write_manifest(manifest(*(sample(str(i)) for i in range(rows.count("\n") + 1))), tmp_path)
    (tmp_path / "test.csv").write_text(f"{HEADER}\n{rows}\n")
    with pytest.raises(UserError, match=message):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("schema: 1", "schema: 2", "schema 2, expected 1", id="another schema"),
        pytest.param(
            "- cat",
            "- 5",
            r"'classes' must be a list of texts \(quote numbers\), got 5",
            id="class is a number",
        ),
        pytest.param("- cat\n- dog", "", "'classes' must be a list", id="no classes"),
        pytest.param("  test:", "  tset:", "unknown split 'tset'; did you mean 'test'", id="unknown split"),
        pytest.param(
            "images: 1", "images: 2", r"test\.csv: 1 rows, but manifest\.yaml states 2", id="rows lost"
        ),
        pytest.param("images: 1", "images: many", "must state 'images: COUNT'", id="count is no number"),
        pytest.param("corners: half-open", "corners: open", "corners must be", id="corners"),
        pytest.param("root: null", "root: [1]", "'root' must be a path or null", id="root"),
        pytest.param(
            "schema: 1",
            "schema: 1\nschema: 1",
            r"manifest\.yaml: .*key 'schema' is given twice",
            id="key twice",
        ),
        pytest.param("schema: 1", "schema: &a 1\nb: *a", "aliases", id="alias"),
        pytest.param("schema: 1", "schema: !!python/name:os.system x", r"yaml:1: ", id="a python tag"),
        pytest.param("schema: 1", "schema: {", r"yaml:\d+: not readable as YAML", id="broken yaml"),
        pytest.param("schema: 1", "schema: " + "[" * 1500, "nested too deeply", id="deep nesting"),
    ],
)
def test_head_defects_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_manifest(manifest(sample()), tmp_path)
    file = tmp_path / "manifest.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        load_manifest(tmp_path)


def test_missing_pieces(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest at .*wsol\.prepare"):
        load_manifest(tmp_path)
    write_manifest(manifest(sample()), tmp_path)
    (tmp_path / "test.csv").unlink()
    with pytest.raises(UserError, match=r"test\.csv' is listed in manifest\.yaml but missing"):
        load_manifest(tmp_path)
    (tmp_path / "test.csv").write_bytes(f"{HEADER}\na,,0,,,,,,,\n".encode() + b"\xff")
    with pytest.raises(UserError, match=r"test\.csv: not UTF-8"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("fail_at", range(3))
def test_a_crash_while_writing_never_leaves_a_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    """Whatever rename fails, the folder holds the old manifest, the new one, or none that loads."""
    one, two = Split.from_samples([sample("old")]), Split.from_samples([sample("new"), sample("new2")])
    write_manifest(Manifest("toy", ("c",), {"test": one, "train-weaksup": one}), tmp_path)
    real, calls = Path.replace, iter(range(9))

    def breaks(self: Path, target: Path) -> Path:
        if next(calls) == fail_at:
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", breaks)
    with pytest.raises(OSError, match="No space"):
        write_manifest(Manifest("toy", ("c",), {"test": two, "train-weaksup": two}), tmp_path)
    with pytest.raises(UserError, match="no manifest at"):
        load_manifest(tmp_path)


class TestSplit:
    def test_empty(self) -> None:
        assert len(Split.from_samples([])) == 0
        assert list(Split([], np.zeros(0, np.int32))) == []

    def test_indexing(self) -> None:
        split = Split.from_samples([sample("a"), RICH])
        assert same(split[1], RICH)
        assert same(split[-1], RICH)
        with pytest.raises(IndexError):
            split[2]

    @pytest.mark.parametrize(
        "changes",
        [
            {"labels": np.zeros(2, np.int32)},
            {"paths": ["x", "y"]},
            {"boxes_xyxy": np.zeros((1, 4))},
            {"boxes_xyxy": np.zeros((1, 3)), "box_offsets": np.array([0, 1])},
            {"boxes_xyxy": np.zeros((1, 4)), "box_offsets": np.array([1, 1])},
        ],
        ids=["labels", "paths", "boxes without offsets", "boxes of three", "offsets from 1"],
    )
    def test_columns_must_agree(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"expected|must"):
            Split(**{"image_ids": ["a"], "labels": np.zeros(1, np.int32), **changes})

    @given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.data())
    @settings(max_examples=60, deadline=None)
    def test_take_equals_picking_rows_one_by_one(self, boxes: list[int], data: st.DataObject) -> None:
        rows = [
            sample(
                str(i),
                path=f"p{i}" if i % 2 else str(i),
                boxes_xyxy=[[i, k, i + 1, k + 1] for k in range(n)],
                masks=("m",) * (i % 3),
            )
            for i, n in enumerate(boxes)
        ]
        split = Split.from_samples(rows)
        picked = data.draw(st.lists(st.integers(-len(rows), len(rows) - 1), max_size=10))
        taken = split.take(np.array(picked, np.int64))
        assert len(taken) == len(picked)
        assert all(same(a, rows[i]) for a, i in zip(taken, picked))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param([sample(label=2)], "toy test row 0: image 'a.jpg' has label 2", id="label"),
        pytest.param([sample(), sample()], "toy test row 1: image id 'a.jpg' is listed twice", id="twice"),
        pytest.param([sample(boxes_xyxy=[[2, 0, 1, 1]])], "is not 0 <= x0", id="reversed"),
        pytest.param([sample(boxes_xyxy=[[0, 0, 1, np.inf]])], "not a number", id="infinite"),
        pytest.param(
            [sample(size_wh=(5, 5), boxes_xyxy=[[0, 0, 5, 6]])], "of 5x5 lies outside", id="outside"
        ),
    ],
)
def test_a_manifest_in_memory_is_checked_too(rows: list[Sample], message: str) -> None:
    with pytest.raises(UserError) as caught:
        manifest(*rows)
    assert message in str(caught.value)


def test_hash_changes_with_what_a_score_depends_on() -> None:
    base = manifest(sample(boxes_xyxy=[[0, 0, 1, 1]]))
    others = [
        manifest(sample(boxes_xyxy=[[0, 0, 1, 2]])),
        manifest(sample("b.jpg", boxes_xyxy=[[0, 0, 1, 1]])),
        manifest(sample(label=1, boxes_xyxy=[[0, 0, 1, 1]])),
        manifest(sample(boxes_xyxy=[[0, 0, 1, 1]]), corners="inclusive"),
        manifest(sample(boxes_xyxy=[[0, 0, 1, 1]]), classes=("dog", "cat")),
    ]
    assert len({m.hash() for m in [base, *others]}) == 6
    assert base.with_root("/elsewhere").hash() == base.hash()
    assert base.with_root("/elsewhere").root == "/elsewhere"
    assert base.with_root(None) is base


name = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=6).filter(
    lambda t: not set(t) & set("\\|") and t[0] != "/" and ".." not in t and "\n" not in t
)


@given(
    st.lists(st.tuples(name, name, st.integers(0, 1), st.lists(st.floats(0, 1e6), max_size=2)), max_size=5)
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    samples = {
        i: sample(i, path=p, label=k, boxes_xyxy=[[0, 0, v, v] for v in vs], masks=(p,) * (k + 1))
        for i, p, k, vs in rows
    }
    folder = tmp_path_factory.mktemp("m")
    write_manifest(manifest(*samples.values()), folder)
    back = load_manifest(folder).splits["test"]
    assert len(back) == len(samples)
    assert all(same(a, b) for a, b in zip(back, samples.values()))


def test_rows_that_were_moved_since_they_were_prepared_are_refused(tmp_path: Path) -> None:
    """600 boxes moved by 5 pixels once gave 37.83 instead of 35.83 without a word."""
    write_manifest(manifest(sample(boxes_xyxy=[[0, 0, 1, 1]])), tmp_path)
    (tmp_path / "test.csv").write_text((tmp_path / "test.csv").read_text().replace("0 0 1 1", "0 0 1 2"))
    with pytest.raises(UserError, match=r"test\.csv: the rows differ from those that were prepared"):
        load_manifest(tmp_path)
    head = [x for x in (tmp_path / "manifest.yaml").read_text().split("\n") if "sha256" not in x]
    (tmp_path / "manifest.yaml").write_text("\n".join(head))
    assert load_manifest(tmp_path).split("test").boxes_xyxy.tolist() == [
        [0, 0, 1, 2]
    ]  # an edit that is meant


@pytest.mark.parametrize("name", ["\x1b]0;owned\x07", "a\nb", "a\x7fb"])
def test_names_that_a_terminal_would_obey_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="holds a control character or a line break"):
        Manifest("d", ("a", name), {})


@pytest.mark.parametrize("change", [("cat", "cut"), ("half-open", "inclusive")])
def test_a_head_that_was_changed_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    write_manifest(manifest(sample()), tmp_path)
    file = tmp_path / "manifest.yaml"
    assert change[0] in file.read_text()
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(UserError, match=r"manifest\.yaml: was changed after it was written"):
        load_manifest(tmp_path)
