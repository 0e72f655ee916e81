"""Other people's maps: names, types, sizes, and every way they can be bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from eval.maps.files import ScoreMapFiles, spellings
from eval.maps.normalization import MapStatus
from tests.helpers.map_folders import boxed_split, smooth_maps, write_maps
from tests.helpers.oracles import oracle
from wsol.errors import UserError
from wsol.manifest import Sample, Split


def statuses(source: ScoreMapFiles) -> list[int]:
    return [int(s) for b in source.batches(np.arange(len(source.split))) for s in b.status]


@pytest.mark.parametrize(
    ("image_id", "names"),
    [
        ("val2/0/0.jpeg", ("val2/0/0.jpeg", "val2/0/0")),
        ("0001", ("0001",)),
        ("a.b/c", ("a.b/c",)),
        ("x/y.tar.png", ("x/y.tar.png", "x/y.tar")),
    ],
)
def test_both_namings_in_the_wild(image_id: str, names: tuple[str, ...]) -> None:
    assert spellings(image_id) == names


@pytest.mark.parametrize("suffix", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_folders_of_any_float_type(tmp_path: Path, dtype: type, suffix: bool) -> None:
    split = boxed_split(3)
    maps = smooth_maps(3).astype(dtype)
    write_maps(tmp_path, split, maps, suffix)
    source = ScoreMapFiles(tmp_path, split)
    got = [m for b in source.batches(np.arange(3)) for m in b.maps["resize"]]
    np.testing.assert_array_equal(np.array(got), maps)
    assert source.missing_and_surplus() == ([], [])


def test_npz_and_h5_stores(tmp_path: Path) -> None:
    h5py = oracle("h5py")
    split = boxed_split(3)
    maps = smooth_maps(3)
    np.savez(tmp_path / "maps.npz", **dict(zip(split.image_ids, maps)))
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        for image_id, m in zip(split.image_ids, maps):
            file[image_id] = m
        file["odd/one"] = maps[0]
    for name, surplus in (("maps.npz", []), ("maps.h5", ["odd/one"])):
        source = ScoreMapFiles(tmp_path / name, split)
        got = [m for b in source.batches(np.arange(3)) for m in b.maps["resize"]]
        np.testing.assert_array_equal(np.array(got), maps)
        assert source.missing_and_surplus() == ([], surplus)


def test_each_bad_map_has_its_own_status(tmp_path: Path) -> None:
    split = boxed_split(9)
    maps = list(smooth_maps(9))
    maps[1] = np.where(maps[1] > 0.9, np.nan, maps[1])
    maps[2] = maps[2] * 1.5
    maps[3] = maps[3] - 0.2
    maps[4] = np.zeros((3, 224, 224))
    maps[5] = smooth_maps(1, side=60)[0]
    for image_id, m in zip(split.image_ids, maps):
        write_maps(tmp_path, split.take(np.array([split.image_ids.index(image_id)])), [m])  # type: ignore[arg-type]
    (tmp_path / f"{split.image_ids[6]}.npy").write_bytes(b"\x93NUMPY not really")
    np.save(tmp_path / f"{split.image_ids[7]}.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / f"{split.image_ids[8]}.npy").unlink()
    np.save(tmp_path / "stranger.npy", maps[0])
    source = ScoreMapFiles(tmp_path, split)
    expected = [
        MapStatus.OK,
        MapStatus.NAN,
        MapStatus.OUT_OF_RANGE,
        MapStatus.OUT_OF_RANGE,
        MapStatus.UNREADABLE,
        MapStatus.RESIZED,
        MapStatus.UNREADABLE,
        MapStatus.UNREADABLE,
        MapStatus.MISSING,
    ]
    assert statuses(source) == [int(e) for e in expected]
    missing, surplus = source.missing_and_surplus()
    assert missing == [split.image_ids[8]]
    assert surplus == ["stranger"]


def test_a_map_with_any_byte_of_its_head_changed_is_read_or_counted(tmp_path: Path) -> None:
    """numpy hands a damaged header to Python's tokenizer, whose errors are of its own kinds."""
    split = boxed_split(1)
    write_maps(tmp_path, split, smooth_maps(1, side=8))
    file = tmp_path / f"{split.image_ids[0]}.npy"
    whole = file.read_bytes()
    source = ScoreMapFiles(tmp_path, split)
    for at in range(128):
        for byte in (b"(", b"'", b"\x00", b"9"):
            file.write_bytes(whole[:at] + byte + whole[at + 1 :])
            assert len(statuses(source)) == 1


