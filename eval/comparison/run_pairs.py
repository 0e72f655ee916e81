"""Which runs may be compared, and which run of one method stands against which of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.analysis.evaluated import Evaluated
from eval.protocols import Protocol, differences
from wsol.errors import UserError, unknown_name

BASELINES = ("vanilla", "cam", "baseline")
"""Methods that are taken as the baseline where none is named."""


@dataclass(frozen=True)
class Pairing:
    """Two methods with all their runs. `by_seed`: run i of one has the training seed of run i of the other."""

    baseline: tuple[Evaluated, ...]
    other: tuple[Evaluated, ...]
    by_seed: bool

    @property
    def baseline_method(self) -> str:
        return self.baseline[0].method

    @property
    def other_method(self) -> str:
        return self.other[0].method

    @property
    def name(self) -> str:
        return f"{self.other_method} vs {self.baseline_method}"


def group(runs: Sequence[Evaluated]) -> dict[str, list[Evaluated]]:
    """Runs by method, in the order given. Two runs of one method with one seed are a `UserError`."""
    groups: dict[str, list[Evaluated]] = {}
    for run in runs:
        for earlier in groups.setdefault(run.method, []):
            if earlier.folder.resolve() == run.folder.resolve():
                raise UserError(f"'{run.folder}' is named twice")
            if earlier.seed is not None and earlier.seed == run.seed:
                raise UserError(
                    f"'{earlier.name}' and '{run.name}' are both method '{run.method}' with seed {run.seed}; if they "
                    f"are different methods, give them names: NAME={run.folder}"
                )
        groups[run.method].append(run)
    return groups


def require_same_images(runs: Sequence[Evaluated]) -> None:
    """Refuse runs that were not scored on the very same list of images."""
    first = runs[0]
    for run in runs[1:]:
        a, b = first.store.index, run.store.index
        for what, x, y in (
            ("dataset", a.dataset, b.dataset),
            ("split", a.split, b.split),
            ("number of images", a.num_images, b.num_images),
            ("split hash (the list of images and boxes)", a.split_hash, b.split_hash),
        ):
            if x != y:
                raise UserError(
                    f"'{first.name}' and '{run.name}' cannot be compared: {what} is {_short(x)} / {_short(y)}. "
                    "Evaluate both on the same split: python -m eval.localize RUN --dataset NAME --split SPLIT"
                )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 20 else text[:12] + "…"


def pair(groups: Mapping[str, Sequence[Evaluated]], baseline: str | None = None) -> list[Pairing]:
    """The baseline method against every other one. With fewer than two methods: `UserError`.

    The baseline is the one named, else 'vanilla' (or 'cam', 'baseline') where there is one, else the first given.
    Runs are paired by seed where both methods have the same seeds; otherwise all runs of both take part, unpaired.
    """
    if len(groups) < 2:
        only = next(iter(groups), "none")
        raise UserError(
            f"a comparison needs runs of two methods, and all of these are '{only}'; name them apart: "
            "python -m eval.compare A=RUN B=RUN"
        )
    if baseline is not None and baseline not in groups:
        raise unknown_name("method", baseline, groups)
    base = baseline or next((n for n in BASELINES if n in groups), next(iter(groups)))
    return [_pair(groups[base], runs) for method, runs in groups.items() if method != base]


def _pair(baseline: Sequence[Evaluated], other: Sequence[Evaluated]) -> Pairing:
    a = {r.seed: r for r in baseline if r.seed is not None}
    b = {r.seed: r for r in other if r.seed is not None}
    if set(a) != set(b) or len(a) != len(baseline) or len(b) != len(other):
        return Pairing(tuple(baseline), tuple(other), by_seed=False)
    seeds = sorted(a)
    return Pairing(tuple(a[s] for s in seeds), tuple(b[s] for s in seeds), by_seed=bool(seeds))


def comparable_protocols(runs: Sequence[Evaluated]) -> tuple[list[Protocol], dict[str, str]]:
    """Protocols that mean the same in every run, and why the others are not compared."""
    common: list[Protocol] = []
    refused: dict[str, str] = {}
    names = list(dict.fromkeys(name for r in runs for name in (*r.protocols, *r.results["not_computed"])))
    for name in names:
        lacking = [r for r in runs if name not in r.protocols]
        if lacking:
            reason = lacking[0].results["not_computed"].get(name, "it was not scored")
            refused[name] = f"'{lacking[0].name}': {reason}"
            continue
        first = runs[0].protocols[name]
        for run in runs[1:]:
            unlike = differences(first.definition(), run.protocols[name].definition())
            if first.threshold == run.protocols[name].threshold == "transferred":
                unlike += _other_thresholds(runs[0], run)
            if unlike:
                refused[name] = (
                    f"'{runs[0].name}' and '{run.name}' define it differently: {'; '.join(unlike)}"
                )
                break
        else:
            common.append(first)
    return common, refused


def _other_thresholds(a: Evaluated, b: Evaluated) -> list[str]:
    """How the images that two runs' thresholds were chosen on differ; nothing where one's are not known."""
    x, y = a.results.get("threshold_split"), b.results.get("threshold_split")
    if x != y:
        return [f"thresholds chosen on {x} / {y}"]
    if a.threshold_hash and b.threshold_hash and a.threshold_hash != b.threshold_hash:
        return [
            f"thresholds chosen on other images of {x} (split hashes {_short(a.threshold_hash)} / "
            f"{_short(b.threshold_hash)})"
        ]
    return []
