"""Annotations and settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.doors.door import Door, Reader, mutate_yaml
from benchmarks.mutations import (
    mutate_bytes,
    mutate_csv,
    mutate_json,
    mutate_xml,
)
from eval.maps.predictions import Predictions
from eval.protocols.chosen import load_protocols
from eval.records.predicted_boxes import read_boxes
from eval.study.design import read_design
from tests.datasets.test_read_coco import coco
from tests.datasets.test_read_folder import box_lines
from tests.datasets.test_read_voc import voc_files
from wsol.class_map import output_names
from wsol.datasets import cards
from wsol.datasets.cards import parse_card
from wsol.datasets.coco_json import parse_coco
from wsol.datasets.folder import parse_box_csv
from wsol.datasets.imagenet_texts import Solutions
from wsol.datasets.text_fields import decode_text
from wsol.datasets.voc_xml import parse_annotation
from wsol.files.strict_json import read_json
from wsol.files.strict_yaml import read_yaml
from wsol.training.config import load_config_file


def texts() -> list[Door]:
    """Annotations and settings."""
    classes = ("cat", "dog")
    voc = next(d for n, d in voc_files().items() if n.endswith(".xml"))
    results = json.dumps(
        [{"image_id": "a.jpg", "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 1}] * 3
    ).encode()
    solution = b"ImageId,PredictionString\nILSVRC2012_val_48981,n03995372 85 1 499 272 \nILSVRC2012_val_2,n03995372\n"
    parts = (Path(__file__).parents[2] / "studies" / "parts-cues.yaml").read_bytes()
    card = (Path(cards.__file__).parent / "card_files" / "cub200.yaml").read_bytes()
    protocols = b"a:\n  based_on: maxboxacc_v2\n  iou_thresholds: [0.9]\nb:\n  based_on: maxboxacc\n  frame_size: 112\n"
    config = b"method: cutmix\nepochs: 3\nlr: 0.1\nmilestones: [1, 2]\nschedule: step\n"
    instances = json.dumps(coco()).encode()
    boxes = box_lines(3)
    ranks, scores = b"image_id,rank\na.jpg,1\nb.jpg,2\n", b"image_id,cat,dog\na.jpg,1,0.5\nb.jpg,2,3e4\n"
    predicted = b"image_id,x0,y0,x1,y1,score,class\na.jpg,1,2,3,4,0.5,cat\nb.jpg,1,2,3,4,0.25,1\n"

    def decoded(parse: Callable[[str, str], object]) -> Reader:
        return lambda f: parse(decode_text(f.read_bytes(), f.name), f.name)

    def renamed(ending: str, read: Callable[[Path], object]) -> Reader:
        return lambda f: read(f.rename(f.with_suffix(ending)))

    return [
        Door("json: any", [instances, b'{"a": [1, 2, {"b": null}]}'], mutate_json, read_json),
        Door("json: COCO", [instances], mutate_json, decoded(parse_coco), 3),
        Door(
            "json: COCO results",
            [results],
            mutate_json,
            renamed(".json", lambda f: read_boxes(f, classes)),
            2,
        ),
        Door(
            "json: class map",
            [b'{"0": ["n01", "cat"], "1": "dog"}'],
            mutate_json,
            renamed(".json", lambda f: output_names(f, 2, "it")),
        ),
        Door("yaml: any", [card, b"a: [1, {b: c}]\n"], mutate_yaml, read_yaml),
        Door("yaml: card", [card], mutate_yaml, decoded(parse_card)),
        Door("yaml: protocols", [protocols], mutate_yaml, load_protocols, 2),
        Door("yaml: settings", [config], mutate_yaml, load_config_file, 2),
        Door("yaml: study", [parts], mutate_yaml, read_design),
        Door("xml: VOC", [voc], mutate_xml, lambda f: parse_annotation(f.read_bytes(), f.name), 4),
        Door(
            "csv: boxes",
            [boxes, box_lines(2, "image;x;y;width;height", "{c}/{c}{i}.png;{i};1;{j};9")],
            mutate_csv,
            decoded(parse_box_csv),
            3,
        ),
        Door("csv: predicted boxes", [predicted], mutate_csv, lambda f: read_boxes(f, classes), 2),
        Door("csv: predictions", [ranks, scores], mutate_csv, lambda f: Predictions.read(f, classes), 2),
        Door(
            "csv: Kaggle's solution",
            [solution],
            mutate_csv,
            decoded(lambda t, w: list(Solutions(t, w).items())),
        ),
        Door(
            "csv: class map",
            [b"n01440764 tench\nn01443537 goldfish (dog)\n"],
            mutate_bytes,
            lambda f: output_names(f, 2, "it"),
        ),
    ]