def test_a_damaged_member_of_an_npz_is_counted(tmp_path: Path) -> None:
    split = boxed_split(1)
    np.savez_compressed(tmp_path / "maps.npz", **{split.image_ids[0]: smooth_maps(1, side=16)[0]})
    whole = (tmp_path / "maps.npz").read_bytes()
    for at in range(100, 400, 5):
        (tmp_path / "broken.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        assert statuses(ScoreMapFiles(tmp_path / "broken.npz", split)) == [int(MapStatus.UNREADABLE)]


def test_a_name_that_two_images_could_claim_is_no_images_map(tmp_path: Path) -> None:
    """x.jpg and x.png are two images: one file x.npy can only be the map of one, and nobody knows of which."""
    ids = ["c/x.jpg", "c/x.png", "c/y.jpg", "s.1", "s.2"]
    split = Split.from_samples([Sample(i, i, 0, (9, 9), np.array([[1.0, 1, 5, 5]])) for i in ids])
    (tmp_path / "c").mkdir()
    for name in ("c/x", "c/y", "s", "s.2"):
        np.save(tmp_path / f"{name}.npy", smooth_maps(1)[0])
    source = ScoreMapFiles(tmp_path, split)
    missing = int(MapStatus.MISSING)
    assert statuses(source) == [missing, missing, 0, missing, 0]
    assert source.missing_and_surplus() == (["c/x.jpg", "c/x.png", "s.1"], ["c/x", "s"])


def test_members_of_an_npz_named_as_files_are_found(tmp_path: Path) -> None:
    split = boxed_split(2)
    np.savez(tmp_path / "m.npz", **{f"{i}.npy": smooth_maps(1)[0] for i in split.image_ids})
    assert statuses(ScoreMapFiles(tmp_path / "m.npz", split)) == [0, 0]


def test_another_size_is_refused_where_asked(tmp_path: Path) -> None:
    split = boxed_split(1)
    write_maps(tmp_path, split, smooth_maps(1, side=100))
    with pytest.raises(UserError, match="100x100, expected 224x224"):
        statuses(ScoreMapFiles(tmp_path, split, size_policy="refuse"))


def test_links_are_followed_as_in_a_dataset_and_paths_out_of_the_folder_are_not(tmp_path: Path) -> None:
    """Maps of DVC and of hub caches are links to a store elsewhere; an image id cannot lead out by its text."""
    split = boxed_split(1)
    outside = tmp_path / "outside.npy"
    np.save(outside, smooth_maps(1)[0])
    inside = tmp_path / "maps" / f"{split.image_ids[0]}.npy"
    inside.parent.mkdir(parents=True)
    inside.symlink_to(outside)
    assert statuses(ScoreMapFiles(tmp_path / "maps", split)) == [0]
    out = Split.from_samples([Sample("../outside", "x.jpg", 0, (9, 9), np.array([[1.0, 1, 5, 5]]))])
    assert statuses(ScoreMapFiles(tmp_path / "maps", out)) == [int(MapStatus.MISSING)]


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 224, 224), (1, 224, 224), (224, 224, 1), (1, 224, 224, 1)],
    ids=lambda s: "x".join(map(str, s)),
)
def test_axes_of_one_are_left_out(tmp_path: Path, shape: tuple[int, ...]) -> None:
    split, m = boxed_split(1), smooth_maps(1)[0]
    write_maps(tmp_path, split, m.reshape(1, *shape))
    (batch,) = ScoreMapFiles(tmp_path, split).batches(np.arange(1))
    np.testing.assert_array_equal(batch.maps["resize"][0], m)


