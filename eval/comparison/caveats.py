"""What the numbers of a comparison do not show, in words."""

from __future__ import annotations

from collections.abc import Sequence

from eval.analysis.evaluated import Evaluated
from eval.analysis.paired_statistics import Difference
from eval.comparison.run_pairs import Pairing
from eval.comparison.training_differences import TrainingDifference, same_networks


def caveats(pairing: Pairing, primary: Difference, unlike: Sequence[TrainingDifference]) -> list[str]:
    """The caveats of one pair of methods, the weightiest first."""
    runs = (*pairing.baseline, *pairing.other)
    lines = [f"{note[0].upper()}{note[1:]}." for note in _on_a_part(runs)]
    if unlike:
        lines.append(
            f"The trainings differ in more than the method ({pairing.baseline_method} / {pairing.other_method}): "
            + "; ".join(str(u) for u in unlike)
            + "."
        )
    lines += [*_runs(pairing, primary), *_geometry(runs)]
    if not pairing.by_seed and max(primary.runs) > 1:
        lines.append("The methods do not have the same training seeds: all runs take part, unpaired.")
    if any(p.threshold == "oracle" for run in runs for p in run.protocols.values()):
        centred = " Its intervals are centred below the value by the optimism that compare.json states."
        lines.append(
            "An oracle threshold, the best on this split, is chosen on the very images that are scored: an upper bound."
            + (centred if primary.law else "")
        )
    if pairing.baseline[0].dataset == "parts":
        lines.append(
            "'parts' is composed from a seed to show mechanisms; it is no evidence about photographs."
        )
    return lines


def _on_a_part(runs: Sequence[Evaluated]) -> list[str]:
    """That only a part of a dataset was scored: published differences are those of the whole."""
    notes = [note for run in runs for note in run.results["provenance"].get("notes", ())]
    parts = list(dict.fromkeys(note for note in notes if note.startswith("only ")))
    return [f"{note}; published differences are of the whole dataset" for note in parts]


def _runs(pairing: Pairing, primary: Difference) -> list[str]:
    if same_networks(pairing):
        count = len(pairing.other)
        return [
            "Both score the maps of the same trained network: the difference is that of the maps."
            if count == 1
            else f"Both score the maps of the same {count} trained networks: the difference is that of the maps."
        ]
    counts = [
        count
        for count, side in zip(primary.runs, (pairing.baseline, pairing.other))
        if side[0].control in (None, "random")
    ]
    if not counts:  # nothing here was trained
        return []
    fewest = min(counts)
    how_many = " and ".join(map(str, dict.fromkeys(counts)))
    if primary.scope == "runs":
        what, images = ("sentence and interval", "new") if primary.law else ("sentence", "these")
        return [
            f"Every {what} is about the runs at hand on {images} images, not about the methods: another training "
            "of the same method can differ from this one. A verdict on methods needs three training seeds of each."
        ]
    if primary.law is None:
        return [
            f"{how_many} training seeds a side, and no images drawn anew (--bootstrap 0): the values are those of "
            "these runs on these images, without a verdict on the methods."
        ]
    if primary.scope == "two seeds":
        return [
            f"{how_many} training seeds a side give an interval and no verdict: of two the spread is known too poorly. "
            "Three give one."
        ]
    if fewest < 5:
        return [
            f"{how_many} seeds per method: the spread between seeds is estimated from few runs, and the intervals are "
            "wider for it."
        ]
    return []


def _geometry(runs: Sequence[Evaluated]) -> list[str]:
    looks = (_cells_look(r) for r in runs)
    places = {place for place in looks if place is not None}
    if len(places) < 2:
        return []
    shown = " / ".join(f"{x:+.1f}, {y:+.1f}" for x, y in sorted(places))
    return [
        f"Maps are drawn beside where their cells look, by unequal shares of the image (right, down, in percent: "
        f"{shown}): part of a difference may be geometry. The variants NAME@aligned (eval.localize --aligned) are "
        "free of it."
    ]


def _cells_look(run: Evaluated) -> tuple[float, float] | None:
    """By how much of the image, in percent, maps are drawn right of and below where they look; None if not known."""
    cells = (run.results["provenance"].get("map") or {}).get("cells")
    if not cells:
        return None
    x, y = (round(100 * o / cells[a]["pixels"], 1) for o, a in zip(cells["offset_xy"], "xy"))
    return x, y
