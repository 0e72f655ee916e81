"""The audit: what is said of rows, of counts, of checksums and of files that are damaged or left over."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.dataset_trees import mask, picture, row, toy, write_tree
from wsol.audit import Audit, audit_manifest, check_archive
from wsol.datasets.cards import Card, Expected
from wsol.datasets.inspect_files import inspect_files
from wsol.files.roots import open_root
from wsol.manifest import Manifest, Sample, Split


def messages(audit: Audit) -> list[str]:
    return [str(f) for f in audit.findings]


class TestAudit:
    def test_clean(self) -> None:
        rows = [row("a", 0, size_wh=(10, 10)), row("b", 1, size_wh=(10, 10))]
        audit = audit_manifest(toy(test=rows))
        assert audit.findings == ()
        (summary,) = audit.splits
        assert (summary.images, summary.classes, summary.boxes, summary.several_boxes) == (2, 2, 2, 0)
        assert summary.median_box_share == pytest.approx(0.04)

    @pytest.mark.parametrize(
        ("manifest", "expected"),
        [
            pytest.param(toy(test=[]), ["error: test: holds no image"], id="empty split"),
            pytest.param(
                toy(train_weaksup=[row("a")]),
                ["error: train-weaksup: 1 class has no image: dog"],
                id="class without training image",
            ),
            pytest.param(
                toy(test=[row("a"), row("b", 1, boxes=()), row("c", boxes=(), masks=("m",))]),
                ["warning: test: 1 image has neither box nor mask: b"],
                id="no truth",
            ),
            pytest.param(
                toy(test=[row("a", boxes=((1, 1, 1, 4), (2, 2, 2, 2))), row("b", 1)]),
                ["warning: test: 2 boxes have no area: a"],
                id="zero area",
            ),
            pytest.param(
                toy(test=[row("a", boxes=((1, 1, 2, 2), (1, 1, 2, 2))), row("b", 1, boxes=((1, 1, 2, 2),))]),
                ["warning: test: 1 box is listed twice for one image"],
                id="box twice",
            ),
            pytest.param(
                toy(test=[row("a"), row("b", 1)], train_fullsup=[row("b"), row("c", 1)]),
                ["error: test: 1 file is also in train-fullsup: b"],
                id="leak",
            ),
            pytest.param(
                Manifest(
                    "toy", ("c",), {"test": Split.from_samples([Sample("a", "x", 0), Sample("b", "x", 0)])}
                ),
                [
                    "error: test: 1 file is listed under two image ids",
                    "warning: test: 2 images have neither box nor mask: a, b",
                ],
                id="file twice",
            ),
        ],
    )
    def test_rows(self, manifest: Manifest, expected: list[str]) -> None:
        assert messages(audit_manifest(manifest)) == expected

    @pytest.mark.parametrize(
        ("card", "subset", "expected"),
        [
            pytest.param({}, False, [], id="nothing expected"),
            pytest.param({"test": Expected(images=2, boxes=2)}, False, [], id="as expected"),
            pytest.param(
                {"test": Expected(images=3, boxes=1)},
                False,
                ["error: test: 2 images, but 3 are expected", "error: test: 2 boxes, but 1 are expected"],
                id="other counts",
            ),
            pytest.param({"test": Expected(images=3, boxes=4)}, True, [], id="fewer in a subset"),
            pytest.param({"test": Expected(images_per_class=1)}, False, [], id="per class"),
            pytest.param(
                {"test": Expected(images_per_class=2)},
                False,
                ["error: test: 2 images, but 4 are expected"],
                id="per class, too few",
            ),
            pytest.param({"train-weaksup": Expected(images=9)}, False, [], id="a split that is not there"),
        ],
    )
    def test_expected_counts(self, card: dict[str, Expected], subset: bool, expected: list[str]) -> None:
        manifest = toy(test=[row("a"), row("b", 1)])
        made = Card("toy", "Toy", "x", num_classes=2, expected=card)
        assert messages(audit_manifest(manifest, card=made, subset=subset)) == expected

    def test_class_counts(self) -> None:
        manifest = toy(test=[row("a"), row("b", 1)])
        three = Card("toy", "Toy", "x", num_classes=3, expected={"test": Expected(images=2)})
        assert messages(audit_manifest(manifest, card=three)) == ["error: 2 classes, but Toy has 3"]
        assert messages(audit_manifest(manifest, card=three, subset=True)) == [
            "note: a subset: 2 of 3 classes"
        ]

    @pytest.mark.parametrize(
        ("train", "test", "named"),
        [
            ((14, 14), (14, 14), []),
            ((14, 1), (14, 27), ["'dog' 1 of 28 images"]),
            ((9, 9), (0, 28), ["'dog' 9 of 37 images"]),
            ((9, 9), (0, 27), []),  # a quarter
            ((12, 10), (0, 100), []),
        ],
    )
    def test_a_class_that_hardly_trains_is_named(
        self, train: tuple[int, int], test: tuple[int, int], named: list[str]
    ) -> None:
        splits = {
            role: [row(f"{role}{k}{i}", k) for k, n in enumerate(counts) for i in range(n)]
            for role, counts in (("train_weaksup", train), ("test", test))
        }
        found = [f.message for f in audit_manifest(toy(**splits)).findings if f.check == "training"]
        assert found == [f"1 class has very few training images: {n}" for n in named]

    def test_a_class_that_hardly_trains_beside_the_others_is_named(self) -> None:
        rows = [row(f"{k}{i}", k) for k, n in enumerate((200, 200, 11)) for i in range(n)]
        manifest = Manifest("toy", ("cat", "dog", "eel"), {"train-weaksup": Split.from_samples(rows)})
        assert messages(audit_manifest(manifest)) == [
            "warning: train-weaksup: 1 class has very few training images: 'eel' 11 of 11 images"
        ]

    def test_both_training_splits_count_together(self) -> None:
        manifest = toy(train_weaksup=[row("a"), row("b", 1)], train_fullsup=[row("c"), row("d", 1)])
        card = Card("toy", "Toy", "x", expected={"train-weaksup": Expected(images_per_class=2)})
        assert messages(audit_manifest(manifest, card=card, held_out=True)) == []
        assert messages(audit_manifest(manifest, card=card)) == [
            "error: train-weaksup: 2 images, but 4 are expected"
        ]
        more = Card("toy", "Toy", "x", expected={"train-weaksup": Expected(images=9)})
        assert messages(audit_manifest(manifest, card=more, held_out=True)) == [
            "error: train-weaksup: 4 images with those held out as train-fullsup, but 9 are expected"
        ]

    def test_checksums(self, tmp_path: Path) -> None:
        file = tmp_path / "a.tgz"
        file.write_bytes(b"archive")
        for digest in (hashlib.md5(b"archive").hexdigest(), hashlib.sha256(b"archive").hexdigest()):
            (finding,) = check_archive(file, Card("x", "X", "x", checksums={"a.tgz": digest}))
            assert finding.severity == "note"
        (finding,) = check_archive(file, Card("x", "X", "x", checksums={"a.tgz": "0" * 32}))
        assert finding.severity == "error"
        assert check_archive(file, Card("x", "X", "x", checksums={"b.tgz": "0" * 32})) == []


class TestFiles:
    @pytest.fixture
    def found(self, tmp_path: Path) -> Callable[..., list[str]]:
        turned = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.open(io.BytesIO(picture((8, 6), seed=3))).save(turned, "JPEG", exif=exif)
        files = {
            "im/a.jpg": picture((8, 6), seed=1),
            "im/b.jpg": picture((8, 6), seed=2),
            "im/same.jpg": picture((8, 6), seed=1),
            "im/turned.jpg": turned.getvalue(),
            "im/cut.png": picture((40, 40), "PNG")[:-500],
            "im/page.jpg": b"<html>",
            "im/.DS_Store": b"",
            "im/notes.txt": b"",
            "m/ok.png": mask((8, 6), (1, 1, 3, 3)),
            "m/none.png": mask((8, 6), (0, 0, 0, 0)),
            "elsewhere/z.jpg": picture(),
        }
        write_tree(tmp_path, files)

        def audit(*rows: Sample, verify: Any = "headers", other: tuple[Sample, ...] = ()) -> list[str]:
            splits = {"test": list(rows)} | ({"train_weaksup": list(other)} if other else {})
            manifest = toy(tmp_path, **splits)
            facts = inspect_files(manifest, open_root(tmp_path), verify=verify)
            audit = audit_manifest(manifest, facts=facts)
            return [m for m in messages(audit) if "in no split" not in m and "no image: " not in m]

        return audit

    def test_clean_files(self, found: Callable[..., list[str]]) -> None:
        assert found(row("im/a.jpg", size_wh=(8, 6)), row("im/b.jpg", 1)) == []

    @pytest.mark.parametrize(
        ("rows", "verify", "expected"),
        [
            pytest.param(
                [row("im/q.jpg")], "names", "error: test: 1 file is missing: im/q.jpg", id="missing"
            ),
            pytest.param(
                [row("im/a.jpg", masks=("m/q.png",))],
                "names",
                "error: test: 1 file is missing: m/q.png",
                id="mask missing",
            ),
            pytest.param(
                [row("im/a.jpg", size_wh=(6, 8))],
                "headers",
                "error: test: 1 image is not of the stated size: 'im/a.jpg' is 8x6, stated 6x8",
                id="size",
            ),
            pytest.param(
                [row("im/page.jpg")],
                "headers",
                "error: test: 1 image cannot be read: image 'im/page.jpg' is not a readable image (6 bytes); "
                "replace the file",
                id="no image",
            ),
            pytest.param(
                [row("im/cut.png")],
                "headers",
                "error: test: 1 image cannot be read: image 'im/cut.png' is truncated",
                id="truncated, found by its end",
            ),
            pytest.param(
                [row("im/cut.png")],
                "pixels",
                "error: test: 1 image cannot be read: image 'im/cut.png' is truncated",
                id="truncated",
            ),
            pytest.param(
                [row("im/turned.jpg")], "headers", "warning: test: 1 image has an EXIF rotation", id="turned"
            ),
            pytest.param([row("im/a.jpg", masks=("m/ok.png",))], "pixels", "", id="good mask"),
            pytest.param(
                [row("im/a.jpg", masks=("m/none.png",))],
                "pixels",
                "error: test: 1 image has bad masks: masks of 'im/a.jpg' mark no pixel",
                id="empty mask",
            ),
            pytest.param(
                [row("im/a.jpg"), row("im/same.jpg")],
                "headers",
                "warning: 1 image is byte-identical to another of the same split: test 'im/a.jpg' = test "
                "'im/same.jpg'",
                id="double",
            ),
        ],
    )
    def test_problems(
        self, found: Callable[..., list[str]], rows: list[Sample], verify: str, expected: str
    ) -> None:
        seen = found(*rows, verify=verify)
        assert len(seen) == bool(expected), seen
        assert not expected or seen[0].startswith(expected)

    def test_a_double_across_splits_is_a_leak(self, found: Callable[..., list[str]]) -> None:
        seen = found(row("im/a.jpg"), row("im/b.jpg", 1), other=(row("im/same.jpg"), row("im/turned.jpg", 1)))
        assert any("byte-identical to another across splits" in m for m in seen)

    def test_surplus_images_are_counted_where_the_manifest_looks(self, tmp_path: Path) -> None:
        write_tree(
            tmp_path, {"im/a.jpg": picture(), "im/b.jpg": picture(), "im/c.txt": b"", "x/d.jpg": picture()}
        )
        manifest = toy(tmp_path, test=[row("im/a.jpg")])
        facts = inspect_files(manifest, open_root(tmp_path), verify="names")
        assert facts.surplus == ["im/b.jpg"]