def test_masks_pictures_and_tensors_are_read(tmp_path: Path) -> None:
    """A boolean mask is 0 and 1; an 8-bit picture has 255 for 1, a 16-bit one 65535; grey may be kept as RGB."""
    split = boxed_split(5)
    m = smooth_maps(1)[0]
    eight = (m * 255).astype(np.uint8)
    files = [tmp_path / i for i in split.image_ids]
    files[0].parent.mkdir(parents=True)
    for file in files:
        file.parent.mkdir(exist_ok=True)
    np.save(f"{files[0]}.npy", m > 0.5)
    cv2.imwrite(f"{files[1]}.png", eight)
    cv2.imwrite(f"{files[2]}.png", (m * 65535).astype(np.uint16))
    cv2.imwrite(f"{files[3]}.png", np.repeat(eight[..., None], 3, 2))
    torch.save(torch.from_numpy(m)[None, None].to(torch.bfloat16), f"{files[4]}.pt")
    source = ScoreMapFiles(tmp_path, split)
    assert source.missing_and_surplus() == ([], [])
    (batch,) = source.batches(np.arange(5))
    found = batch.maps["resize"]
    np.testing.assert_array_equal(found[0], m > 0.5)
    for i, tolerance in ((1, 1 / 255), (2, 1 / 65535), (3, 1 / 255), (4, 0.005)):
        np.testing.assert_allclose(found[i], m, atol=tolerance)
    torch.save({i: torch.from_numpy(m) for i in split.image_ids}, tmp_path / "all.pt")
    assert statuses(ScoreMapFiles(tmp_path / "all.pt", split)) == [0] * 5


def test_rounding_beyond_one_is_clipped_and_counted(tmp_path: Path) -> None:
    split, m = boxed_split(3), smooth_maps(1)[0]
    write_maps(tmp_path, split, [m * 1.000001, m - 1e-7, m * 1.01])
    source = ScoreMapFiles(tmp_path, split)
    clipped = int(MapStatus.CLIPPED)
    assert statuses(source) == [clipped, clipped, int(MapStatus.OUT_OF_RANGE)]
    (batch,) = source.batches(np.arange(3))
    assert batch.maps["resize"][0].max() == 1  # type: ignore[union-attr]


def _pickled(folder: Path, split: Split) -> None:
    for image_id in split.image_ids:
        (folder / image_id).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{image_id}.npy", np.array({0: np.zeros((3, 3))}, dtype=object), allow_pickle=True)


def _stacked(folder: Path, split: Split) -> None:
    np.savez(folder / "x.npz", cams=smooth_maps(2), ids=np.array(split.image_ids))


@pytest.mark.parametrize(
    ("write", "store", "says"),
    [
        pytest.param(
            lambda f, s: [np.save(f / f"{Path(i).stem}.npy", smooth_maps(1)[0]) for i in s.image_ids],
            "",
            r"for 0 of 20 images: expected names like 'c0/im_0\.jpeg' or 'c0/im_0', found some such as 'im_0'",
            id="without the folder",
        ),
        pytest.param(lambda f, s: None, "", "nothing else is there", id="an empty folder"),
        pytest.param(_stacked, "x.npz", "such as 'cams'", id="stacked arrays"),
        pytest.param(
            lambda f, s: write_maps(f, s, smooth_maps(20) * 7 - 2),
            "",
            r"20 of 20 maps looked at .* that of 'c0/im_0\.jpeg' has values from -2 to 5.*--map-values raw",
            id="raw values",
        ),
        pytest.param(_pickled, "", "pickled Python objects", id="pickled"),
        pytest.param(
            lambda f, s: write_maps(f, s, np.zeros((20, 3, 8, 8))),
            "",
            "is 3x8x8 of float64",
            id="three channels",
        ),
    ],
)
def test_maps_that_fit_nothing_are_refused(tmp_path: Path, write: Any, store: str, says: str) -> None:
    split = boxed_split(20)
    write(tmp_path, split)
    with pytest.raises(UserError, match=says):
        ScoreMapFiles(tmp_path / store, split).require_fit()


