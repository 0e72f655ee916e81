"""results.json, schema 1: every protocol with value, interval, threshold and full definition."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.maps.normalization import MapStatus
from eval.metrics.bootstrap import Bootstrap, resampled_means
from eval.metrics.outcomes import NotComputed, Outcome, Summary
from eval.protocols import Channel
from eval.records.block import RecordBlock
from eval.records.measures import MEASURES
from eval.records.store import Records
from eval.statistics.bands import RunCurves, curve_band
from eval.statistics.counts import least_variance, score_interval
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.seal import sealed, unsealed
from wsol.files.strict_json import read_json
from wsol.files.typed import check_types
from wsol.runs.record import RECORD

if TYPE_CHECKING:
    import numpy.typing as npt

SCHEMA = 1
RESULTS = "results.json"
_STATUS_KEYS = {
    MapStatus.MISSING: "missing_map",
    MapStatus.UNREADABLE: "unreadable_map",
    MapStatus.NAN: "nan_map",
    MapStatus.CONSTANT: "constant_map",
    MapStatus.OUT_OF_RANGE: "out_of_range_map",
    MapStatus.RESIZED: "resized_map",
    MapStatus.CLIPPED: "clipped_map",
}


def counts(store: Records, channels: Sequence[Channel]) -> dict[str, Any]:
    """What was scored and what was odd: images, images without boxes, maps by status; `zero_divisor` by channel.

    `channels` are those asked about; what was not recorded is left out."""
    found: dict[str, Any] = {"images": store.index.num_images, "scored": 0, "no_gt": 0}
    found.update(dict.fromkeys(_STATUS_KEYS.values(), 0))
    recorded = [c for c in channels if store.index.holds(c)]
    undefined = dict.fromkeys(map(str, recorded), 0)
    for block in store.blocks():
        has_box = block.num_boxes > 0
        found["scored"] += int(has_box.sum())
        found["no_gt"] += int((~has_box).sum())
        for position, channel in enumerate(recorded):
            status = block.channel(channel).status
            if position == 0:  # what is wrong with a map itself is wrong on every channel
                for flag, key in _STATUS_KEYS.items():
                    found[key] += int(((status & int(flag)) != 0).sum())
            undefined[str(channel)] += int(((status & int(MapStatus.ZERO_DIVISOR)) != 0).sum())
    if any(undefined.values()):
        found["zero_divisor"] = {c: n for c, n in undefined.items() if n}
    return found


@dataclass(frozen=True)
class Column:
    """A per-image measure of records: its array, the column where that has several, and `where`, another array whose
    images alone count: those where it is defined too."""

    array: str
    index: int | None = None
    where: str | None = None

    def of(self, block: RecordBlock) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]:
        """Values [n] of a block and which of them count. Undefined are NaN and what is below 0."""
        found = block.measure(self.array)
        assert found is not None  # every block has what the first one has
        values = found if self.index is None else found[:, self.index]
        fine = np.isfinite(values) & (values >= 0)
        if self.where is not None:
            other = block.measure(self.where)
            assert other is not None
            fine &= np.isfinite(other)
        return values, fine


Columns = Mapping[str, Column]
"""By label."""


def means_with_intervals(store: Records, columns: Columns, bootstrap: Bootstrap) -> dict[str, dict[str, Any]]:
    """Means in percent of per-image measures with their bootstrap intervals, by label, in one pass over the records.

    Undefined values are left out and counted. Absent is what the records lack or no image defines.
    """
    there = {k: c for k, c in columns.items() if all(b.measure(c.array) is not None for b in _first(store))}
    if not there:
        return {}
    defined = np.zeros(len(there), np.int64)

    def values() -> Iterator[tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]]:
        nonlocal defined
        for block in store.blocks():
            found = [c.of(block) for c in there.values()]
            fine = np.stack([f for _, f in found], axis=1)  # [n, G]
            defined += fine.sum(0)
            yield np.stack([np.asarray(v, np.float32) for v, _ in found], axis=1), fine

    means = resampled_means(values(), store.index.block_sizes, bootstrap)  # [1 + B, G]
    entries = {}
    for k, label in enumerate(there):
        count = int(defined[k])
        if not count:
            continue
        boot = means[1:, k]
        value = float(means[0, k])
        interval = score_interval(value, float(np.nanvar(boot)), count) if len(boot) else None
        entries[label] = {"value": value, "ci95": list(interval) if interval else None, "num_images": count}
        if count < store.index.num_images:
            entries[label]["undefined"] = store.index.num_images - count
    return entries


def _first(store: Records) -> Iterator[RecordBlock]:
    """The first block alone; nothing where there is none."""
    return itertools.islice(store.blocks(), 1)


def measures_json(store: Records, bootstrap: Bootstrap) -> dict[str, Any]:
    """The entry `measures` of results.json: every measure without a threshold that the records hold, with what a map
    without information and the centre Gaussian get on the images where it is defined."""
    control, area = (
        "center_gaussian.{}",
        {"area": "area_{}", "dilated-area": "dilated_area_{}", "disc-area": "disc_area_{}"},
    )
    columns: dict[str, Column] = {}
    for name, m in MEASURES.items():
        columns[name] = Column(name)
        columns[control.format(name)] = Column(control.format(name), where=name)
        if m.chance in area:
            columns[f"chance.{name}"] = Column(area[m.chance].format(m.region), where=name)
    found = means_with_intervals(store, columns, bootstrap)
    spread = _quartiles(store, [n for n, m in MEASURES.items() if n in found and m.graded])
    entries = {}
    for name, m in MEASURES.items():
        if name in found:
            chance, gaussian = found.get(f"chance.{name}"), found.get(control.format(name))
            entries[name] = {
                **found[name],
                **({"quartiles": spread[name]} if name in spread else {}),
                "chance": 50.0 if chance is None else chance["value"],
                "center_gaussian": gaussian and {k: gaussian[k] for k in ("value", "ci95")},
                "measure_hash": m.short_hash,
                "definition": m.definition(),
            }
    return entries


def _quartiles(store: Records, names: Sequence[str]) -> dict[str, list[float]]:
    """Quartiles over images in percent, of the values that are defined."""
    listed: dict[str, list[npt.NDArray[np.floating]]] = {name: [] for name in names}
    for block in store.blocks() if names else ():
        for name, values in listed.items():
            measure = block.measure(name)
            assert measure is not None  # every block has what the first one has
            values.append(measure[np.isfinite(measure)])
    return {k: (100 * np.quantile(np.concatenate(v), (0.25, 0.5, 0.75))).tolist() for k, v in listed.items()}


def protocol_entries(outcomes: Mapping[str, Outcome]) -> tuple[dict[str, Any], dict[str, str]]:
    """(`protocols`, `not_computed`) of results.json."""
    computed = {name: o.as_json() for name, o in outcomes.items() if isinstance(o, Summary)}
    absent = {name: o.reason for name, o in outcomes.items() if isinstance(o, NotComputed)}
    return computed, absent


def curves_json(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Accuracy over thresholds of every protocol that has a curve, for plots: taus and one list per IoU."""
    found = {}
    for name, o in outcomes.items():
        if isinstance(o, Summary) and o.curves is not None and o.taus is not None and len(o.taus) > 1:
            keys = list(o.per_iou) or ["pixels"]
            found[name] = {"taus": o.taus.tolist(), **{k: c.tolist() for k, c in zip(keys, o.curves)}}
    return found


