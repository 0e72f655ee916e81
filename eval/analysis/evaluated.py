"""One evaluated run: its results.json, its per-image records, and, where they are at hand, manifest and raw maps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.maps.files import ScoreMapFiles
from eval.maps.stored import StoredMaps
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.outcomes import Summary
from eval.metrics.results_json import RESULTS, read_results, without_results
from eval.metrics.summarize import Chosen, chosen_thresholds, summarize
from eval.protocols import Protocol, channels_of, differences
from eval.records.controls import CONTROLS, ControlRecords
from eval.records.limited import limited
from eval.records.store import Records, RecordStore
from wsol.class_map import map_classes, select
from wsol.datasets.catalog import open_dataset
from wsol.errors import UserError
from wsol.manifest import split_hash
from wsol.runs.record import load_run

if TYPE_CHECKING:
    from eval.maps.source import MapSource
    from wsol.manifest import Manifest, Split

_VALUE_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Unavailable:
    """Something a comparison would have used, and why it is not at hand."""

    reason: str


@dataclass(frozen=True)
class Evaluated:
    """A run that `python -m eval.localize` has scored.

    `method` names its group, `seed` is the training seed (None where nothing was trained here). `folder` holds
    results.json, records/ and maybe maps/.
    """

    folder: Path
    name: str
    method: str
    seed: int | None
    results: Mapping[str, Any]
    store: Records
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    threshold_store: Records | None = None
    """Records of the images that transferred thresholds were chosen on; None where there are none."""

    @property
    def threshold_hash(self) -> str | None:
        """Split hash of the images that transferred thresholds were chosen on."""
        return self.threshold_store.index.split_hash if self.threshold_store is not None else None

    @property
    def dataset(self) -> str:
        return str(self.results["dataset"])

    @property
    def split(self) -> str:
        return str(self.results["split"])

    @property
    def control(self) -> str | None:
        """The name of a control: one that needs no network, or `random` (given as random=RUN), a network without
        training; None for a contestant."""
        named = self.results["provenance"].get("control")
        return str(named) if named else "random" if self.method == "random" else None

    @property
    def arch(self) -> str | None:
        """Architecture of the classifier, where the results say so."""
        found = self.results["provenance"].get("classifier") or {}
        return found.get("arch") or self.results["provenance"].get("arch")

    def thresholds(self, name: str) -> tuple[float, ...]:
        """The taus of a protocol as results.json states them, one per IoU threshold; empty where it has none."""
        tau = self.results["protocols"][name].get("threshold")
        if tau is None:
            return ()
        return tuple(float(t) for t in tau.values()) if isinstance(tau, Mapping) else (float(tau),)

    def summaries(self, protocols: Sequence[Protocol], bootstrap: Bootstrap) -> dict[str, Summary]:
        """The protocols re-aggregated from the records, with bootstrap values; those not computable are left out.

        Raises `UserError` where the records no longer give the value that results.json states.
        """
        given = self.chosen([p for p in protocols if p.name in self.results["protocols"]], bootstrap)
        found = summarize(self.store, protocols, thresholds=given, bootstrap=bootstrap).items()
        kept = {name: outcome for name, outcome in found if isinstance(outcome, Summary)}
        for name, summary in kept.items():
            stated = self.results["protocols"].get(name)
            if stated and differences(stated["definition"], summary.protocol.definition()):
                continue  # another protocol of that name, from the user's own file
            if stated and abs(stated["value"] - summary.value) > _VALUE_TOLERANCE:
                raise UserError(
                    f"'{self.folder}': {name} is {stated['value']:.4f} in {RESULTS}, but its records give "
                    f"{summary.value:.4f}; they belong to different evaluations, run eval.localize again"
                )
        return kept

    def chosen(self, protocols: Sequence[Protocol], bootstrap: Bootstrap) -> dict[str, Chosen]:
        """The stated thresholds of transferred protocols, with those of resamples where the records choose the same."""
        asked = [p for p in protocols if p.threshold == "transferred"]
        if not asked:
            return {}
        again = chosen_thresholds(self.threshold_store, asked, bootstrap) if self.threshold_store else {}
        found = {}
        for p in asked:
            stated = self.thresholds(p.name)
            same = p.name in again and again[p.name].taus == stated
            found[p.name] = again[p.name] if same else Chosen(stated)
        return found

    def maps(self, split: Split) -> MapSource | Unavailable:
        """The score maps that were scored: raw ones that the evaluation kept, or the files it was given, where they
        are still those."""
        try:
            source = self._maps(split)
        except UserError as error:
            return Unavailable(str(error))
        if isinstance(source, Unavailable):
            return source
        if _recipe(source.describe()) != _recipe(self.store.index.maps):
            return Unavailable(
                f"the score maps of '{self.folder}' have changed since they were scored; run eval.localize again"
            )
        return source

    def _maps(self, split: Split) -> MapSource | Unavailable:
        index = self.store.index
        folder = self.folder / "maps" / self.split
        given = self.results["provenance"].get("score_maps")
        if not folder.is_dir() and given:
            config = self.results["provenance"].get("config") or {}
            if self.results["provenance"].get("own_format"):
                return StoredMaps.open(Path(given), index.split_hash, index.num_images)
            return ScoreMapFiles(
                given,
                split,
                values=config.get("map_values", "normalized"),
                size_policy=config.get("map_size", "resize"),
            )
        if not folder.is_dir() and "boxes" in self.results["provenance"]:
            return Unavailable(f"'{self.folder}' was scored from boxes, which have no score maps")
        if not folder.is_dir():
            return Unavailable(f"'{self.folder}' keeps no raw score maps (eval.localize --no-keep-maps?)")
        return StoredMaps.open(folder, index.split_hash, index.num_images)


def _recipe(maps: Mapping[str, Any]) -> dict[str, Any]:
    """What made score maps, whatever was then taken from them: kept maps may hold more frames than were scored."""
    ignored = (
        "not_computed",
        "frames",
        "frame_sizes",
        "ranks",
        "predictions_sha256",
        "masks_sha256",
        "input_size",
    )
    return {k: v for k, v in maps.items() if k not in ignored}


def open_evaluated(location: str | os.PathLike[str]) -> Evaluated:
    """Open `RUN`, `RUN/eval` or `NAME=RUN` (NAME then stands for the method).

    Raises `UserError` where nothing was evaluated there, or its records are missing or of another split.
    """
    text = os.fspath(location)
    label, equals, rest = text.partition("=")
    named = bool(equals) and bool(label) and "/" not in label and not Path(text).exists()
    path = Path(rest if named else text)
    folder = next((f for f in (path / "eval", path) if (f / RESULTS).is_file()), None)
    if folder is None:
        if not path.is_dir():
            raise UserError(f"no run at '{path}': it is not a directory")
        raise without_results(path)
    results = read_results(folder)
    store: Records
    threshold_store: Records | None
    if results["provenance"].get("control") in CONTROLS:
        store, threshold_store = _control_records(folder, results)
    else:
        store = RecordStore.open(folder / "records" / results["split"])
        threshold_store = _threshold_store(folder, results)
    if store.index.num_images != results["num_images"]:
        raise UserError(
            f"'{folder}': {RESULTS} counts {results['num_images']} images, its records {store.index.num_images}; "
            "run eval.localize again"
        )
    provenance = results["provenance"]
    run = path.parent if folder == path and path.name == "eval" else path
    name = run.name
    if folder == path and path.name.startswith("eval-") and provenance.get("run"):
        name = f"{path.parent.name}/{path.name}"  # the same run's maps by another method
    method = label if named else _method(provenance) or str(results.get("title") or name)
    seed = provenance.get("training_seed")
    return Evaluated(
        folder,
        name,
        method,
        int(seed) if isinstance(seed, int) and not isinstance(seed, bool) else None,
        results,
        store,
        {name: protocol_from_definition(entry["definition"]) for name, entry in results["protocols"].items()},
        threshold_store,
    )


def _control_records(
    folder: Path, results: Mapping[str, Any]
) -> tuple[ControlRecords, ControlRecords | None]:
    """A control's records, computed again from the dataset: it keeps none."""
    provenance = results["provenance"]
    config = provenance.get("config") or {}
    role, chosen_on = str(results["split"]), results.get("threshold_split")
    roles = [role, *([str(chosen_on)] if chosen_on else [])]
    if not config.get("dataset"):
        raise UserError(f"'{folder / RESULTS}' does not say which dataset the control was scored on")
    manifest = open_dataset(config["dataset"], data_root=config.get("data_root"), roles=roles)
    manifest = _few(manifest, config)
    protocols = [protocol_from_definition(entry["definition"]) for entry in results["protocols"].values()]
    channels = channels_of(p for p in protocols if p.metric == "box_accuracy")
    found = [ControlRecords(provenance["control"], manifest, manifest.split(r), r, channels) for r in roles]
    return found[0], found[1] if chosen_on else None