def test_maps_of_which_some_fit_are_scored_and_counted(tmp_path: Path) -> None:
    split = boxed_split(20)
    write_maps(tmp_path, split.take(np.arange(4)), [smooth_maps(1)[0], *(smooth_maps(3) * 7)])
    ScoreMapFiles(tmp_path, split).require_fit()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", "no score maps at"),
        (lambda p: (p / "x.txt").write_text("") or p / "x.txt", "unknown kind"),
        (lambda p: (p / "x.npz").write_bytes(b"PK nothing") or p / "x.npz", r"x\.npz"),
        (lambda p: (p / "x.h5").write_bytes(b"nothing") or p / "x.h5", r"x\.h5"),
    ],
)
def test_a_store_that_is_none(tmp_path: Path, make: object, message: str) -> None:
    target = make(tmp_path)  # type: ignore[operator]
    target = target if isinstance(target, Path) else next(tmp_path.iterdir())
    with pytest.raises(UserError, match=message):
        ScoreMapFiles(target, boxed_split(1))


def test_max_normalisation_needs_raw_maps(tmp_path: Path) -> None:
    split = boxed_split(1)
    assert "raw" in str(ScoreMapFiles(tmp_path, split).unusable("max", "resize"))
    assert ScoreMapFiles(tmp_path, split, values="raw").unusable("max", "resize") is None
    assert ScoreMapFiles(tmp_path, split).unusable("ivr", "resize") is None
    assert "whole image" in str(ScoreMapFiles(tmp_path, split, values="raw").unusable("max", "center-crop"))


def test_maps_of_an_h5_that_lie_elsewhere_or_announce_too_much(tmp_path: Path) -> None:
    """Virtual and external storage read other files; 7 kB announced 10 GB."""
    h5py = pytest.importorskip("h5py")
    split = boxed_split(6)
    secret = smooth_maps(1)[0].astype(np.float32)
    secret.tofile(tmp_path / "secret.raw")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = secret
    with h5py.File(tmp_path / "m.h5", "w") as file:
        layout = h5py.VirtualLayout(secret.shape, secret.dtype)
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", secret.shape)
        file.create_virtual_dataset(split.image_ids[0], layout)
        raw = [(str(tmp_path / "secret.raw"), 0, secret.nbytes)]
        file.create_dataset(split.image_ids[1], secret.shape, secret.dtype, external=raw)
        file[split.image_ids[2]] = h5py.ExternalLink("other.h5", "x")
        file[split.image_ids[3]] = secret
        file[split.image_ids[4]] = h5py.SoftLink(f"/{split.image_ids[3]}")
        file.create_dataset(split.image_ids[5], (50_000, 50_000), "f4", chunks=(100, 100))
    unreadable, missing = int(MapStatus.UNREADABLE), int(MapStatus.MISSING)
    assert statuses(ScoreMapFiles(tmp_path / "m.h5", split)) == [
        *(
            unreadable,
            unreadable,
            missing,
            statuses_of_a_whole_map(tmp_path, split, secret),
            missing,
            unreadable,
        )
    ]


def statuses_of_a_whole_map(tmp_path: Path, split: Split, found: np.ndarray) -> int:
    np.savez(tmp_path / "whole.npz", **{split.image_ids[3]: found})
    return statuses(ScoreMapFiles(tmp_path / "whole.npz", split))[3]
