"""Small datasets in the layouts that people hold, for tests and for benchmarks/fuzz_inputs.py: what `prepare` is told,
and the files.

Every image is 40x30 and its object is the box 10 6 30 24 (half-open), unless a layout says otherwise.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.helpers.dataset_trees import mask, picture, tiny_files

Files = dict[str, bytes]
SIZE = (40, 30)
BOX = (10, 6, 30, 24)
CLASSES = ("cat", "dog")
SPLITS = {"train": 4, "val": 2, "test": 4}
WNIDS = ("n01440764", "n01443537")


@dataclass(frozen=True)
class Layout:
    """One layout.

    Attributes:
        command: NAME and options of `prepare`, without --source and --out.
        files: what lies in the source.
        test_images: how many images the test split must have.
        box: the box that every test image must come out with; None where they differ, or truth is masks.
    """

    command: Sequence[str]
    files: Files
    test_images: int
    box: tuple[int, int, int, int] | None = BOX


def images(
    pattern: str, splits: Sequence[str] = tuple(SPLITS), ending: str = ".jpg"
) -> Iterator[tuple[str, str, str]]:
    """(path, split, class) of every image; the pattern holds {split}, {name} (unique) and perhaps {cls}."""
    for split in splits:
        for i in range(SPLITS[split]):
            cls = CLASSES[i % 2]
            yield pattern.format(split=split, cls=cls, name=f"{split}{i}") + ending, split, cls


def pixels(paths: Sequence[str]) -> Files:
    """An image of its own at every path."""
    kind = {"png": "PNG", "webp": "WEBP", "bmp": "BMP"}
    return {
        p: picture(SIZE, kind.get(p.rpartition(".")[2].lower(), "JPEG"), seed=zlib.crc32(p.encode()))
        for p in paths
    }


def table(header: str, row: str, paths: Sequence[tuple[str, str, str]], separator: str = ",") -> bytes:
    """A table with one line an image."""
    x0, y0, x1, y1 = BOX
    values = {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "w": x1 - x0, "h": y1 - y0, "s": separator}
    shares = {"fx0": x0 / 40, "fy0": y0 / 30, "fx1": x1 / 40, "fy1": y1 / 30}
    lines = [row.format(path=p, split=s, cls=c, **values, **shares) for p, s, c in paths]
    return "\n".join([header, *lines, ""]).encode()


def folder(
    header: str = "image,x0,y0,x1,y1",
    row: str = "{path},{x0},{y0},{x1},{y1}",
    *,
    pattern: str = "{split}/{cls}/{name}",
    ending: str = ".jpg",
    spelt: Callable[[str], str] = lambda path: path,
    command: Sequence[str] = (),
    top: str = "",
    encode: Callable[[bytes], bytes] = lambda data: data,
) -> Layout:
    """Class folders and a table; `spelt` turns a path into what the table calls it."""
    every = list(images(pattern, ending=ending))
    text = table(header, row, [(spelt(p), s, c) for p, s, c in every])
    files = {**pixels([p for p, _, _ in every]), "boxes.csv": encode(text)}
    return Layout(("folder", *command), {f"{top}{n}": d for n, d in files.items()}, SPLITS["test"])


def coco(
    change: Callable[[dict[str, list[dict[str, object]]]], None] = lambda data: None, *options: str
) -> Layout:
    """train.json and test.json with folders of their names; `change` edits each before it is written."""
    files: Files = {}
    for split in ("train", "test"):
        rows = list(images("{name}", [split]))
        x0, y0, x1, y1 = BOX
        data: dict[str, list[dict[str, object]]] = {
            "images": [
                {"id": k + 1, "file_name": p, "width": SIZE[0], "height": SIZE[1]}
                for k, (p, _, _) in enumerate(rows)
            ],
            "annotations": [
                {
                    "id": k + 1,
                    "image_id": k + 1,
                    "category_id": 1 + CLASSES.index(cls),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                    "iscrowd": 0,
                }
                for k, (_, _, cls) in enumerate(rows)
            ],
            "categories": [{"id": k + 1, "name": c} for k, c in enumerate(CLASSES)],
        }
        change(data)
        files[f"{split}.json"] = json.dumps(data).encode()
        files |= pixels([f"{split}/{p}" for p, _, _ in rows])
    return Layout(
        ("coco", "--train", "train.json=train", "--test", "test.json=test", *options), files, SPLITS["test"]
    )


def voc(
    *,
    filename: str = "{name}.jpg",
    difficult: str = "0",
    ending: str = ".jpg",
    size: bool = True,
    listed: str = "{name}",
) -> Layout:
    """Pascal VOC's layout, its XML as one tool or another writes it."""
    files: Files = {}
    x0, y0, x1, y1 = BOX
    for path, split, cls in images("{name}", ending=""):
        stated = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>" if size else ""
        box = f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        files[f"Annotations/{path}.xml"] = (
            f"<annotation><filename>{filename.format(name=path)}</filename>{stated}<object><name>{cls}</name>"
            f"<difficult>{difficult}</difficult><bndbox>{box}</bndbox></object></annotation>"
        ).encode()
        files |= pixels([f"JPEGImages/{path}{ending}"])
        names = files.setdefault(f"ImageSets/Main/{split}.txt", b"")
        files[f"ImageSets/Main/{split}.txt"] = names + f"{listed.format(name=path)}\n".encode()
    return Layout(("voc",), files, SPLITS["test"], (10, 6, 29, 23))


