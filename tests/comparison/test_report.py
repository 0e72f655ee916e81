"""The pages as files: self-contained, escaped, bounded, and with the numbers of results.json. The browser's part is in
test_report_browser.py."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from eval.analysis.error_kinds import KINDS
from eval.analysis.evaluated import open_evaluated
from eval.compare import main as compare
from eval.localize import main as localize
from eval.report.__main__ import main
from eval.report.charts import Plot, interval_strip, stacked_bar, step_path
from eval.report.embed import base64_of, script_json
from eval.report.errors_by_class import errors_by_class
from eval.report.gallery import Gallery
from eval.report.parts_of_page import gallery_content
from eval.report.run_sections import class_section
from eval.report.sampling import GAINED, LOST, RANDOM, pick_images
from tests.helpers.builders_eval import EVIL, Planted, build_dataset, evaluated_run
from wsol.manifest import Split, load_manifest, write_manifest


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    manifest = build_dataset(root / "data", test=40, fullsup=6)
    return evaluated_run(
        root / "cutmix-0", manifest, Planted(extent=0.7, jitter=0.2), method=EVIL, bootstrap=50
    )


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    assert main([str(run), "--pictures", "10"]) == 0
    return (run / "eval" / "report.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Every start tag with its attributes, and the data block's text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "script" and dict(attrs).get("type") == "application/json"

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.data += data


@pytest.fixture(scope="module")
def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


@pytest.fixture(scope="module")
def data(parsed: Tags) -> dict:
    return json.loads(parsed.data)


def test_nothing_is_fetched(parsed: Tags, page: str) -> None:
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in page


def test_a_class_name_that_is_markup_stays_text(parsed: Tags, page: str, data: dict) -> None:
    assert not [t for t, a in parsed.tags if "onerror" in a]
    assert EVIL not in page
    assert data["classes"][0] == EVIL
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_every_protocol_is_in_the_table(run: Path, page: str) -> None:
    results = json.loads((run / "eval" / "results.json").read_text())
    for name, entry in results["protocols"].items():
        row = page[page.index(f">{name}<") :]
        row = row[: row.index("</tr>")]
        assert f"{entry['value']:.2f}" in row
        assert f"[{entry['ci95'][0]:.1f}, {entry['ci95'][1]:.1f}]" in row


def test_curves_are_those_of_results_json(run: Path, data: dict) -> None:
    curves = json.loads((run / "eval" / "results.json").read_text())["curves"]
    assert [c["name"] for c in data["curves"]] == ["maxboxacc", "maxboxacc_v2"]
    for c in data["curves"]:
        assert c["runs"] == [curves[c["name"]]]


def test_boxes_and_iou_of_the_gallery_are_the_records(run: Path, data: dict) -> None:
    from eval.analysis.evaluated import open_evaluated

    evaluated = open_evaluated(run)
    block = evaluated.store.read(0)
    ids = [f"test/{i:04d}.png" for i in range(40)]
    assert len(data["images"]) == 10
    assert data["total"] == 40
    for image in data["images"]:
        row, entry = ids.index(image["id"]), image["runs"][0]
        boxes = np.frombuffer(base64.b64decode(entry["boxes"]), np.uint8).reshape(256, 4)
        iou = np.frombuffer(base64.b64decode(entry["iou"]["largest_any"]), "<f4")
        assert (boxes == block.channel("resize224-minmax").largest_box[row]).all()
        assert (iou == block.channel("resize224-minmax").iou("largest", "any")[row]).all()
        assert entry["top"] == block.channel("resize224-minmax").max_level[row]
        assert entry["map"]["h"] == 8


def test_the_page_says_how_many_images_it_shows(page: str) -> None:
    assert "10 of 40 images: 5 drawn at random, 2 for their lowest IoU, 3 for their highest IoU." in page


@pytest.mark.parametrize(
    ("shown", "scored", "words"),
    [
        ({RANDOM: 4}, 4, "All 4 images with boxes of 5. Choose"),
        ({RANDOM: 5}, 5, "All 5 images. Choose"),
        ({RANDOM: 2, LOST: 1}, 4, "3 of 5 images: 2 drawn at random, 1 for their largest loss. Choose"),
    ],
)
def test_all_images_that_have_boxes_are_said_to_be_all(
    shown: dict[str, int], scored: int, words: str, run: Path
) -> None:
    images = [{"class": 0, "why": why, "runs": [{"kind": ""}]} for why, n in shown.items() for _ in range(n)]
    opened = open_evaluated(run)
    counted = {**opened.results, "num_images": 5, "counts": {"scored": scored}}
    content = gallery_content(Gallery(images, 224, []), ["a"], [replace(opened, results=counted)], 5)
    assert content["lead"].startswith(words)


def test_the_log_beside_the_results_becomes_a_curve(run: Path, tmp_path: Path) -> None:
    lines = [{"epoch": e, "train_top1_mixed": 1.0, "validation": {"top1": 10.0 * e}} for e in (1, 2, 4)]
    log = run / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + "damaged\n")
    try:
        assert main([str(run), "--pictures", "0", "--out", str(tmp_path)]) == 0
    finally:
        log.unlink()
    page = (tmp_path / "report.html").read_text()
    assert "How it was trained" in page
    assert "on train-fullsup, last 40.0 %" in page
    plot = Plot(width=520, height=250)
    points = "L".join(f"{plot.x(e / 4)},{plot.y(10 * e, 40)}" for e in (1, 2, 4))
    assert f'd="M{points}"' in page, "the axis ends at 40 %, the next 20 above what is drawn"
    main([str(run), "--pictures", "0", "--out", str(tmp_path / "without")])
    assert "How it was trained" not in (tmp_path / "without" / "report.html").read_text()


def test_classes_of_one_image_are_left_out_and_counted() -> None:
    section = class_section([("a", 2, 50.0, None), ("b", 1, 100.0, None), ("c", 3, 0.0, None)])
    assert [row[0] for row in section["table"]["rows"]] == ["c", "a"]
    assert "1 classes of one image are left out" in section["note"]


def test_kinds_of_error_by_class_of_two_methods() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    before = np.array(
        [KINDS.index(k) for k in ("correct", "part", "part", "more", "correct", "more", "part")]
    )
    after = np.array([0, 0, 0, 3, 0, 0, 0])
    kinds = {"vanilla": before.astype(np.int8), "cutmix": after.astype(np.int8)}
    section = errors_by_class(labels, kinds, ["ant", "bee", "cat"])
    assert KINDS[:4] == ("correct", "classification", "multi-instance", "part")
    assert [row[:3] for row in section["table"]["rows"]] == [
        ["ant", "4", "25 → 75"],
        ["bee", "2", "50 → 100"],
    ]
    assert section["table"]["rows"][0][5] == "50 → 25"
    assert section["note"] == "vanilla → cutmix. Classes of one image are left out."


def test_kinds_of_error_by_class_add_up_to_all_images_of_it(page: str) -> None:
    table = page.split("Kinds of error by class</h3>")[1].split("</table>")[0]
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", table)
    assert rows
    for row in rows:
        _, *shares = (float(v) for v in re.findall(r"<td>([\d.,]+)</td>", row))
        assert abs(sum(shares) - 100) <= 3, "six rounded shares"


def test_without_the_dataset_the_numbers_are_still_shown(run: Path, tmp_path: Path) -> None:
    assert main([str(run), "--dataset", str(tmp_path / "gone"), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "maxboxacc" in page
    assert "Not analysed" in page


def test_other_peoples_maps_are_shown_too(run: Path, tmp_path: Path) -> None:
    from eval.export.__main__ import main as export

    assert export([str(run), "--maps", str(tmp_path / "maps")]) == 0
    manifest = next(run.parent.glob("data/manifest"))
    arguments = [
        "--score-maps",
        str(tmp_path / "maps"),
        "--dataset",
        str(manifest),
        "--out",
        str(tmp_path / "out"),
    ]
    arguments += ["--threshold-split", "None", "--bootstrap", "0", "--pictures", "0"]
    assert localize(arguments) == 0
    assert main([str(tmp_path / "out"), "--pictures", "4"]) == 0
    tags = Tags()
    tags.feed((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    images = json.loads(tags.data)["images"]
    assert [(i["runs"][0]["map"]["h"], i["runs"][0]["top1"]) for i in images] == [(32, -1)] * 4

    # maps of another moment never stand beside records of this one
    first = next((tmp_path / "maps").rglob("*.npy"))
    np.save(first, np.eye(16))
    assert main([str(tmp_path / "out"), "--pictures", "4"]) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "have changed since they were scored; run eval.localize again" in page


def test_a_control_has_a_page_without_images(run: Path, tmp_path: Path) -> None:
    manifest, out = next(run.parent.glob("data/manifest")), tmp_path / "control"
    arguments = ["--control", "center_gaussian", "--dataset", str(manifest), "--out", str(out)]
    assert localize([*arguments, "--bootstrap", "0", "--pictures", "0"]) == 0
    assert main([str(out)]) == 0
    assert "a control sees no image" in (out / "report.html").read_text(encoding="utf-8")


def _text(page: str) -> str:
    return " ".join(html.unescape(page).split())


def test_a_page_says_of_which_images_it_is(run: Path, tmp_path: Path) -> None:
    """Fewer boxes than images, a part of a dataset, another split than test, no resamples: each in words."""
    data = load_manifest(next(run.parent.glob("data/manifest")))
    bare = {
        role: Split.from_samples(
            replace(s, boxes_xyxy=np.zeros((0, 4))) if i % 4 == 0 else s for i, s in enumerate(split)
        )
        for role, split in data.splits.items()
    }
    write_manifest(replace(data, splits=bare), tmp_path / "bare")
    control = ["--control", "center_gaussian", "--dataset", str(tmp_path / "bare"), "--pictures", "0"]
    control += ["--protocols", "maxboxacc"]
    assert localize([*control, "--bootstrap", "50", "--out", str(tmp_path / "all")]) == 0
    assert main([str(tmp_path / "all")]) == 0
    page = _text((tmp_path / "all" / "report.html").read_text(encoding="utf-8"))
    assert "% of the 30 test images of synthetic that have boxes." in page
    assert "30 images with boxes of 40 in synthetic, test." in page
    assert "synthetic, test, 30 images with boxes of 40" in page
    assert "Intervals are for new test images; a control is not trained." in page
    assert re.search(r"\[\d+\.\d, \d+\.\d\]", page)

    assert (
        localize([*control, "--control", "full_image", "--bootstrap", "0", "--out", str(tmp_path / "full")])
        == 0
    )
    sides = [f"a={tmp_path / 'all'}", f"b={tmp_path / 'full'}"]
    assert compare([*sides, "--bootstrap", "0", "--out", str(tmp_path / "two")]) == 0
    page = _text((tmp_path / "two" / "compare.html").read_text(encoding="utf-8"))
    said = "synthetic, test, 30 images with boxes of 40"
    assert page.count(said) == 2, "above the headline, and in the facts"

    few = ["--limit", "3", "--split", "train-fullsup", "--bootstrap", "0"]
    assert localize([*control, *few, "--out", str(tmp_path / "few")]) == 0
    assert main([str(tmp_path / "few")]) == 0
    page = _text((tmp_path / "few" / "report.html").read_text(encoding="utf-8"))
    assert "% of 2 train-fullsup images, a part of synthetic." in page
    assert "2 images with boxes of 3 in synthetic, train-fullsup; only 3 images of each split" in page
    assert "There are no intervals: it was scored without resamples" in page
    assert "Intervals are for" not in page
    assert not re.search(r"\[\d+\.\d, \d+\.\d\]", page), "nor of groups and classes"


def test_a_run_that_was_not_evaluated_is_a_user_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "has not been evaluated" in capsys.readouterr().err


# --- pieces -------------------------------------------------------------------------------------------------


def test_json_in_a_page_cannot_end_its_script() -> None:
    text = {"a": "</script><script>alert(1)</script>", "b": "<!--", "c": "\u2028&"}
    embedded = script_json(text)
    assert not re.search(r"[<>&\u2028]", embedded)
    assert json.loads(embedded) == text
    with pytest.raises(ValueError, match="JSON"):
        script_json(float("nan"))


def test_arrays_travel_little_endian() -> None:
    assert base64.b64decode(base64_of(np.array([1, 256], ">u2"))) == b"\x01\x00\x00\x01"


def test_half_of_the_pictures_are_random_and_the_rest_are_extremes() -> None:
    change = np.linspace(-1, 1, 1000)
    iou = np.stack([np.zeros(1000), change], axis=1)
    scored = np.ones(1000, bool)
    scored[999] = False  # the largest gain cannot be scored
    picked = pick_images(iou, scored, 20, seed=3)
    why = np.array(picked.why)
    assert (why == RANDOM).sum() == 10
    assert sorted(picked.rows) == picked.rows.tolist()
    assert 999 not in picked.rows
    assert {0, 1, 998}.issubset(picked.rows.tolist())
    assert (why == LOST).sum() == (why == GAINED).sum() == 5
    assert picked.rows.tolist() == pick_images(iou, scored, 20, seed=3).rows.tolist()


@pytest.mark.parametrize(("count", "total", "expected"), [(10, 0, 0), (10, 4, 4), (10, 10, 10), (1, 50, 1)])
def test_never_more_pictures_than_asked_for_or_there(count: int, total: int, expected: int) -> None:
    picked = pick_images(np.zeros((total, 1)), np.ones(total, bool), count, 0)
    assert len(picked.rows) == expected == len(set(picked.rows.tolist()))


def test_a_curve_holds_its_value_until_the_next_threshold() -> None:
    plot = Plot(width=110, height=110, left=5, right=5, top=5, bottom=5)
    assert step_path(plot, [0.0, 0.5, 0.7], [0, 100, 100]) == "M5.0,105.0H55.0V5.0H105"


def test_an_interval_beyond_the_scale_is_cut_not_drawn_outside() -> None:
    xs = [float(x) for x in re.findall(r'[cx][x12]="([\d.-]+)"', interval_strip(5, [-200, 900], 10))]
    assert min(xs) >= 0
    assert max(xs) <= 180


def test_stacked_pieces_cover_the_bar() -> None:
    widths = [float(w) for w in re.findall(r'width="([\d.]+)"', stacked_bar({"a": 25, "b": 75, "c": 0}, "x"))]
    assert len(widths) == 2
    assert sum(widths) == pytest.approx(720 - 2)
