"""The whole comparison as plain data: what compare.json holds, and every table, figure and page is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.evaluated import Evaluated, Unavailable, open_manifest
from eval.analysis.paired_statistics import Correction, Difference, adjusted, mcnemar_exact
from eval.analysis.per_image import PerImage, per_image
from eval.comparison.analyses import Analysis, analyse
from eval.comparison.bands import curve_bands
from eval.comparison.caveats import caveats
from eval.comparison.controls import GAUSSIAN, against_controls, gaussian, given, one_of_each, values_beside
from eval.comparison.multiverse import multiverse
from eval.comparison.planning import planning
from eval.comparison.published import published_for
from eval.comparison.run_pairs import Pairing, comparable_protocols, pair, require_same_images
from eval.comparison.run_pairs import group as group_runs
from eval.comparison.sides import difference_of, party_of, sampled
from eval.comparison.training_differences import same_networks, training_differences
from eval.comparison.verdicts import Verdict, few_seeds, judge, population, sentence
from eval.comparison.without_threshold import agreement, without_threshold
from eval.metrics.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap
from eval.metrics.outcomes import Summary
from eval.protocols import Protocol
from eval.statistics.law import ALPHA, CONFIDENCE
from eval.statistics.planning import POWER
from eval.statistics.prediction import new_pair
from wsol.errors import UserError, unknown_name

if TYPE_CHECKING:
    from wsol.manifest import Manifest, Split

SCHEMA = 2
PRIMARY = ("maxboxacc_v2_transferred", "maxboxacc_transferred", "maxboxacc_v2", "maxboxacc", "pxap")
"""The primary outcome where none is named: the first that was scored. Fixed here, before any result is seen."""


@dataclass(frozen=True)
class Question:
    """What is asked of a comparison beforehand: the primary outcome, the smallest difference of interest in points, the
    correction of the secondary outcomes, and whether classes are a sample too."""

    primary: str | None = None
    margin: float | None = None
    correction: Correction = "max-t"
    by_class: bool = False


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: `content` is compare.json; the rest lets the page draw pictures without re-reading."""

    content: dict[str, Any]
    pairings: tuple[Pairing, ...]
    summaries: dict[str, dict[str, Summary]]
    """By run folder, then protocol."""
    manifest: tuple[Manifest, Split] | Unavailable
    decisions: dict[tuple[str, str], PerImage] = field(default_factory=dict)
    """By run folder and protocol."""