def yolo(pattern: str, line: str = "{k} 0.5 0.5 0.5 0.6", card: str = "names: [cat, dog]\n") -> Layout:
    """YOLO's text files; `pattern` places the images."""
    files: Files = {"data.yaml": card.encode()} if card else {}
    for path, _, cls in images(pattern):
        files |= pixels([path])
        label = path.replace("images", "labels").rpartition(".")[0] + ".txt"
        files[label] = (line.format(k=CLASSES.index(cls)) + "\n").encode()
    return Layout(("yolo",), files, SPLITS["test"])


def cub(command: str = "cub200", keys: Callable[[int], str] = str, first_class: int = 1) -> Layout:
    """CUB's layout, or with other keys NABirds'; classes numbered from `first_class`."""
    tables: dict[str, list[str]] = {
        n: [] for n in ("images", "image_class_labels", "train_test_split", "bounding_boxes")
    }
    files: Files = {}
    x0, y0, x1, y1 = BOX
    for k, (path, split, cls) in enumerate(images("{cls}/{name}")):
        key = keys(k + 1)
        files |= pixels([f"images/{path}"])
        tables["images"].append(f"{key} {path}")
        tables["image_class_labels"].append(f"{key} {first_class + CLASSES.index(cls)}")
        tables["train_test_split"].append(f"{key} {int(split != 'test')}")
        tables["bounding_boxes"].append(f"{key} {x0} {y0} {x1 - x0} {y1 - y0}")
    files |= {f"{n}.txt": "\n".join(rows).encode() for n, rows in tables.items()}
    files["classes.txt"] = "".join(f"{first_class + k} {c}\n" for k, c in enumerate(CLASSES)).encode()
    return Layout((command, "--holdout", "1", "--force"), files, SPLITS["test"])


def imagenet(val: str, train: str = "train/{w}/{w}_{i}.JPEG", csv: str = "{stem},{w} 11 7 30 24") -> Layout:
    """ImageNet with Kaggle's CSV; `val` places a val image."""
    rows = [(f"ILSVRC2012_val_{i + 1:08d}", WNIDS[i % 2]) for i in range(4)]
    paths = [train.format(w=w, i=i) for w in WNIDS for i in range(3)]
    paths += [val.format(stem=stem, w=w) for stem, w in rows]
    lines = [csv.format(stem=stem, w=w) for stem, w in rows]
    solution = "\n".join(["ImageId,PredictionString", *lines, ""]).encode()
    return Layout(
        ("imagenet", "--force"), {**pixels(paths), "LOC_val_solution.csv": solution}, 4, (11, 7, 30, 24)
    )


