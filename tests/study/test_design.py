"""A study's design: what is read, and what is refused with its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from eval.study.design import StudyDataset, read_design
from eval.study.jobs import jobs_of
from eval.study.measured import require_measured
from eval.study.run import prepare_datasets
from wsol.datasets.parts import PartsConfig, write_parts
from wsol.errors import UserError
from wsol.training.config import parse_config

STUDIES = [
    f
    for f in sorted((Path(__file__).resolve().parents[2] / "studies").glob("*.yaml"))
    if not f.name.startswith("search-")
]
PLAIN = {
    "name": "tiny",
    "question": "?",
    "primary": "maxboxacc_v2_transferred",
    "margin": 2,
    "datasets": {"a": {"manifest": "a"}, "b": {"prepare": ["parts"]}},
    "networks": {"n": {"arch": "resnet_small"}, "m": {"arch": "resnet18"}},
    "methods": {"vanilla": {}, "cutmix": {"cutmix_prob": 0.5}},
    "seeds": 2,
}


def written(folder: Path, **changes: object) -> Path:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({**PLAIN, **changes}, sort_keys=False))
    return file


@pytest.mark.parametrize("file", STUDIES, ids=lambda f: f.stem)
def test_the_studies_of_this_repository_are_readable(file: Path) -> None:
    assert read_design(file).name == file.stem


def test_seeds_are_outermost_so_that_a_study_cut_short_holds_whole_comparisons(tmp_path: Path) -> None:
    names = [j.name for j in jobs_of(read_design(written(tmp_path)), tmp_path)]
    assert len(names) == 2 * 2 * 2 * 2
    assert all(name.endswith("-0") for name in names[:8])
    assert names[0] == "a/n/vanilla-0"
    assert names[1] == "a/n/cutmix-0"


def test_seeds_and_networks_of_some_methods(tmp_path: Path) -> None:
    file = written(tmp_path, seeds_of={"cutmix": 1}, networks_of={"cutmix": ["n"]})
    names = [j.name for j in jobs_of(read_design(file), tmp_path) if j.method == "cutmix"]
    assert names == ["a/n/cutmix-0", "b/n/cutmix-0"]


def test_a_preset_gives_each_method_its_own_settings(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        datasets={"c": {"manifest": "data_manifests/cub200"}},
        networks={"n": {"arch": "resnet50", "output_stride": 8}},
        methods={"vanilla": {}, "cutmix": {}},
        train={"preset": "choe2020", "epochs": 5, "nesterov": False},
    )
    jobs = {j.method: j for j in jobs_of(read_design(file), tmp_path) if j.seed == 0}
    assert jobs["vanilla"].config.lr == 2.3222617e-4
    assert jobs["cutmix"].config.cutmix_alpha == 1.35
    for job in jobs.values():
        assert (job.config.epochs, job.config.milestones, job.config.nesterov) == (5, (14, 29, 44), False)
        job.write_config()  # and the training command reads the same from the file
        read = parse_config(["--config", str(job.config_file)])
        assert replace(read, dataset=job.config.dataset, config=None) == job.config


def test_a_job_of_several_processes_and_maps(tmp_path: Path) -> None:
    file = written(tmp_path, aligned=True, map_methods=["cam", "layercam"], map_layers=["final", "layer3"])
    first, second = list(jobs_of(read_design(file), tmp_path))[:2]
    assert first.evaluations == ("eval", "eval-layercam", "eval-layercam-layer3")
    train, score, random = first.commands(processes=2)
    assert train[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    assert score[-6:] == ["--map-method", "cam", "layercam", "--map-layer", "final", "layer3"]
    assert "--aligned" in score
    assert "--random-weights" in random
    assert random[-6:] == score[-6:]
    assert "--aligned" not in random
    assert len(second.commands()) == 2  # the random network once for each dataset and network


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": {"vanilla": {}}}, "two methods"),
        ({"margin": 0}, "above 0"),
        ({"map_methods": ["layercam"]}, "begin with cam"),
        ({"train": {"preset": "choe2020"}}, "has no settings for"),
        ({"primary": "maxboxac"}, "did you mean 'maxboxacc'"),
        ({"datasets": {"a": {}}}, "either `manifest` or `prepare`"),
        ({"datasets": {"../a": {"manifest": "a"}}}, "names a folder"),
        ({"methods": {"vanilla": {}, "cutmix": {"cutmix_probe": 1}}}, "did you mean 'cutmix_prob'"),
        ({"train": {"seed": 3}}, "'seed' is set by the study"),
        ({"seeds_of": {"mixup": 3}}, "'mixup', which the study does not have"),
        ({"seeds": []}, "has no seed"),
        ({"seeds": 10**30}, "at most 1,000 seeds"),
        ({"colour": "red"}, "colour"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused_with_the_place(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"study\.yaml") as error:
        read_design(written(tmp_path, **changes))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("primary", "masks", "said"),
    [
        ("top-1 accuracy", False, None),
        ("energy on object", True, None),
        ("energy on head", True, None),
        (
            "energy on wing",
            True,
            "there are top-1 accuracy, energy on object, energy on body, energy on head, ",
        ),
        ("energy on object", False, "its test images do not all have a mask"),
    ],
)
def test_a_primary_outcome_without_a_threshold_needs_its_masks(
    primary: str, masks: bool, said: str | None, tmp_path: Path
) -> None:
    assert read_design(written(tmp_path, primary=primary)).primary == primary
    config = PartsConfig(num_classes=2, image_size=32, train_per_class=1, val_per_class=1, test_per_class=1)
    manifest = write_parts(config, tmp_path / "images", workers=1)
    if not masks:
        manifest.split("test").masks.clear()
    if said is None:
        require_measured(primary, manifest)
        return
    with pytest.raises(UserError, match=f"primary: no '{primary}' on dataset 'parts': {said}"):
        require_measured(primary, manifest)


def test_a_manifest_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_manifests").mkdir()  # else a checkout's own is looked into
    named = StudyDataset(manifest=Path("mypets"))
    with pytest.raises(
        UserError, match=r"no manifest at 'mypets', nor of that name in data_manifests/; prepare"
    ):
        prepare_datasets({"pets": named}, tmp_path)
    prepared = tmp_path / "data_manifests" / "mypets"
    prepared.mkdir()
    (prepared / "manifest.yaml").touch()
    assert named.folder("pets", tmp_path).resolve() == prepared
    prepare_datasets({"pets": named}, tmp_path)
    (tmp_path / "mypets").mkdir()
    (tmp_path / "mypets" / "manifest.yaml").touch()
    assert named.folder("pets", tmp_path) == Path("mypets"), "a folder of that path comes first"