def _method(provenance: Mapping[str, Any]) -> str | None:
    """The training method, and the map method where it is another than CAM; None where nothing was trained here."""
    trained = provenance.get("method")
    made = (provenance.get("map") or {}).get("label", "cam")
    return str(trained) + ("" if made == "cam" else f" {made}") if trained else None


def _threshold_store(folder: Path, results: Mapping[str, Any]) -> RecordStore | None:
    role = results.get("threshold_split")
    if not role:
        return None
    try:
        return RecordStore.open(folder / "records" / str(role))
    except UserError:
        return None


def protocol_from_definition(definition: Mapping[str, Any]) -> Protocol:
    """The protocol that a results.json entry was computed with."""
    values = {**definition, "iou_thresholds": tuple(definition["iou_thresholds"])}
    try:
        return Protocol(**values)
    except TypeError as error:
        raise UserError(
            f"protocol '{definition.get('name')}' of results.json has fields unknown to this version ({error}); run "
            "eval.localize again"
        ) from error


def relabelled(runs: Sequence[Evaluated]) -> list[Evaluated]:
    """Where every run has the same method, each becomes its own group under its folder's name."""
    if len(runs) > 1 and len({r.method for r in runs}) == 1:
        names = [r.name for r in runs]
        if len(set(names)) == len(names):
            return [replace(r, method=r.name) for r in runs]
    return list(runs)


