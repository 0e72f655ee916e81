"""`eval.localize` with a network: ranks, crops, masks, stored maps re-scored, anybody's checkpoint."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eval.analysis.evaluated import open_evaluated
from eval.evaluation.config import LocalizeConfig
from eval.evaluation.evaluate import localize
from eval.localize import main
from eval.maps.batch import ranks_from_logits
from eval.maps.network import NetworkMaps
from eval.maps.stored import StoredMaps
from eval.metrics.results_json import read_results
from eval.protocols import Channel, protocol_named
from eval.records.store import RecordStore
from eval.report.run_page import write_run_page
from tests.helpers.evaluations import make_pictures, make_run
from tests.helpers.oracles import oracle
from wsol.errors import UserError
from wsol.manifest import Manifest, Sample, Split, load_manifest, split_hash, write_manifest
from wsol.models import Classifier, ClassifierSpec, build_classifier

CLASSES = 7


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 24 small images with boxes, masks and part masks."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    samples = []
    for i in range(24):
        w, h = int(rng.integers(40, 90)), int(rng.integers(40, 90))
        pixels = rng.integers(0, 90, (h, w, 3), dtype=np.uint8)
        x0, y0 = int(rng.integers(2, w // 2)), int(rng.integers(2, h // 2))
        x1, y1 = x0 + w // 3, y0 + h // 3
        pixels[y0:y1, x0:x1] += 120
        mask = np.zeros((h, w), np.uint8)
        mask[y0:y1, x0:x1] = 255
        part = (mask > 0).astype(np.uint8)
        part[y0 : (y0 + y1) // 2, x0:x1] = 2
        for name, array in ((f"{i}.png", pixels), (f"{i}_mask.png", mask), (f"{i}_part.png", part)):
            Image.fromarray(array).save(folder / name)
        samples.append(
            Sample(
                f"{i}.png",
                f"{i}.png",
                i % CLASSES,
                (w, h),
                np.array([[x0, y0, x1, y1]], float),
                masks=(f"{i}_mask.png",),
                part_mask=f"{i}_part.png",
                parts=np.tile([float(x0), float(y0), 1.0], (2, 1)),
            )
        )
    splits = {"test": Split.from_samples(samples[:16]), "train-fullsup": Split.from_samples(samples[16:])}
    names = tuple(f"class {c}" for c in range(CLASSES))
    write_manifest(Manifest("pictures", names, splits, str(folder), ("body", "head")), folder / "m")
    return folder / "m"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torchvision ResNet-18 trained elsewhere: nested, with `module.` prefixes."""
    import torchvision

    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights=None, num_classes=CLASSES)
    file = tmp_path_factory.mktemp("weights") / "theirs.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, file)
    return file


