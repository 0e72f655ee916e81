"""Pieces that the page of a run and the page of a comparison share: curves, distributions, gallery words, facts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.error_kinds import KINDS
from eval.analysis.evaluated import Evaluated
from eval.analysis.per_image import PerImage
from eval.protocols import Protocol, differences
from eval.report import charts
from eval.report.gallery import Gallery
from eval.report.sampling import WORDS
from eval.terminal.tables import images_counted

if TYPE_CHECKING:
    import numpy.typing as npt

HISTOGRAM_BINS = 20
_RULES = {"oracle": "best threshold on this split", "fixed": "fixed threshold", "none": ""}


def how(definition: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """How a protocol's threshold is chosen, and what else sets it apart, in a few words."""
    rule = definition["threshold"]
    words = [
        f"threshold from {results.get('threshold_split')}" if rule == "transferred" else _RULES[rule],
    ]
    if definition.get("plateau", "smallest") != "smallest":
        words.append("the middle of equally good ones")
    if definition["metric"] == "pixel_average_precision":
        words = ["pixels, over all thresholds"]
    elif definition["metric"] == "mask_iou":
        words.insert(0, "pixels")
    if definition["metric"] == "box_accuracy":
        words.append("IoU " + "/".join(f"{100 * t:g}" for t in definition["iou_thresholds"]))
    if definition["normalization"] != "minmax":
        words.append(f"{definition['normalization']} normalisation")
    if definition["class_gate"] != "none":
        words.append(f"and {definition['class_gate'].replace('top', 'top-')} class right")
        if definition.get("class_view") == "scored":
            words.append("as the scored view is classified")
    if definition["frame"] != "resize":
        words.append(definition["frame"].replace("-", " "))
    return ", ".join(w for w in words if w)


def curve_protocols(runs: Sequence[Evaluated]) -> list[Protocol]:
    """Protocols whose curve every run has, by one definition, and that share the first one's score maps; the slider
    serves these."""
    first = runs[0]
    found = [
        p
        for name, p in first.protocols.items()
        if p.metric == "box_accuracy"
        and p.frame == "resize"
        and p.threshold == "oracle"
        and all(name in r.results.get("curves", {}) for r in runs)
        and not any(differences(p.definition(), r.protocols[name].definition()) for r in runs)
    ]
    return [p for p in found if p.channel == found[0].channel]