def open_manifest(
    run: Evaluated, dataset: str | None = None, data_root: str | os.PathLike[str] | None = None
) -> tuple[Manifest, Split] | Unavailable:
    """The manifest and split that a run was scored on; `Unavailable` where it is gone or has changed since."""
    provenance = run.results["provenance"]
    config = provenance.get("config") or {}
    name, root = dataset or config.get("dataset"), data_root or config.get("data_root")
    try:
        if name is None and provenance.get("run"):
            trained = load_run(_run_folder(run, str(provenance["run"])))
            name, root = trained.manifest_folder, root or trained.data_root
        if name is None:
            return Unavailable("the results do not say which dataset they were scored on; give --dataset")
        chosen_on = run.results.get("threshold_split")
        roles = [run.split, *([str(chosen_on)] if chosen_on else [])]
        manifest = open_dataset(name, data_root=root, roles=roles)
        manifest = _few(_scored_part(manifest, provenance, run.name), config)
        split = manifest.split(run.split)
    except UserError as error:
        return Unavailable(str(error))
    if split_hash(split) != run.store.index.split_hash:
        return Unavailable(
            f"dataset '{name}' is not the one scored: its '{run.split}' list has changed (another split hash)"
        )
    return manifest, split


def _scored_part(manifest: Manifest, provenance: Mapping[str, Any], name: str) -> Manifest:
    """The images whose class the scored network knew."""
    known = provenance.get("class_map")
    if known is not None:
        outputs = [*known["outputs"], *[-1] * (len(manifest.classes) - len(known["outputs"]))]
        return select(manifest, outputs, str(known["source"]))[0]
    classifier = provenance.get("classifier") or {}  # results from before there were class maps
    if not classifier.get("num_classes"):
        return manifest
    return map_classes(manifest, int(classifier["num_classes"]), f"'{name}'")[0]


def _few(manifest: Manifest, config: Mapping[str, Any]) -> Manifest:
    """The images that were scored with --limit; all of them without."""
    return manifest if config.get("limit") is None else limited(manifest, int(config["limit"]))


def _run_folder(run: Evaluated, recorded: str) -> Path:
    """The training run's folder: beside the results where it moved along with them, else where it was recorded."""
    beside = run.folder.parent
    return beside if (beside / "run.yaml").is_file() else Path(recorded)
