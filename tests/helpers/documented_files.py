"""Small files at every path that the commands of README.md and docs/ name."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from eval import localize
from tests.helpers import layouts
from tests.helpers.dataset_trees import mask, picture, tiny_files, write_tree
from tests.helpers.evaluations import make_run
from tests.helpers.layouts import BOX, SIZE
from tests.helpers.tiny_dataset import make_tiny_dataset, tiny_config
from wsol import prepare
from wsol.manifest import load_manifest
from wsol.training.loop import Trainer
from wsol.training.session import train

WNIDS = [
    f"n{k:08d}"
    for k in (2086240, 2087394, 2088364, 2089973, 2093754, 2096294, 2099601, 2105641, 2111889, 2115641)
]
DATASETS = ("parts", "cub200", "imagenet", "NAME", "fruit")
"""Those that a page names without preparing them: each holds the same few pictures."""

RUNS = (
    *(("RUN", "cutmix", 0), ("RUN1", "vanilla", 0), ("RUN2", "cutmix", 0)),
    *((f"runs/{method}-{seed}", method, seed) for method in ("vanilla", "cutmix") for seed in (0, 1)),
)
"""Runs that pages compare without training or scoring them: folder, method, seed."""
PREPARED = (
    "wsol-metadata --source {0}/wsol_metadata.zip --dataset-folder CUB --force --out {0}/data_manifests/cub-boxes",
    "folder --source {0}/dogs10.zip --corners inclusive --out {0}/data_manifests/dogs10",
    "wsol-metadata --source {0}/dogs10.zip --dataset-folder ILSVRC --images {0}/dogs10.zip --num-classes 1000 --force "
    "--out {0}/data_manifests/dogs1000",
)
"""Those that one page prepares and another one only names."""


def make_documented_files(folder: Path) -> None:
    """Write all of it."""
    colours = {
        f"colour {k}": (200 - 60 * (k // 3), 40 + 80 * (k % 3), 120) for k in range(9)
    }  # a 3 x 3 grid game's
    per_class = {"train-weaksup": 2, "train-fullsup": 1, "test": 2}
    pictures = make_tiny_dataset(folder / "pictures", colours=colours, per_class=per_class)
    for name in DATASETS:
        shutil.copytree(pictures, folder / "data_manifests" / name)
    _sources(folder)
    for command in PREPARED:
        words = command.format(folder).split()
        prepare.main(words)
    for name, method, seed in RUNS:
        make_run(folder / name, pictures, seed, method)
        words = f"{folder / name} --bootstrap 20 --pictures 0 --device cpu"
        assert localize.main(words.split()) == 0
    _killed(folder / "runs" / "killed", pictures)
    _maps(folder)
    _weights(folder)
    write_tree(
        folder,
        {
            "settings.yaml": b"method: mixup\nlr: 0.01\n",
            "photo.jpg": picture((60, 40), seed=1),
            "my_photographs/a.jpg": picture((60, 40), seed=2),
            "my_photographs/b.jpg": picture((40, 60), seed=3),
        },
    )


def _sources(folder: Path) -> None:
    """What `prepare` reads."""
    tiny = tiny_files(30, WNIDS)
    for name in ("tiny-imagenet-200", "tiny-imagenet-40"):
        _zip(folder / f"{name}.zip", {f"{name}/{path}": data for path, data in tiny.items()})
    cub = layouts.cub().files
    reference = layouts.metadata().files
    lists = {path: data for path, data in reference.items() if path.endswith(".txt")}
    birds = {path: data for path, data in reference.items() if not path.endswith(".txt")}
    write_tree(folder / "CUB_200_2011", cub)
    _tar(folder / "CUB_200_2011.tgz", folder / "CUB_200_2011")
    val = {path.removeprefix("val/"): data for path, data in birds.items() if path.startswith("val/")}
    write_tree(folder / "CUBV2", val)
    lists |= {p: lists[p].replace(b"val/", b"") for p in lists if p.startswith("val/")}
    write_tree(folder / "wsolevaluation/metadata/CUB", lists)
    write_tree(folder / "dataset/CUB", birds | val)
    v2 = _imagenet_v2()
    zipped = {f"wsol_metadata/CUB/{path}": data for path, data in lists.items()}
    _zip(
        folder / "wsol_metadata.zip",
        zipped | {f"wsol_metadata/ILSVRC/{p}": d for p, d in v2.items() if p.endswith(".txt")},
    )
    write_tree(folder / "ILSVRC", layouts.imagenet("val/{stem}.JPEG").files)
    write_tree(folder / "ILSVRC", {p: d for p, d in v2.items() if not p.endswith(".txt")})
    masks = layouts.openimages30k().files
    write_tree(folder / "OpenImages", {p: d for p, d in masks.items() if not p.startswith("metadata/")})
    write_tree(
        folder / "wsolevaluation/metadata/OpenImages",
        {p[9:]: d for p, d in masks.items() if p.startswith("metadata/")},
    )
    write_tree(folder / "OpenImages", layouts.openimages_csv().files)
    write_tree(folder / "VOCdevkit" / "VOC2007", layouts.voc().files)
    _tar(folder / "VOCtrainval_06-Nov-2007.tar", folder / "VOCdevkit")
    coco = layouts.coco().files
    write_tree(folder / "COCO", {_coco_place(p): d for p, d in coco.items()})
    write_tree(
        folder / "mine",
        {p if p.endswith("json") else f"images/{p.split('/')[1]}": d for p, d in coco.items()},
    )
    write_tree(folder / "yolo-export", layouts.yolo("images/{split}/{name}").files)
    write_tree(folder / "DOWNLOADED", layouts.parquet())
    own = layouts.folder().files
    photographs = [p for p in own if not p.endswith(".csv")]
    write_tree(folder / "my_images", own)
    masks = {f"masks/{p.rpartition('.')[0]}.png": mask(SIZE, BOX) for p in photographs}
    write_tree(folder / "pets", {**own, **masks})
    own_images(folder / "fruit")
    write_tree(folder, {"boxes.csv": own["boxes.csv"]})
    _dogs(folder / "dogs10.zip")


def own_images(folder: Path) -> None:
    """Two classes of coloured squares on noise, half of them with a box."""
    draw = np.random.default_rng(0)
    rows = ["image,x0,y0,x1,y1"]
    for name, colour in (("apple", (200, 40, 40)), ("pear", (60, 180, 60))):
        (folder / name).mkdir(parents=True)
        for i in range(24):
            pixels = draw.integers(60, 140, (48, 48, 3))
            x, y, side = (int(v) for v in draw.integers((2, 2, 14), (22, 22, 24)))
            pixels[y : y + side, x : x + side] = np.array(colour) + draw.integers(-20, 20, (side, side, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
            if i % 2:
                rows.append(f"{name}/{i}.png,{x},{y},{x + side},{y + side}")
    (folder / "boxes.csv").write_text("\n".join(rows))


def _imagenet_v2() -> dict[str, bytes]:
    ids = [f"val2/{k}/{i}.jpeg" for k in range(2) for i in range(2)]
    return {
        **{i: picture((30, 20), seed=500 + k) for k, i in enumerate(ids)},
        "val/image_ids.txt": "\n".join(ids).encode(),
        "val/class_labels.txt": "\n".join(f"{i},{i.split('/')[1]}" for i in ids).encode(),
        "val/image_sizes.txt": "\n".join(f"{i},30,20" for i in ids).encode(),
        "val/localization.txt": "\n".join(f"{i},1,1,9,9" for i in ids).encode(),
    }


def _coco_place(path: str) -> str:
    """The official names: val is the split that is annotated and scored."""
    split, _, rest = path.partition("/")
    year = {"train": "train2017", "test": "val2017"}.get(
        split.removesuffix(".json"), split.removesuffix(".json")
    )
    return f"annotations/instances_{year}.json" if path.endswith(".json") else f"{year}/{rest}"


def _dogs(file: Path) -> None:
    """Class folders by WordNet id with boxes.csv, and the reference's metadata with ImageNet's labels beside them."""
    rows, lists = ["image,x0,y0,x1,y1"], {}
    files = {}
    for split, count in (("train", 1), ("val", 1), ("test", 1)):
        kept = []
        for k, wnid in enumerate(WNIDS):
            for i in range(count):
                path = f"{split}/{wnid}/{k}{i}.jpg"
                files[path] = picture(SIZE, seed=len(files))
                if split != "train":
                    kept.append((path, k))
                    rows.append(f"{path},10,6,29,23")
        if kept:
            place = f"metadata/ILSVRC/{split}"
            lists[f"{place}/image_ids.txt"] = "\n".join(p for p, _ in kept)
            lists[f"{place}/class_labels.txt"] = "\n".join(f"{p},{k}" for p, k in kept)
            lists[f"{place}/image_sizes.txt"] = "\n".join(f"{p},40,30" for p, _ in kept)
            lists[f"{place}/localization.txt"] = "\n".join(f"{p},10,6,29,23" for p, _ in kept)
    files |= {name: text.encode() for name, text in lists.items()}
    _zip(file, {**files, "boxes.csv": "\n".join(rows).encode()})


def _killed(folder: Path, pictures: Path) -> None:
    """A training that was interrupted in its second step."""
    step, done = Trainer.step, []

    def interrupted(trainer: Trainer, batches: object) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(1)
        step(trainer, batches)  # type: ignore[arg-type]

    config = tiny_config(pictures, out=str(folder), epochs=1, cache="off")
    Trainer.step = interrupted  # type: ignore[method-assign]
    try:
        train(config, [])
    except KeyboardInterrupt:
        pass
    finally:
        Trainer.step = step  # type: ignore[method-assign]


def _maps(folder: Path) -> None:
    """DIR, masks and boxes for the test images of the small datasets and of cub-boxes."""
    rows, found = ["image_id,x0,y0,x1,y1"], []
    ids = load_manifest(folder / "data_manifests" / "NAME").split("test").image_ids
    for number, name in enumerate(ids):
        rows.append(f"{name},4,4,30,30")
        found.append(
            {"file_name": name, "image_id": number, "category_id": 1, "bbox": [4, 4, 26, 26], "score": 1.0}
        )
    runs = {"size": [40, 44], "counts": [400, 800, 560]}  # columns 10 to 29
    masks = [{k: v for k, v in f.items() if k != "bbox"} | {"segmentation": runs} for f in found]
    predicted = {"results.json": json.dumps(found).encode(), "run-lengths.json": json.dumps(masks).encode()}
    write_tree(folder, {"predicted.csv": "\n".join(rows).encode(), **predicted})
    rng = np.random.default_rng(0)
    for dataset, places in (("cub200", ("DIR", "masks")), ("cub-boxes", ("DIR",))):
        manifest = load_manifest(folder / "data_manifests" / dataset)
        for split in ("test", "train-fullsup"):
            for name in manifest.split(split).image_ids:
                for place in places:
                    file = folder / place / f"{name}.npy"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    smooth = rng.random((8, 8), dtype=np.float32)
                    np.save(file, smooth if place == "DIR" else smooth > 0.5)


def _weights(folder: Path) -> None:
    """Random weights of the networks that pages name."""
    from timm import create_model

    torch.manual_seed(0)
    lite0 = create_model("tf_efficientnet_lite0").state_dict()
    torch.save(lite0, folder / "lite0.pth")
    torch.save(lite0, folder / "efficientnet-lite0-57934424.pth")
    save_file(lite0, folder / "lite0.safetensors")
    save_file(create_model("mobilenetv2_100").state_dict(), folder / "mobilenetv2_tf1.safetensors")
    torch.save(torchvision.models.mobilenet_v2().state_dict(), folder / "mobilenet_v2.pth")
    torch.save(create_model("resnet50", num_classes=9).state_dict(), folder / "file.pth")
    torch.save(torchvision.models.resnet50(num_classes=10).state_dict(), folder / "r50.pth")


def _zip(file: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def _tar(file: Path, folder: Path) -> None:
    with tarfile.open(file, "w:gz" if file.suffix == ".tgz" else "w") as archive:
        archive.add(folder, folder.name)