def curve_bands_json(outcomes: Mapping[str, Outcome], bootstrap: Bootstrap) -> dict[str, Any]:
    """Of every curve that was resampled, a 95 % band that holds at all thresholds at once, on new images: taus, and low
    and high by IoU threshold. Empty without resamples."""
    found: dict[str, Any] = {}
    for name, o in outcomes.items():
        if not isinstance(o, Summary) or not o.resampled_curves or o.curves is None or o.taus is None:
            continue
        found[name] = {"taus": o.taus.tolist()}
        for key, curve, moved in zip(o.per_iou, o.curves, o.resampled_curves):
            runs = RunCurves(curve[None], moved[None].astype(np.float64))
            units, least = bootstrap.units(o.num_scored), least_variance(o.num_scored)
            band = curve_band(runs, units=units, least=least).within(0, 100)
            found[name][key] = {end: np.round(getattr(band, end), 3).tolist() for end in ("low", "high")}
    return found


def write_results(folder: str | os.PathLike[str], content: Mapping[str, Any]) -> Path:
    """Write `folder/results.json` in one step; NaN and infinity are refused, for they are not numbers in JSON."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps({"schema": SCHEMA, **content}, allow_nan=False, default=_plain))
    text = json.dumps(sealed(plain), indent=1)
    return write_durably(path / RESULTS, text + "\n")


def read_results(folder_or_file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a results.json, of its folder or of a run directory, with every entry that is read later of its type; a
    missing, damaged or foreign one is a `UserError`."""
    path = Path(folder_or_file)
    if path.is_dir():
        path = next((p for p in (path / RESULTS, path / "eval" / RESULTS) if p.is_file()), path / RESULTS)
    try:
        data = read_json(path)
    except FileNotFoundError as error:
        raise without_results(path.parent if path.name == RESULTS else path) from error
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise UserError(
            f"'{path}' is not a results.json of schema {SCHEMA}; run `python -m eval.localize` again"
        )
    data = _checked(data, f"'{path}'")
    return unsealed(data, f"'{path}'", "run `python -m eval.localize` again, it reads the finished records")


