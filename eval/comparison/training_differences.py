"""How the trainings of two methods differ, method and seed aside: what may explain a result beside the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.analysis.evaluated import Evaluated
from eval.comparison.run_pairs import Pairing
from wsol.methods import METHODS

_EXPLAINS = (
    "epochs",
    "output_stride",
    "pretrained",
    "arch",
    "input_size",
    "size",
    "classes",
    "num_classes",
    "dataset",
)
"""Settings that can make the whole difference by themselves."""
_ASIDE = frozenset(
    [
        "method",
        "seed",
        "out",
        "data_root",
        "workers",
        "cache",
        "device",
        "compile",
        "validate_every",
        "localize_every",
        "tensorboard",
        "log",
        "deterministic",
        "checkpoint_every_minutes",
        "checkpoint_every_steps",
        "channels_last",
        "parameters",
        "stride_changes",
        "resume",
        "config",
        "log",
    ]
)
"""What no result depends on, and what is compared anyway."""
_WORDS = {"arch": "network", "size": "image size", "lr": "learning rate", "output_stride": "output stride"}


@dataclass(frozen=True)
class TrainingDifference:
    """One setting with either side's values in words; `explains` where it can explain the result by itself."""

    setting: str
    baseline: str
    other: str
    explains: bool

    def __str__(self) -> str:
        return f"{_WORDS.get(self.setting, self.setting.replace('_', ' '))} {self.baseline} / {self.other}"


def training_differences(pairing: Pairing) -> list[TrainingDifference]:
    """Every setting that differs between the two sides, those that explain a result first. Settings of one training
    method alone (their names begin with a method's) belong to the method."""
    a, b = ([_settings(r) for r in runs] for runs in (pairing.baseline, pairing.other))
    methods = {
        str(r.results["provenance"].get("method") or r.method) for r in (*pairing.baseline, *pairing.other)
    }
    methods |= {name.replace("-", "_") for name in METHODS}
    found = []
    for key in dict.fromkeys(k for s in (*a, *b) for k in s):
        if key in _ASIDE or any(key.startswith(f"{m}_") for m in methods):
            continue
        x, y = _values(a, key), _values(b, key)
        if x and y and x != y:
            found.append(TrainingDifference(key, ", ".join(x), ", ".join(y), key in _EXPLAINS))
    return sorted(found, key=lambda d: not d.explains)


def same_networks(pairing: Pairing) -> bool:
    """Whether both sides read the very same trained weights: two map methods of one network."""
    a, b = (
        {r.results["provenance"].get("weights_sha256") for r in runs}
        for runs in (pairing.baseline, pairing.other)
    )
    return None not in a and a == b


def _settings(run: Evaluated) -> dict[str, Any]:
    provenance = run.results["provenance"]
    found = dict(provenance.get("training") or {})
    classifier: Mapping[str, Any] = provenance.get("classifier") or {}
    for key in ("arch", "num_classes", "output_stride", "input_size", "stride_plan"):
        if classifier.get(key) is not None:
            found[key] = classifier[key]
    return found


def _values(settings: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    """The different values of one setting over runs, in words; empty where no run states it."""
    return sorted({_plain(s[key]) for s in settings if key in s})


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
