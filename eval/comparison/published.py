"""Published differences between methods, with where each comes from (eval/comparison/published.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from wsol.files.strict_yaml import load_yaml

MARKS = {
    "P": "read in the paper or an author's figure",
    "S": "second-hand table",
    "M": "recalled, not seen in a source",
}


@dataclass(frozen=True)
class Published:
    """One printed pair of numbers, in percent. `protocol` is ours that comes closest; `note` says what differs."""

    protocol: str
    dataset: str
    arch: str
    baseline_method: str
    method: str
    baseline: float
    value: float
    source: str
    mark: str
    note: str = ""

    @property
    def difference(self) -> float:
        return round(self.value - self.baseline, 4)

    def as_json(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "arch": self.arch,
            "baseline": self.baseline,
            "value": self.value,
            "difference": self.difference,
            "source": self.source,
            "how_known": MARKS[self.mark],
            **({"note": self.note} if self.note else {}),
        }


@cache
def all_published() -> tuple[Published, ...]:
    """Every entry of the data file, in its order. Raises ValueError where an entry is malformed."""
    text = resources.files("eval.comparison").joinpath("published.yaml").read_text(encoding="utf-8")
    found = []
    for table in load_yaml(text, "published.yaml")["tables"]:
        common = {k: table[k] for k in ("protocol", "source", "mark", "baseline_method")}
        for row in table["rows"]:
            entry = Published(**{**common, "note": table.get("note", ""), **row})
            if entry.mark not in MARKS or not 0 <= entry.baseline <= 100 or not 0 <= entry.value <= 100:
                raise ValueError(f"published.yaml: malformed entry {row}")
            found.append(entry)
    return tuple(found)


_ALIASES = {"vanilla": "cam", "baseline": "cam", "none": "cam"}


def published_for(
    protocol: str, baseline_method: str, method: str, dataset: str, arch: str | None
) -> list[dict[str, Any]]:
    """What was printed for two methods under a protocol: same dataset and architecture first. Each entry says whether
    dataset and architecture are those at hand; on other data it is context, not a target."""

    def same(a: str, b: str) -> bool:
        a, b = (_ALIASES.get(m.lower(), m.lower()) for m in (a, b))
        return a == b

    def near(entry: Published) -> tuple[bool, bool]:
        here = dataset.lower()
        same_data = any(here.startswith(n) for n in _names(entry.dataset))
        return same_data, bool(arch) and entry.arch.lower() == str(arch).lower().replace("_gap", "")

    wanted = [
        e
        for e in all_published()
        if e.protocol == protocol and same(e.baseline_method, baseline_method) and same(e.method, method)
    ]
    wanted.sort(key=lambda e: tuple(not x for x in near(e)))
    return [{**e.as_json(), "same_dataset": near(e)[0], "same_arch": near(e)[1]} for e in wanted]


def _names(dataset: str) -> tuple[str, ...]:
    return {"CUB": ("cub",), "ImageNet": ("imagenet", "ilsvrc"), "OpenImages": ("openimages",)}.get(
        dataset, (dataset.lower(),)
    )