def scored_folders(folder: Path) -> list[Path]:
    """Folders one or two levels down that hold a results.json, such as those of several map methods; runs by their own
    name."""
    found = {
        f.parent for pattern in (RESULTS, f"*/{RESULTS}", f"*/*/{RESULTS}") for f in folder.glob(pattern)
    }
    return sorted(f.parent if f.name == "eval" else f for f in found)


def without_results(folder: Path) -> UserError:
    """What to say of a place without a results.json: which command, or which folder, helps."""
    if not folder.exists():
        return UserError(f"no results at '{folder}': it does not exist")
    if scored := scored_folders(folder):
        return UserError(
            f"'{folder}' has not been evaluated itself; it holds the results of {names_of(scored)}: name those"
        )
    if (folder / RECORD).is_file():
        return UserError(
            f"run '{folder}' has not been evaluated ({RESULTS} is missing); run `python -m eval.localize {folder}`"
        )
    return UserError(
        f"'{folder}' has not been evaluated: it holds no {RESULTS}, and no run ({RECORD}) that could be; name a folder "
        "that eval.localize wrote"
    )


def names_of(folders: Sequence[Path], most: int = 4) -> str:
    """A few folders as words.

    >>> names_of([Path("a"), Path("b")]), names_of([Path(c) for c in "abcde"])
    ("'a', 'b'", "'a', 'b', 'c', 'd' and 1 more")
    """
    rest = f" and {len(folders) - most} more" if len(folders) > most else ""
    return ", ".join(f"'{f}'" for f in folders[:most]) + rest


_AGAIN = "run eval.localize again"
_OPTIONAL = {
    "title": str,
    "split_hash": str,
    "threshold_split": (str, None),
    "energy": dict,
    "measures": dict,
    "error_costs": dict,
    "controls": dict,
    "curves": dict,
    "curve_bands": dict,
}
_NUMBER = {"value": float, "ci95": ([float], None)}


def _checked(data: dict[str, Any], where: str) -> dict[str, Any]:
    """results.json with its entries of the types that are read. Raises `UserError` naming the entry."""
    shape: dict[str, Any] = {
        **dict.fromkeys(("dataset", "split"), str),
        **dict.fromkeys(("protocols", "not_computed", "counts", "classification", "provenance"), dict),
        "num_images": int,
        **{name: kind for name, kind in _OPTIONAL.items() if name in data},
    }
    check_types(data, shape, where, _AGAIN)
    for name, entry in data["protocols"].items():
        kinds = {**_NUMBER, "definition": dict, "definition.metric": str, "definition.threshold": str}
        kinds["definition.iou_thresholds"] = [float]
        tau = entry.get("threshold") if isinstance(entry, dict) else None
        if tau is not None:
            kinds["threshold"] = (float, dict)
            kinds |= (
                {f"threshold.{iou}": float for iou in tau if "." not in iou} if isinstance(tau, dict) else {}
            )
        check_types(entry, kinds, f"{where}: protocol '{name}'", _AGAIN)
    for group in ("classification", "energy", "measures"):
        for name, entry in data.get(group, {}).items():
            check_types(entry, _NUMBER, f"{where}: {group} '{name}'", _AGAIN)
    for control, entries in data.get("controls", {}).items():
        check_types(data["controls"], {control: dict}, f"{where}: controls", _AGAIN)
        for name, entry in entries.items():
            check_types(entry, _NUMBER, f"{where}: control '{control}' '{name}'", _AGAIN)
    for name, reason in data["not_computed"].items():
        check_types({"reason": reason}, {"reason": str}, f"{where}: not_computed '{name}'", _AGAIN)
    config = data["provenance"].get("config")
    check_types({"config": config}, {"config": (dict, None)}, f"{where}: provenance", _AGAIN)
    return data


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, (os.PathLike, Path)):
        return os.fspath(value)
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
