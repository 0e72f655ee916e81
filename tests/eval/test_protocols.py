"""Protocols as data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from eval.protocols import (
    PROTOCOLS,
    Protocol,
    differences,
    load_protocols,
    protocol_named,
    select,
    short_hash,
)
from eval.protocols.__main__ import main
from wsol.errors import UserError

HASHES = {
    "maxboxacc": "8861f56d",
    "maxboxacc_v2": "ce39a6c1",
    "maxboxacc_transferred": "52bd18f7",
    "maxboxacc_v2_transferred": "05655225",
    "maxboxacc_transferred_middle": "960dc6d6",
    "maxboxacc_v2_transferred_middle": "97e9b97e",
    "gt_known_fixed": "df8d54a6",
    "top1_loc": "8365ec25",
    "top5_loc": "18b1db6b",
    "cam2016": "3855a67c",
    "cutmix2019": "203333d9",
    "corloc": "ee472458",
    "pxap": "0fdc80e8",
    "mask_iou": "b19d9314",
}


def test_published_names_are_all_there() -> None:
    assert set(PROTOCOLS) >= {
        "maxboxacc",
        "maxboxacc_v2",
        "pxap",
        "gt_known_fixed",
        "top1_loc",
        "top5_loc",
        "cutmix2019",
        "cam2016",
        "maxboxacc_transferred",
        "maxboxacc_v2_transferred",
    }
    assert all(p.source for p in PROTOCOLS.values()), "every protocol names its source"


def test_definitions_that_papers_state() -> None:
    v2 = PROTOCOLS["maxboxacc_v2"]
    assert (v2.contours, v2.iou_thresholds, v2.threshold) == ("all", (0.3, 0.5, 0.7), "oracle")
    cutmix = PROTOCOLS["cutmix2019"]
    assert (cutmix.frame, cutmix.normalization, cutmix.fixed_threshold) == ("center-crop", "max", 0.15)
    assert (cutmix.iou_comparison, cutmix.class_gate) == (">", "top1")


def test_variants_change_one_field_and_their_name() -> None:
    p = protocol_named("maxboxacc@ivr@first_gt")
    assert (p.name, p.normalization, p.gt_boxes) == ("maxboxacc@ivr@first_gt", "ivr", "first")
    assert differences(PROTOCOLS["maxboxacc"].definition(), p.definition()) == [
        "normalization: 'minmax' / 'ivr'",
        "gt_boxes: 'any' / 'first'",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("maxboxac", "did you mean 'maxboxacc'"),
        ("maxboxacc@minmx", "did you mean 'minmax'"),
    ],
)
def test_unknown_names_suggest_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        protocol_named(name)


def test_select_adds_normalisations_and_first_boxes_once() -> None:
    names = [
        p.name for p in select(["maxboxacc", "cam2016"], normalizations=["max", "minmax"], first_gt=True)
    ]
    assert names == [
        "maxboxacc",
        "cam2016",
        "maxboxacc@max",
        "maxboxacc@first_gt",
        "cam2016@first_gt",
        "maxboxacc@max@first_gt",
    ]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("fixed_threshold", {"threshold": "fixed"}),
        ("fixed_threshold", {"fixed_threshold": 0.2}),
        ("iou_thresholds", {"iou_thresholds": ()}),
        ("iou_thresholds", {"iou_thresholds": (0.0,)}),
        ("threshold_step", {"threshold_step": 0.0}),
        ("frame_size", {"frame_size": 0}),
        ("class_gate", {"metric": "mask_iou", "class_gate": "top1"}),
        ("threshold", {"threshold": "none"}),
        ("threshold", {"metric": "mask_iou", "threshold": "fixed", "fixed_threshold": 0.3}),
        ("threshold", {"metric": "mask_iou", "threshold": "transferred"}),
        ("threshold", {"metric": "pixel_average_precision", "threshold": "oracle"}),
        ("frame", {"metric": "mask_iou", "frame": "center-crop"}),
        ("normalization_fraction", {"normalization": "ivr", "normalization_fraction": 45.0}),
        ("normalization_fraction", {"normalization": "ivr", "normalization_fraction": -0.1}),
        ("normalization_fraction", {"normalization": "ivr", "normalization_fraction": float("nan")}),
    ],
)
def test_contradictions_are_refused(field: str, values: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"'mine': {field} is"):
        Protocol("mine", **values)  # type: ignore[arg-type]


def test_a_protocol_of_ones_own_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "strict:\n  based_on: maxboxacc_v2\n  iou_thresholds: [0.9]\nhalf:\n  based_on: strict\n  gt_boxes: first\n"
    )
    found = load_protocols(file)
    assert found["strict"].contours == "all"
    assert found["half"].iou_thresholds == (0.9,)
    assert found["half"].gt_boxes == "first"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping"),
        ("a: 3", "must be a mapping of fields"),
        ("a: {iou_treshold: 3}", "did you mean 'iou_thresholds'"),
        ("a: {contours: widest}", "contours"),
        ("a: {based_on: nothing}", "unknown protocol 'nothing'"),
        ("a: [", "not readable as YAML"),
        ("maxboxacc: {iou_thresholds: [0.3]}", "protocol 'maxboxacc': the names of published protocols"),
        ("a@max: {based_on: maxboxacc}", "give it another name"),
    ],
)
def test_broken_protocol_files_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        load_protocols(file)


def test_the_hash_stands_for_the_definition() -> None:
    """The published ones are pinned: a changed definition is another number under an old name."""
    assert {p.name: short_hash(p) for p in PROTOCOLS.values()} == HASHES
    base = PROTOCOLS["maxboxacc"]
    assert (
        short_hash(dataclasses.replace(base, name="mine", source="me", pictured=False)) == HASHES["maxboxacc"]
    )
    for change in (
        {"gt_boxes": "first"},
        {"frame_size": 112},
        {"iou_comparison": ">"},
        {"drawing": "aligned"},
    ):
        assert short_hash(dataclasses.replace(base, **change)) not in HASHES.values()  # type: ignore[arg-type]


def test_the_command_lists_explains_and_compares(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    for name, digest in HASHES.items():
        assert f"{digest}  {name}:" in listed
    assert main(["cutmix2019"]) == 0
    explained = capsys.readouterr().out
    assert "fixed_threshold: 0.15" in explained
    assert "Yun et al., ICCV 2019" in explained
    assert main(["maxboxacc", "corloc"]) == 0
    compared = capsys.readouterr().out
    assert "iou_comparison: '>=' / '>'" in compared
    assert "frame" not in compared
    (tmp_path / "own.yaml").write_text("same: {based_on: maxboxacc}\n")
    assert main(["maxboxacc", "same", "--protocol-file", str(tmp_path / "own.yaml")]) == 0
    assert "no difference" in capsys.readouterr().out
    assert main(["maxboxac"]) == 2
    assert "maxboxacc" in capsys.readouterr().err


def test_corloc_is_scored_only_where_it_is_named() -> None:
    assert "corloc" not in {p.name for p in select()}
    assert [p.name for p in select(["corloc"])] == ["corloc"]