def compare_runs(
    runs: Sequence[Evaluated],
    *,
    baseline: str | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    question: Question = Question(),
    dataset: str | None = None,
    data_root: str | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> Comparison:
    """Compare every method with the baseline by the primary outcome, then protocol by protocol, and say what drives
    each difference.

    Controls among the runs are no rivals: every method is compared with each of them. Where one method stands against
    controls alone, the first control is its baseline.

    Raises `UserError` where the runs were scored on different images, or leave nothing to compare.
    """
    require_same_images(runs)
    contestants = [r for r in runs if r.control is None]
    controls = [r for r in runs if r.control is not None]
    if len(group_runs(contestants)) < 2:
        first_control = next((r.method for r in controls), None)
        baseline = baseline or first_control
        rivals = [r for r in controls if not contestants or r.method == first_control]
        controls = [r for r in controls if r not in rivals]
        contestants = [*one_of_each(rivals), *contestants] if contestants else rivals
    pairings = pair(group_runs(contestants), baseline)
    protocols, refused = comparable_protocols(contestants)
    if not protocols:
        reasons = "; ".join(f"{k}: {v}" for k, v in refused.items()) or "nothing was scored"
        raise UserError(f"no protocol is comparable between these runs ({reasons})")
    primary = _primary(protocols, question.primary)
    used = list({str(r.folder): r for p in pairings for r in (*p.baseline, *p.other)}.values())
    manifest = open_manifest(runs[0], dataset, data_root)
    if question.by_class:
        labels = np.concatenate([block.label for block in runs[0].store.blocks()])
        if len(np.unique(labels)) < 2:
            raise UserError(
                "--cluster class: there is a single class, and new classes cannot be judged from it"
            )
        bootstrap = Bootstrap(bootstrap.resamples, bootstrap.seed, clusters=labels)
    summaries: dict[str, dict[str, Summary]] = {}
    decisions: dict[tuple[str, str], PerImage] = {}
    boxes = [p for p in protocols if p.metric == "box_accuracy"]
    for run in used:
        summaries[str(run.folder)] = run.summaries(protocols, bootstrap)
        for p in boxes:
            decisions[str(run.folder), p.name] = per_image(run.store, p, run.thresholds(p.name))
        advance(run.store.index.num_images)
    for run in controls:
        own = [p for p in run.protocols.values() if p in protocols]
        summaries[str(run.folder)] = run.summaries(own, bootstrap)
    references = given(controls, summaries)
    if not any(c.name == GAUSSIAN for c in references) and not any(r.control == GAUSSIAN for r in used):
        own_gaussian = gaussian(manifest, used[0], protocols, bootstrap)
        references = [*([own_gaussian] if own_gaussian else []), *references]
    differences = _differences(pairings, protocols, primary, summaries, bootstrap, question.correction)
    entries = []
    for pairing in pairings:
        mine = {p.name: differences[pairing.name, p.name] for p in protocols}
        analysis = analyse(pairing, protocols, mine, summaries, decisions, manifest, bootstrap=bootstrap)
        measures, no_measures = without_threshold(pairing, bootstrap, question.correction)
        if no_measures:
            analysis.missing["without a threshold"] = no_measures
        entries.append(
            {
                **_about_pairing(pairing),
                **_answer(pairing, mine, primary, summaries, question, references, bootstrap),
                "protocols": {
                    p.name: _entry(
                        pairing, p, mine[p.name], p.name == primary, summaries, decisions, question
                    )
                    for p in protocols
                },
                "measures": measures,
                "planning": planning(
                    mine[primary], primary, question.margin, "classes" if question.by_class else "images"
                ),
                "multiverse": multiverse(pairing, protocols, summaries, bootstrap),
                "curve_bands": curve_bands(pairing, summaries, bootstrap),
                **_analysis_json(analysis),
            }
        )
        answer = entries[-1]
        answer["agreement"] = agreement(measures, answer["verdict"], primary, answer["few_seeds"])
    first = runs[0]
    secondary = len(pairings) * (len(protocols) - 1)
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "dataset": first.dataset,
        "split": first.split,
        "split_hash": first.store.index.split_hash,
        "num_images": first.store.index.num_images,
        "num_scored": summaries[str(used[0].folder)][primary].num_scored,
        "primary": {"name": primary, "stated": question.primary is not None, "margin": question.margin},
        "comparisons": entries,
        "not_compared": refused,
        "settings": {
            "resamples": bootstrap.resamples,
            "seed": bootstrap.seed,
            "confidence": CONFIDENCE,
            "alpha": ALPHA,
            "power": POWER,
            "cluster": "class" if question.by_class else None,
            "correction": f"{question.correction}, over {secondary} secondary differences"
            + (f"; the primary ones of {len(pairings)} methods likewise" if len(pairings) > 1 else ""),
        },
    }
    return Comparison(content, tuple(pairings), summaries, manifest, decisions)


def _primary(protocols: Sequence[Protocol], named: str | None) -> str:
    names = [p.name for p in protocols]
    if named is not None and named not in names:
        raise unknown_name("protocol", named, names)
    return named or next((n for n in PRIMARY if n in names), names[0])


def _differences(
    pairings: Sequence[Pairing],
    protocols: Sequence[Protocol],
    primary: str,
    summaries: Mapping[str, Mapping[str, Summary]],
    bootstrap: Bootstrap,
    correction: Correction,
) -> dict[tuple[str, str], Difference]:
    """Every difference by pairing and protocol: the primary ones are a family over methods, all others one."""
    found: dict[tuple[str, str], Difference] = {}
    for pairing in pairings:
        for p in protocols:
            a, b = (
                sampled([summaries[str(r.folder)][p.name] for r in runs], trained=party_of(runs).trained)
                for runs in (pairing.baseline, pairing.other)
            )
            like = summaries[str(pairing.other[0].folder)][p.name]
            found[pairing.name, p.name] = difference_of(a, b, like, pairing.by_seed, bootstrap)
    for keys in ([k for k in found if k[1] == primary], [k for k in found if k[1] != primary]):
        found.update(zip(keys, adjusted([found[k] for k in keys], correction)))
    return found


def _about_pairing(pairing: Pairing) -> dict[str, Any]:
    return {
        "name": pairing.name,
        "baseline": pairing.baseline_method,
        "other": pairing.other_method,
        "by_seed": pairing.by_seed,
        "seeds": [r.seed for r in pairing.other] if pairing.by_seed else None,
        "runs": {
            "baseline": [_about(r) for r in pairing.baseline],
            "other": [_about(r) for r in pairing.other],
        },
    }


def _about(run: Evaluated) -> dict[str, Any]:
    return {"name": run.name, "seed": run.seed, "folder": str(run.folder), "arch": run.arch}