def curve_block(
    runs: Sequence[Evaluated], protocols: Sequence[Protocol]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(`charts` for the template, `curves` for the script), from results.json as it stands."""
    drawn: list[dict[str, Any]] = []
    data: list[dict[str, Any]] = []
    names = [r.method for r in runs]
    for p in protocols:
        curves = [r.results["curves"][p.name] for r in runs]
        bands = runs[0].results.get("curve_bands", {}).get(p.name) if len(runs) == 1 else None
        keys = [k for k in curves[0] if k != "taus"]
        middle = keys[len(keys) // 2]
        label = f"{p.name}: percent of images localized over the threshold, for {', '.join(names)}"
        contours = f"{p.contours} contour{'s' if p.contours == 'all' else ''}"
        caption = f"{p.name}, {contours}, maps scaled by {p.normalization}."
        if p.contours == "all":
            caption += (
                " The gallery draws the largest contour's box; the IoU is that of the best of all contours."
            )
        if bands:
            caption += (
                " Shaded: a 95 % band that holds for all thresholds at once, on new images of these classes."
            )
        drawn.append(
            {
                "name": p.name,
                "svg": charts.threshold_chart(curves, keys, label, bands),
                "spark": charts.spark_line(curves, middle),
                "caption": caption,
            }
        )
        data.append(
            {
                "name": p.name,
                "keys": keys,
                "iou": f"{p.contours}_{p.gt_boxes}",
                "limit": 0.5 if 0.5 in p.iou_thresholds else p.iou_thresholds[len(keys) // 2],
                "best": [_best(c, middle) for c in curves],
                "runs": curves,
            }
        )
    return drawn, data


def _best(curve: Mapping[str, Sequence[float]], key: str) -> float:
    return float(curve["taus"][int(np.argmax(curve[key]))])


def iou_histogram(images: Sequence[PerImage], mark: float) -> Any:
    """Histogram chart of the IoU of every scored image, one outline per run."""
    shares = []
    for image in images:
        counts, _ = np.histogram(image.iou[image.scored], bins=HISTOGRAM_BINS, range=(0, 1))
        shares.append((100 * counts / max(int(image.scored.sum()), 1)).tolist())
    return charts.histogram(shares, "Histogram of IoU", mark)


def precision_recall_points(run: Evaluated, protocol: Protocol) -> list[tuple[float, float]]:
    """(recall, precision) of the pixels of the whole set at up to 200 thresholds, recall rising."""
    inside: npt.NDArray[np.float64] | float = 0.0
    outside: npt.NDArray[np.float64] | float = 0.0
    for block in run.store.blocks():
        found = block.channel(protocol.channel).histograms(protocol.threshold_step)
        if found is None:
            return []
        for_object, for_background = found
        inside = inside + for_object.sum(0, dtype=np.float64)
        outside = outside + for_background.sum(0, dtype=np.float64)
    tp = np.cumsum(np.asarray(inside)[::-1])
    fp = np.cumsum(np.asarray(outside)[::-1])
    some = np.flatnonzero((tp + fp > 0) & (tp[-1] > 0))
    if not len(some):
        return []
    some = some[np.unique(np.linspace(0, len(some) - 1, 200).astype(int))]
    return [(round(float(tp[i] / tp[-1]), 5), round(float(tp[i] / (tp[i] + fp[i])), 5)) for i in some]


def gallery_content(
    gallery: Gallery, classes: Sequence[str], runs: Sequence[Evaluated], total: int
) -> dict[str, Any]:
    """What the template prints around the gallery."""
    present = sorted({i["class"] for i in gallery.images})
    kinds = [
        (f"{m}:{kind}", kind if len(runs) == 1 else f"{r.method}: {kind}")
        for m, r in enumerate(runs)
        for kind in KINDS
        if any(i["runs"][m]["kind"] == kind for i in gallery.images)
    ]
    whys = [w for w in WORDS if any(i["why"] == w for i in gallery.images)]
    several = len(runs) > 1
    name = f" for {runs[-1].method}" if several else ""
    sorts = [("random", "as in the dataset"), ("worst", f"worst first{name}"), ("best", f"best first{name}")]
    if several:
        pair = f"{runs[0].method} to {runs[-1].method}"
        sorts = [
            ("changed", f"most changed, {pair}"),
            ("gained", f"largest gain, {pair}"),
            ("lost", f"largest loss, {pair}"),
            *sorts,
        ]
    sorts.append(("class", "by class"))
    shown, scored = len(gallery.images), runs[0].results["counts"]["scored"]
    if shown == scored:
        lead = f"All {total:,} images." if shown == total else f"All {images_counted(runs[0].results)}."
    else:
        found = {w: sum(i["why"] == w for i in gallery.images) for w in whys}
        picked = [
            f"{n} drawn at random" if w == "random" else f"{n} for their {WORDS[w]}" for w, n in found.items()
        ]
        lead = f"{shown} of {total:,} images: {', '.join(picked)}."
    return {
        "lead": lead + " Choose one to enlarge it; the slider moves every box.",
        "notes": gallery.notes,
        "sorts": sorts,
        "classes": [(c, classes[c]) for c in present],
        "kinds": kinds,
        "whys": [(w, WORDS[w]) for w in whys],
    }


def script_data(
    gallery: Gallery | None,
    curves: Sequence[Mapping[str, Any]],
    runs: Sequence[Evaluated],
    classes: Sequence[str],
    total: int,
) -> dict[str, Any]:
    """What the page's script reads."""
    return {
        "methods": [r.method for r in runs],
        "classes": list(classes),
        "curves": list(curves),
        "frame": gallery.frame_size if gallery else 224,
        "images": gallery.images if gallery else [],
        "words": WORDS,
        "total": total,
    }


def run_facts(run: Evaluated) -> list[tuple[str, str]]:
    """Where a run's numbers come from, in a few lines."""
    provenance = run.results["provenance"]
    git = provenance.get("git") or {}
    versions = provenance.get("versions") or {}
    facts = [
        ("evaluated by", shlex.join(str(a) for a in provenance.get("command") or [])),
        ("architecture", run.arch or ""),
        ("training seed", "" if run.seed is None else str(run.seed)),
        ("bootstrap seed", str((provenance.get("seeds") or {}).get("bootstrap", ""))),
        ("manifest", str(provenance.get("manifest_hash") or "")[:16]),
        ("weights", str(provenance.get("weights_sha256") or "")[:16]),
        ("commit", str(git.get("sha") or "")[:12] + (", with changes" if git.get("dirty") else "")),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items())),
    ]
    return [(k, v) for k, v in facts if v]


def json_details(title: str, data: Any) -> dict[str, str]:
    """A folded block of JSON."""
    return {"title": title, "text": json.dumps(data, indent=1, ensure_ascii=False, default=str)}