def config(checkpoint: Path, manifest: Path, out: Path, **changes: object) -> LocalizeConfig:
    base = {"bootstrap": 20, "pictures": 0, "device": "cpu", "size": 64}
    return LocalizeConfig(
        checkpoint=checkpoint,
        arch="resnet18",
        dataset=str(manifest),
        out=out,
        **{**base, **changes},  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def scored(checkpoint: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored")
    localize(config(checkpoint, pictures, out, pictures=6))
    return out


def test_everything_applies_to_a_dataset_with_boxes_masks_and_parts(scored: Path) -> None:
    results = read_results(scored)
    assert results["not_computed"] == {}
    assert set(results["energy"]) == {"object", "body", "head"}
    energy = {k: v["value"] for k, v in results["energy"].items()}
    np.testing.assert_allclose(energy["body"] + energy["head"], energy["object"], rtol=1e-4)
    gate = {k: results["protocols"][k]["value"] for k in ("gt_known_fixed", "top5_loc", "top1_loc")}
    assert gate["gt_known_fixed"] >= gate["top5_loc"] >= gate["top1_loc"]
    assert results["classification"]["top1"]["value"] <= results["classification"]["top5"]["value"]
    assert (scored / "pictures" / "test.png").stat().st_size > 10_000


def test_maps_are_those_of_the_forward_pass(scored: Path, checkpoint: Path, pictures: Path) -> None:
    """The stored map is the head's weights times the final features, of the true class, at native resolution."""
    from wsol.files.roots import open_root
    from wsol.images import decode_rgb
    from wsol.loading import normalize_images
    from wsol.models import load_external_classifier
    from wsol.views import EvalView

    manifest = load_manifest(pictures)
    model = load_external_classifier(checkpoint, "resnet18", input_size=64)
    with np.load(scored / "maps" / "test" / "block-000000.npz") as stored:
        maps = {k: stored[k] for k in stored.files}
    assert maps["resize"].shape == (16, 2, 2)
    assert maps["resize"].dtype == np.float32
    split = manifest.splits["test"]
    for row in (0, 9):
        rgb = decode_rgb(open_root(manifest.root or "").read_bytes(split.path(row)), "x")
        for frame in ("resize", "center-crop"):
            pixels = torch.from_numpy(EvalView(frame, 64).apply(rgb))[None]  # type: ignore[arg-type]
            with torch.inference_mode():
                features = model(normalize_images(pixels)).features
                expected = torch.einsum("chw,c->hw", features[0], model.head.weight[int(split.labels[row])])
            np.testing.assert_allclose(maps[frame][row], expected.numpy(), rtol=1e-3, atol=1e-4)


def test_a_photograph_that_cannot_be_decoded_is_a_miss_and_ends_nothing(
    scored: Path, checkpoint: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of sixteen images cut short: every value is the one of the other fifteen with a miss beside them."""
    shutil.copytree(pictures.parent, tmp_path / "pictures")
    manifest = load_manifest(pictures).with_root(tmp_path / "pictures")
    write_manifest(manifest, tmp_path / "m")
    file = tmp_path / "pictures" / manifest.split("test").path(3)
    file.write_bytes(file.read_bytes()[:-40])
    localize(config(checkpoint, tmp_path / "m", tmp_path / "out", pictures=16))
    whole, cut = read_results(scored), read_results(tmp_path / "out")
    assert cut["counts"]["scored"] == whole["counts"]["scored"] == 16
    assert cut["counts"]["unreadable_map"] == 1
    assert cut["counts"]["nan_map"] == 0  # its map is no other fault
    for name in ("gt_known_fixed", "maxboxacc"):
        values = [r["protocols"][name]["value"] for r in (whole, cut)]
        assert 0 <= round((values[0] - values[1]) / 100 * 16, 6) <= 1.0
    assert f"'{manifest.split('test').image_ids[3]}' counts as a miss: image" in capsys.readouterr().err


def test_another_protocol_needs_no_forward_pass(
    scored: Path, checkpoint: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "forward", lambda *a: pytest.fail("the network ran again"))
    before = read_results(scored)["protocols"]["maxboxacc"]
    _, again = localize(config(checkpoint, pictures, scored, normalizations=("ivr",)))  # type: ignore[misc]
    assert again["protocols"]["maxboxacc"]["value"] == before["value"]
    assert "maxboxacc@ivr" in again["protocols"]


def test_fewer_protocols_keep_the_maps_of_every_frame(
    scored: Path, checkpoint: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One protocol of one frame asked for: neither it nor all of them afterwards need the network again."""
    out = tmp_path / "o"
    shutil.copytree(scored, out)
    before = read_results(out)["protocols"]
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "forward", lambda *a: pytest.fail("the network ran again"))
        localize(config(checkpoint, pictures, out, protocols=("maxboxacc",)))
        assert read_results(out)["protocols"] == {"maxboxacc": before["maxboxacc"]}
        localize(config(checkpoint, pictures, out))
        again = read_results(out)["protocols"]
    assert again.items() <= before.items()
    assert {"maxboxacc", "cutmix2019"} <= set(again)


def test_maps_that_were_not_kept_are_made_when_they_are_to_be(
    checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    localize(config(checkpoint, pictures, tmp_path, keep_maps=False))
    assert not (tmp_path / "maps").exists()
    localize(config(checkpoint, pictures, tmp_path, pictures=2))
    (tmp_path / "maps" / "test" / "block-000000.npz").unlink()
    localize(config(checkpoint, pictures, tmp_path, pictures=2))
    split = load_manifest(pictures).splits["test"]
    assert StoredMaps.open(tmp_path / "maps" / "test", split_hash(split), len(split)).has(0)


def test_more_pictures_than_images_are_not_claimed(
    scored: Path, checkpoint: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import eval.pictures.random_images

    titles: list[str] = []
    monkeypatch.setattr(
        eval.pictures.random_images, "write_montage", lambda panels, file, title: titles.append(title)
    )
    shutil.copytree(scored, tmp_path / "o")
    localize(config(checkpoint, pictures, tmp_path / "o", pictures=99, protocols=("maxboxacc",)))
    assert "16 of 16 images" in titles[0]


def test_other_images_under_the_same_names_are_scored_anew(
    checkpoint: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blurred or corrupted copy of a dataset given by --data-root; the same files elsewhere are not."""
    roots = [tmp_path / name for name in ("copy", "negative")]
    for root in roots:
        shutil.copytree(pictures.parent, root)
    for i in range(24):
        file = roots[1] / f"{i}.png"
        Image.fromarray(255 - np.asarray(Image.open(file))).save(file)

    def energy(root: Path) -> float:
        localize(config(checkpoint, pictures, tmp_path / "o", data_root=root, bootstrap=0))
        return float(read_results(tmp_path / "o")["energy"]["object"]["value"])

    first = energy(pictures.parent)
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "forward", lambda *a: pytest.fail("the network ran again"))
        assert energy(roots[0]) == first
    assert energy(roots[1]) != first


def test_kept_maps_are_scored_like_anybodys(scored: Path, pictures: Path, tmp_path: Path) -> None:
    arguments = [
        "--score-maps",
        scored / "maps" / "test",
        "--manifest",
        pictures,
        "--out",
        tmp_path,
        "--bootstrap",
        20,
    ]
    arguments += ["--threshold-maps", scored / "maps" / "train-fullsup", "--pictures", 0]
    assert main([str(a) for a in arguments]) == 0
    ours, theirs = read_results(tmp_path)["protocols"], read_results(scored)["protocols"]
    assert {k: (v["value"], v["ci95"]) for k, v in ours.items()} == {
        k: (v["value"], v["ci95"]) for k, v in theirs.items() if k in ours
    }
    assert set(ours) >= {"maxboxacc", "cutmix2019", "top1_loc", "maxboxacc_transferred", "pxap"}


def test_maps_kept_for_another_split_are_refused(
    scored: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--score-maps", scored / "maps" / "train-fullsup", "--manifest", pictures, "--split", "test"]
    assert main([str(a) for a in arguments]) == 2
    assert "another list of images" in capsys.readouterr().err


def test_top5_among_few_classes_is_absent_with_the_reason(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_pictures(tmp_path / "three", test=4, fullsup=2))
    assert main([str(run), "--bootstrap", "0", "--pictures", "0", "--threshold-split", "None"]) == 0
    results = read_results(run / "eval")
    assert "top1_loc" in results["protocols"]
    assert results["not_computed"]["top5_loc"] == "5 classes or fewer: every class is among the five"
    assert set(results["classification"]) == {"top1"}

    alone = tmp_path / "alone"
    arguments = ["--bootstrap", "20", "--pictures", "0", "--protocols", "top5_loc", "--out", str(alone)]
    assert main([str(run), *arguments]) == 0
    page = write_run_page(open_evaluated(alone), alone / "report.html").read_text()
    text = " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).split())
    assert (
        "no protocol could be computed: top5_loc (5 classes or fewer: every class is among the five)." in text
    )
    assert "without resamples" not in text
    assert "1 protocol not computed" in text


def test_a_timm_checkpoint(pictures: Path, tmp_path: Path) -> None:
    timm = oracle("timm")
    torch.manual_seed(1)
    file = tmp_path / "timm.pth"
    torch.save(timm.create_model("resnet10t", num_classes=CLASSES).state_dict(), file)
    arguments = ["--checkpoint", file, "--arch", "timm:resnet10t", "--input-size", 64, "--dataset", pictures]
    arguments += ["--out", tmp_path / "o", "--bootstrap", 0, "--pictures", 0, "--protocols", "maxboxacc"]
    assert main([str(a) for a in arguments]) == 0
    assert read_results(tmp_path / "o")["provenance"]["classifier"]["arch"] == "timm:resnet10t"


def test_batch_size_and_workers_do_not_change_the_blocks(pictures: Path, tmp_path: Path) -> None:
    model = build_classifier(ClassifierSpec("resnet_small", CLASSES, 8, 64), seed=0).eval()

    manifest = load_manifest(pictures)
    found = []
    for size, workers in ((5, 0), (16, 2)):
        source = NetworkMaps(
            model,
            manifest.splits["test"],
            manifest.root or "",
            frames=["resize"],
            device=torch.device("cpu"),
            description={},
            batch_size=size,
            workers=workers,
        )
        found.append(np.concatenate([np.asarray(b.maps["resize"]) for b in source.batches(np.arange(16))]))
    assert found[0].shape == (16, 8, 8)
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_says_what_to_do(
    error: Exception,
    pictures: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr("eval.maps.network.extract_maps", full)
    with pytest.raises(UserError, match=r"out of memory \(cpu\) with 8 images .* --batch-size 2,"):
        localize(config(checkpoint, pictures, tmp_path / "out", batch_size=8))


def test_logits_that_are_no_numbers_count_as_wrong() -> None:
    """A network that has diverged is not right about every image."""
    logits = np.array([[np.nan, np.nan], [1.0, np.nan], [0.0, 1.0], [np.inf, 0.0]], np.float32)
    _, top1, top5 = ranks_from_logits(logits, np.array([0, 0, 1, 0], np.int32))
    assert top1.tolist() == top5.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arch": None}, "--checkpoint needs --arch"),
        ({"arch": "resnet19"}, "did you mean 'resnet18'"),
        ({"dataset": None}, "--dataset"),
        ({"device": "cuda:99"}, "cannot be used"),
        ({"split": "train-weaksup"}, "has no split 'train-weaksup'"),
        ({"threads": 0}, "--threads must be at least 1, got 0"),
        ({"batch_size": 0}, "--batch-size must be at least 1, got 0"),
        ({"workers": -1}, "--workers must be at least 0, got -1"),
        ({"bootstrap": -5}, "--bootstrap must be at least 0, got -5"),
        ({"seed": -1}, "--seed must be at least 0, got -1"),
        ({"seed": 1 << 64}, "--seed must be below"),
        ({"size": 0}, "--size must be at least 1, got 0"),
        ({"ivr_fraction": 45.0}, "--ivr-fraction must be a share"),
        ({"ivr_fraction": float("nan")}, "--ivr-fraction must be a share"),
    ],
)
def test_mistakes_are_named(
    checkpoint: Path, pictures: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    import dataclasses

    from wsol.errors import UserError

    with pytest.raises(UserError, match=words):
        localize(dataclasses.replace(config(checkpoint, pictures, tmp_path), **change))  # type: ignore[arg-type]


def test_a_classifier_of_more_classes_than_the_dataset_is_refused(pictures: Path, tmp_path: Path) -> None:
    import torchvision

    from wsol.errors import UserError

    torch.save(torchvision.models.resnet18(num_classes=CLASSES + 1).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="has 8 classes, but dataset 'pictures' has 7"):
        localize(config(tmp_path / "w.pth", pictures, tmp_path))


def test_a_missing_image_is_named_and_nothing_is_written(
    checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    from wsol.errors import UserError

    root = tmp_path / "copy"
    shutil.copytree(pictures.parent, root)
    (root / "3.png").unlink()
    with pytest.raises(UserError, match=r"3\.png"):
        localize(config(checkpoint, root / "m", tmp_path / "o", data_root=root))
    assert not (tmp_path / "o" / "results.json").exists()


def test_records_know_what_made_them(scored: Path) -> None:
    index = RecordStore.open(scored / "records" / "test").index
    assert index.maps["kind"] == "network"
    assert len(index.maps["weights_sha256"]) == 64
    assert index.maps["classifier"]["output_stride"] == 32


def test_the_class_of_cutmix2019_comes_from_the_crop_that_it_scores(
    scored: Path, checkpoint: Path, pictures: Path
) -> None:
    """Ranks of both views against logits by hand; the crop's decide under cutmix2019, the whole image's elsewhere."""
    from wsol.files.roots import open_root
    from wsol.images import decode_rgb
    from wsol.loading import normalize_images
    from wsol.models import load_external_classifier
    from wsol.views import EvalView

    manifest = load_manifest(pictures)
    split, files = manifest.splits["test"], open_root(manifest.root or "")
    model = load_external_classifier(checkpoint, "resnet18", input_size=64)
    predicted: dict[str, list[int]] = {"resize": [], "center-crop": []}
    for row in range(16):
        rgb = decode_rgb(files.read_bytes(split.path(row)), "x")
        for frame, found in predicted.items():
            pixels = torch.from_numpy(EvalView(frame, 64).apply(rgb))[None]  # type: ignore[arg-type]
            with torch.inference_mode():
                found.append(int(model(normalize_images(pixels)).logits.argmax()))
    assert predicted["resize"] != predicted["center-crop"], "the case must be able to fail"
    with RecordStore.open(scored / "records" / "test").read(0) as block:
        assert block.predicted.tolist() == predicted["resize"]
        for name, frame in (("top1_loc", "resize"), ("cutmix2019", "center-crop")):
            right = block.right_class(protocol_named(name))
            assert right.tolist() == (np.array(predicted[frame]) == split.labels).astype(int).tolist()
    definition = read_results(scored)["protocols"]["cutmix2019"]["definition"]
    assert definition["class_view"] == "scored"
    # controls, reports and pages make crops of the same input
    assert RecordStore.open(scored / "records" / "test").index.frame(
        Channel("center-crop", 224, "max")
    ).view == (EvalView("center-crop", 64))


def test_a_run_with_random_weights_is_a_control(pictures: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", pictures, seed=5)
    shared: dict[str, object] = {"run": run, "bootstrap": 0, "pictures": 0, "device": "cpu"}
    results = {}
    for name, changes in (
        ("own", {}),
        ("random", {"random_weights": True}),
        ("other", {"random_weights": True, "seed": 1}),
    ):
        out = tmp_path / name
        assert localize(LocalizeConfig(**{**shared, **changes, "out": out})) is not None  # type: ignore[arg-type]
        results[name] = read_results(out)
    assert open_evaluated(tmp_path / "own").control is None
    random = open_evaluated(tmp_path / "random")
    assert (random.control, random.method) == ("random", "random")
    hashes = {r["provenance"]["weights_sha256"] for r in results.values()}
    assert len(hashes) == 3
    with pytest.raises(UserError, match="is for a network"):
        localize(LocalizeConfig(control="full_image", random_weights=True, dataset=str(pictures)))


def test_a_run_finds_its_classes_on_a_dataset_that_lists_them_in_another_order(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", pictures, seed=5)
    own = load_manifest(pictures)
    splits = {r: s.replace(labels=(CLASSES - 1 - s.labels).astype(np.int32)) for r, s in own.splits.items()}
    reversed_ = dataclasses.replace(own, classes=own.classes[::-1], splits=splits)
    write_manifest(reversed_, tmp_path / "reversed")
    found = []
    for place in (pictures, tmp_path / "reversed"):
        config = {"run": run, "dataset": str(place), "protocols": ("maxboxacc", "top1_loc"), "device": "cpu"}
        one = localize(LocalizeConfig(**config, bootstrap=0, pictures=0, out=tmp_path / place.name))  # type: ignore[arg-type]
        assert one is not None
        found.append(one[1])
    assert found[0]["classification"] == found[1]["classification"]
    for name in ("maxboxacc", "top1_loc"):
        assert found[0]["protocols"][name]["value"] == found[1]["protocols"][name]["value"]
    assert found[1]["provenance"]["class_map"]["outputs"] == [6, 5, 4, 3, 2, 1, 0]
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("lists its classes otherwise than 'pictures'; they are matched by name") == 1