def _answer(
    pairing: Pairing,
    differences: Mapping[str, Difference],
    primary: str,
    summaries: Mapping[str, Mapping[str, Summary]],
    question: Question,
    references: Sequence[Any],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """The headline and what stands beside it."""
    d = differences[primary]
    a, b = party_of(pairing.baseline), party_of(pairing.other)
    verdict = judge(d, question.margin)
    said = [sentence(d, verdict, a, b, primary, question.margin)]
    unlike = training_differences(pairing)
    explains = [str(u) for u in unlike if u.explains]
    if explains:
        unequal = f"Trained unequally ({', '.join(explains)}), which may be the whole reason: "
        said[0] = unequal + said[0][0].lower() + said[0][1:]
    controls = [
        entry
        for runs in (pairing.other, pairing.baseline)
        if references and party_of(runs).trained
        for entry in against_controls(
            runs[0].method, runs, references, summaries, primary, bootstrap, question.correction
        )
    ]
    for entry in controls:
        if entry["protocols"][entry["primary"]]["verdict"] != "higher":
            said.append(entry["sentence"])
    bet = None
    if not same_networks(pairing) and all(party_of(r).trained for r in (pairing.baseline, pairing.other)):
        values = [
            sampled([summaries[str(r.folder)][primary] for r in runs], trained=party_of(runs).trained)
            for runs in (pairing.baseline, pairing.other)
        ]
        pair_of = new_pair(values[0], values[1], paired=pairing.by_seed)
        bet = pair_of and {
            "interval": [pair_of.low, pair_of.high],
            "probability_other_higher": pair_of.probability,
        }
    return {
        "headline": " ".join(said),
        "verdict": verdict,
        "scope": d.scope,
        "few_seeds": few_seeds(a, b) if verdict == "no verdict" else "",
        "unequal_training": [
            {"setting": u.setting, "baseline": u.baseline, "other": u.other, "explains": u.explains}
            for u in unlike
        ],
        "same_networks": same_networks(pairing),
        "caveats": caveats(pairing, d, unlike),
        "controls": controls,
        "new_pair": bet,
    }


def _entry(
    pairing: Pairing,
    protocol: Protocol,
    difference: Difference,
    primary: bool,
    summaries: Mapping[str, Mapping[str, Summary]],
    decisions: Mapping[tuple[str, str], PerImage],
    question: Question,
) -> dict[str, Any]:
    name = protocol.name
    verdict: Verdict = judge(difference, question.margin if primary else None)
    parties = [party_of(pairing.baseline), party_of(pairing.other)]
    chosen = None
    if protocol.threshold == "transferred":
        chosen = all(r.threshold_store is not None for r in (*pairing.baseline, *pairing.other))

    def optimism(runs: Sequence[Evaluated]) -> float | None:
        found = [summaries[str(r.folder)][name].optimism for r in runs]
        return None if any(f is None for f in found) else float(np.mean([f for f in found if f is not None]))

    found: dict[str, Any] = {
        **difference.as_json(),
        "controls": values_beside(pairing.baseline[0], name),
        "role": "primary" if primary else "secondary",
        "verdict": verdict,
        "could_show": difference.could_show(),
        "population": population(difference, parties, clusters=question.by_class, chosen_elsewhere=chosen),
        "optimism": {"baseline": optimism(pairing.baseline), "other": optimism(pairing.other)},
        "thresholds": {
            "baseline": [list(r.thresholds(name)) for r in pairing.baseline],
            "other": [list(r.thresholds(name)) for r in pairing.other],
        },
        "published": published_for(
            name,
            pairing.baseline_method,
            pairing.other_method,
            pairing.baseline[0].dataset,
            pairing.baseline[0].arch,
        ),
        "definition": protocol.definition(),
    }
    if primary and question.margin is not None and difference.law is not None:
        found["p_not_equivalent"] = difference.law.p_not_equivalent(question.margin)
    if protocol.metric == "box_accuracy" and (
        pairing.by_seed or len(pairing.baseline) == len(pairing.other) == 1
    ):
        found["disagreements"] = [
            {
                "seed": a.seed if pairing.by_seed else None,
                "iou": iou,
                **mcnemar_exact(
                    decisions[str(a.folder), name].hit[:, k], decisions[str(b.folder), name].hit[:, k]
                ),
            }
            for a, b in zip(pairing.baseline, pairing.other)
            for k, iou in enumerate(protocol.iou_thresholds)
        ]
    return found


def _analysis_json(analysis: Analysis) -> dict[str, Any]:
    return {
        "drivers": _plain(analysis.found),
        "not_analysed": analysis.missing,
        "main_protocol": analysis.main_protocol,
    }


def _plain(value: Any) -> Any:
    """NaN and infinity as None: they are no numbers in JSON."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