def metadata(command: Sequence[str] = (), sizes: str = "{path},40,30") -> Layout:
    """The reference metadata layout with its images in the same folder."""
    files: Files = {}
    for split in SPLITS:
        rows = list(images("{split}/{cls}/{name}", [split]))
        files |= pixels([p for p, _, _ in rows])
        lines = {
            "image_ids": "{path}",
            "class_labels": "{path},{k}",
            "image_sizes": sizes,
            "localization": "{path},10,6,29,23",
        }
        for name, line in lines.items():
            text = "\n".join(line.format(path=p, k=CLASSES.index(c)) for p, _, c in rows)
            files[f"{split}/{name}.txt"] = text.encode()
    return Layout(("wsol-metadata", "--images", "SOURCE", *command), files, SPLITS["test"], (10, 6, 29, 23))


def openimages_csv() -> Layout:
    """OpenImages' own boxes."""
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf"
    files: Files = {"class-descriptions-boxable.csv": b"/m/01yrx,Cat\n/m/0bt9lr,Dog\n"}
    for split, place in (("train", "train"), ("val", "validation"), ("test", "test")):
        rows = []
        for path, _, cls in images("{name}", [split]):
            files |= pixels([f"{place}/{path}"])
            key = {"cat": "/m/01yrx", "dog": "/m/0bt9lr"}[cls]
            rows.append(f"{path[:-4]},xclick,{key},1,0.25,0.75,0.2,0.8,0,0,0")
        rows.append(f"elsewhere,xclick,{key},1,0.25,0.75,0.2,0.8,0,0,0")
        files[f"{place}-annotations-bbox.csv"] = "\n".join([header, *rows]).encode()
    return Layout(("openimages-csv",), files, SPLITS["test"])


def openimages30k() -> Layout:
    """Masks and ignore masks, listed by the reference metadata."""
    files: Files = {}
    for split in SPLITS:
        lists: dict[str, list[str]] = {"image_ids": [], "class_labels": [], "localization": []}
        for path, _, cls in images("{split}/{cls}/{name}", [split]):
            files |= pixels([path])
            lists["image_ids"].append(path)
            lists["class_labels"].append(f"{path},{CLASSES.index(cls)}")
            if split != "train":
                files[f"{path[:-4]}_m.png"] = mask(SIZE, BOX)
                lists["localization"].append(f"{path},{path[:-4]}_m.png,")
        files |= {f"metadata/{split}/{n}.txt": "\n".join(rows).encode() for n, rows in lists.items() if rows}
    return Layout(("openimages30k", "--force"), files, SPLITS["test"], None)


