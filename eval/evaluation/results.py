"""An evaluation's results in Python: numbers by protocol, a table for pandas, a figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval.terminal.tables import notes, number, threshold_text
from wsol.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CONTROLS = {"center_gaussian": "centre Gaussian", "full_image": "full image"}


@dataclass(frozen=True)
class Value:
    """One protocol's number in percent, its 95 % interval (None without a bootstrap), its threshold or thresholds by
    IoU in percent (None where it has none), and the whole entry of results.json."""

    name: str
    value: float
    ci95: tuple[float, float] | None
    threshold: float | Mapping[str, float] | None
    entry: Mapping[str, Any]

    def __str__(self) -> str:
        threshold = threshold_text(self.entry)
        return f"{self.name} {number(self.entry)}" + (f", threshold {threshold}" if threshold else "")


class Results(Mapping[str, Value]):
    """Results by protocol name; a protocol that could not be computed raises UserError with its reason.

    `content` is all of results.json, `controls` the values of the two controls, `notes` what a reader must know.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content

    def __getitem__(self, name: str) -> Value:
        if name in self.content["not_computed"]:
            raise UserError(f"{name} could not be computed: {self.content['not_computed'][name]}")
        if name not in self.content["protocols"]:
            raise UserError(f"no protocol '{name}' was scored; there are {', '.join(self)}")
        return _value(name, self.content["protocols"][name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.content["protocols"])

    def __len__(self) -> int:
        return len(self.content["protocols"])

    def __str__(self) -> str:
        return "\n".join(str(value) for value in self.values())

    @property
    def controls(self) -> dict[str, dict[str, Value]]:
        """The controls' values by control (center_gaussian, full_image) and protocol."""
        return {
            control: {name: _value(name, entry) for name, entry in entries.items()}
            for control, entries in self.content["controls"].items()
        }

    @property
    def notes(self) -> list[str]:
        """Odd maps, images without boxes, protocols that could not be computed, classification."""
        return notes(self.content)

    def to_frame(self) -> Any:
        """A pandas DataFrame, one row a protocol: value, low, high, the controls' values. UserError without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise UserError("to_frame() needs the package pandas: pip install pandas") from error
        rows = []
        for name, value in self.items():
            low, high = value.ci95 or (None, None)
            controls = {c: v[name].value for c, v in self.controls.items() if name in v}
            rows.append({"protocol": name, "value": value.value, "low": low, "high": high, **controls})
        return pandas.DataFrame(rows).set_index("protocol")

    def plot(self) -> Figure:
        """A figure: each protocol's value with its interval, the controls beside it."""
        from matplotlib.figure import Figure

        names = list(self)
        figure = Figure(figsize=(6.4, 1.0 + 0.34 * len(names)), layout="constrained")
        ax = figure.subplots()
        rows = range(len(names))[::-1]
        for row, name in zip(rows, names):
            value = self[name]
            if value.ci95:
                ax.plot(value.ci95, (row, row), color="#3b6ea5", linewidth=2)
        ax.plot([self[n].value for n in names], list(rows), "o", color="#3b6ea5", label="this network")
        for control, mark in (("center_gaussian", "x"), ("full_image", "|")):
            points = [
                (v[name].value, row)
                for row, name in zip(rows, names)
                if name in (v := self.controls.get(control, {}))
            ]
            if points:
                ax.plot(*zip(*points), mark, color="#777777", label=_CONTROLS[control])
        ax.set_yticks(list(rows), names)
        ax.set_xlim(0, 100)
        ax.set_xlabel("percent, 95 % interval")
        ax.set_title(
            f"{self.content['dataset']}, {self.content['split']}, {self.content['num_images']} images"
        )
        ax.legend(loc="lower right", frameon=False)
        return figure


def _value(name: str, entry: Mapping[str, Any]) -> Value:
    interval = entry.get("ci95")
    ci95 = (float(interval[0]), float(interval[1])) if interval else None
    return Value(name, float(entry["value"]), ci95, entry.get("threshold"), entry)