def parquet(bbox: bool = True) -> Files:
    """Hugging Face's files of an image dataset with a ClassLabel, by split."""
    import pyarrow
    from pyarrow import parquet as writer

    files: Files = {}
    features = {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        rows = list(images("{name}", [split]))
        x0, y0, x1, y1 = BOX
        columns: dict[str, list[object]] = {
            "image": [
                {"bytes": d, "path": p} for p, d in pixels([f"{split}-{p}" for p, _, _ in rows]).items()
            ],
            "label": [CLASSES.index(c) for _, _, c in rows],
        }
        if bbox:
            columns["bbox"] = [[float(x0), float(y0), float(x1 - x0), float(y1 - y0)] for _ in rows]
        made = pyarrow.table(columns).replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
        stream = io.BytesIO()
        writer.write_table(made, stream)
        files[f"data/{name}-00000-of-00001.parquet"] = stream.getvalue()
    return files


def imagenet_parquet() -> Files:
    """Hugging Face's ImageNet: a wnid at the end of every name, labels -1 in the test file."""
    import pyarrow
    from pyarrow import parquet as writer

    plain = imagenet("val/{stem}_{w}.JPEG", "train/{w}_{i}_{w}.JPEG")
    files: Files = {"LOC_val_solution.csv": plain.files["LOC_val_solution.csv"]}
    for split, name in (("train/", "train"), ("val/", "validation")):
        rows = [(n.rpartition("/")[2], d) for n, d in plain.files.items() if n.startswith(split)]
        columns = {"image": [{"bytes": d, "path": n} for n, d in rows], "label": list(range(len(rows)))}
        stream = io.BytesIO()
        writer.write_table(pyarrow.table(columns), stream)
        files[f"data/{name}-00000-of-00001.parquet"] = stream.getvalue()
    return files


def zipped(layout: Layout, top: str = "") -> Layout:
    """The same files in one archive, perhaps below one folder."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in layout.files.items():
            archive.writestr(zipfile.ZipInfo(f"{top}{name}"), data)
    return Layout(layout.command, {"data.zip": stream.getvalue()}, layout.test_images, layout.box)


def _without_ids(data: dict[str, list[dict[str, object]]]) -> None:
    for k, annotation in enumerate(data["annotations"]):
        del annotation["id"]
        data["images"][k] |= {"id": f"{k}", "width": -1, "height": -1}
        annotation |= {"image_id": float(k), "category_id": str(annotation["category_id"])}


def _with_root(data: dict[str, list[dict[str, object]]]) -> None:
    for category in data["categories"]:
        category["supercategory"] = "animals"
    data["categories"].insert(0, {"id": 0, "name": "animals", "supercategory": "none"})


LAYOUTS: dict[str, Layout] = {
    "tiny-imagenet": Layout(("tiny-imagenet", "--holdout", "1", "--force"), tiny_files(), 2, None),
    "tiny-imagenet, zip": zipped(
        Layout(("tiny-imagenet", "--holdout", "1", "--force"), tiny_files(), 2, None), "tiny/"
    ),
    "cub200": cub(),
    "cub200, classes 39 and 40": cub(first_class=39),
    "nabirds": cub("nabirds", lambda k: f"{k:08x}-{k:04x}"),
    "imagenet, class folders and Kaggle's CSV": imagenet("val/{w}/{stem}.JPEG"),
    "imagenet, flat val": imagenet("val/{stem}.JPEG"),
    "imagenet, Hugging Face's names": imagenet("val/{w}/{stem}_{w}.JPEG", "train/{w}/{w}_{i}_{w}.JPEG"),
    "openimages30k": openimages30k(),
    "openimages-csv": openimages_csv(),
    "voc": voc(),
    "voc, names without ending": voc(filename="{name}"),
    "voc, another ending": voc(filename="{name}.png", difficult="Unspecified", ending=".JPG"),
    "voc, no size, names with endings listed": voc(size=False, listed="{name}.jpg", difficult="0.0"),
    "coco": coco(),
    "coco, masks": coco(lambda data: None, "--masks"),
    "coco, text ids, no annotation ids, no sizes": coco(_without_ids),
    "coco, Roboflow's root category": coco(_with_root),
    "yolo, images and labels by split": yolo("images/{split}/{name}"),
    "yolo, Roboflow": yolo("{split}/images/{name}", card="names:\n  0: cat\n  1: dog\n"),
    "yolo, polygons, no data.yaml": yolo(
        "images/{split}/{name}", "{k} 0.25 0.2 0.75 0.2 0.75 0.8 0.25 0.8", ""
    ),
    "folder, split folders": folder(),
    "folder, zip with one top folder": zipped(folder(), "mine/"),
    "folder, x1 y1 x2 y2": folder("filename,x1,y1,x2,y2"),
    "folder, semicolons and decimal commas": folder(
        "Image Name;XMin;YMin;XMax;YMax", "{path};{x0},0;{y0},0;{x1},0;{y1},0"
    ),
    "folder, tabs": folder("path\tleft\ttop\twidth\theight", "{path}\t{x0}\t{y0}\t{w}\t{h}"),
    "folder, shares": folder(row="{path},{fx0},{fy0},{fx1},{fy1}", command=("--box-units", "shares")),
    "folder, backslashes": folder(spelt=lambda p: p.replace("/", "\\")),
    "folder, names without ending": folder(spelt=lambda p: p[:-4]),
    "folder, another case": folder(ending=".JPG", spelt=str.lower),
    "folder, absolute paths of another machine": folder(spelt=lambda p: f"C:\\data\\mine\\{p}"),
    "folder, PNG and UTF-16": folder(ending=".png", encode=lambda d: d.decode().encode("utf-16")),
    "folder, flat with a class column": folder(
        "filename,width,height,class,xmin,ymin,xmax,ymax,split",
        "{path},40,30,{cls},{x0},{y0},{x1},{y1},{split}",
        pattern="{name}",
    ),
    "wsol-metadata": metadata(),
    "wsol-metadata, height before width": metadata(("--sizes", "height-width"), "{path},30,40"),
}
"""By name; those that need pyarrow are made by `parquet` and `imagenet_parquet`."""
