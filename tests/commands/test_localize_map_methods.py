"""`eval.localize --map-method`: folders, recipes, and map methods as rows of a comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from eval.analysis.evaluated import open_evaluated
from eval.compare import main as compare
from eval.comparison.build import compare_runs
from eval.comparison.run_pairs import group, pair
from eval.localize import main as localize
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.results_json import read_results
from eval.overview.__main__ import main as overview
from tests.helpers.evaluations import make_maps, make_pictures, make_run
from wsol.cams.map_method import MapMethod
from wsol.cams.registry import MAP_METHODS
from wsol.models import Classifier

QUICK = ["--bootstrap", "0", "--pictures", "0", "--device", "cpu", "--protocols", "maxboxacc"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"), test=8, fullsup=4)


def test_a_method_of_ones_own_is_localized_and_compared(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = MapMethod("mean", lambda features, *_: features.mean(1), "nobody", needs_gradient=False)
    monkeypatch.setitem(MAP_METHODS, "mean", own)
    run = make_run(tmp_path / "cutmix-0", pictures)
    arguments = [
        str(run),
        *QUICK,
        "--map-method",
        "cam",
        "mean",
        "layercam",
        "--map-layer",
        "final",
        "layer2",
    ]
    assert localize(arguments) == 0
    folders = ["eval", "eval-layercam", "eval-layercam-layer2", "eval-mean", "eval-mean-layer2"]
    assert sorted(p.name for p in run.glob("eval*")) == folders
    recipes = {n: json.loads((run / n / "maps" / "test" / "maps.json").read_text())["maps"] for n in folders}
    assert "map" not in recipes["eval"], "maps of CAM from before there were others stay valid"
    assert recipes["eval-layercam-layer2"]["map"] == [{"method": "layercam", "layer": "layer2"}]
    made = {**read_results(run / "eval-mean-layer2")["provenance"]["map"]}
    assert made.pop("cells")["offset_xy"] == [1.5, 1.5]
    assert made == {"method": "mean", "layer": "layer2", "label": "mean-layer2"}
    rows = pair(group([open_evaluated(run / name) for name in folders]))
    labels = ("layercam", "layercam-layer2", "mean", "mean-layer2")
    assert [row.name for row in rows] == [f"cutmix {label} vs cutmix" for label in labels]


def test_several_methods_share_the_passes_and_give_what_each_gives_alone(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "cutmix-0", pictures)
    passes: list[int] = []
    forward = Classifier.forward

    def counted(self: Classifier, images: torch.Tensor, *rest: object) -> object:
        passes.append(len(images))
        return forward(self, images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Classifier, "forward", counted)
    several = ["--map-method", "cam", "gradcam++", "--map-layer", "final", "layer2"]
    named = ["--protocols", "maxboxacc", "maxboxacc_transferred"]
    assert localize([str(run), *QUICK, *several, *named, "--out", str(tmp_path / "all")]) == 0
    assert sum(passes) == 8 + 4, "each image of test and of train-fullsup once"
    for method, layer, label in (("cam", "final", "cam"), ("gradcam++", "layer2", "gradcam++-layer2")):
        alone = ["--map-method", method, "--map-layer", layer, "--out", str(tmp_path / label)]
        assert localize([str(run), *QUICK, *named, *alone]) == 0
        one, shared = (read_results(tmp_path / p) for p in (label, f"all/{label}"))
        assert one["protocols"] == shared["protocols"]


def test_score_cam_runs_behind_a_limit(pictures: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "cutmix-0", pictures)
    limited = ["--limit", "2", "--map-method", "principal", "scorecam", "--out", str(tmp_path / "o")]
    assert localize([str(run), *QUICK, *limited, "--protocols", "maxboxacc"]) == 0
    assert read_results(tmp_path / "o" / "scorecam")["protocols"]["maxboxacc"]["value"] >= 0


def test_maps_of_one_method_are_never_taken_for_anothers(pictures: Path, tmp_path: Path) -> None:
    """Into one folder one after the other: the second is made anew, not continued from the first one's maps."""
    run = make_run(tmp_path / "cutmix-0", pictures)
    for method in ("cam", "gradcam"):
        arguments = [str(run), *QUICK, "--out", str(tmp_path / "o"), "--map-method", method]
        assert localize(arguments) == 0
        recipe = json.loads((tmp_path / "o" / "records" / "test" / "index.json").read_text())["maps"]
        assert recipe.get("map", [{"method": "cam"}])[0]["method"] == method
    assert localize([str(run), *QUICK, "--out", str(tmp_path / "fresh"), "--map-method", "gradcam"]) == 0
    a, b = (read_results(tmp_path / name)["protocols"] for name in ("o", "fresh"))
    assert a == b


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(
            ["--map-method", "cam", "--map-layer", "layer2"], "reads the final map alone", id="cam layer2"
        ),
        pytest.param(["--map-method", "scorecam"], "say how many with --limit", id="Score-CAM without limit"),
        pytest.param(["--map-method", "rollout"], "transformers with a class token", id="rollout"),
        pytest.param(["--map-method", "layercamm"], "did you mean 'layercam'", id="unknown method"),
        pytest.param(
            ["--map-layer", "layerx", "--map-method", "layercam"], "unknown layer", id="unknown layer"
        ),
    ],
)
def test_what_cannot_be_made_is_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    run = make_run(tmp_path / "cutmix-0", pictures)
    assert localize([str(run), *QUICK, *arguments]) == 2
    assert says in capsys.readouterr().err


def test_ready_made_maps_take_no_map_method(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--control", "full_image", "--dataset", str(pictures), "--map-method", "layercam"]
    assert localize(arguments) == 2
    assert "for networks" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--no-keep-maps",)])
def test_a_method_that_cannot_read_the_network_is_refused_before_anything_is_written(
    more: tuple[str, ...], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "cutmix-0", pictures)
    methods = ["--map-method", "cam", "layercam", "rollout", "--out", str(tmp_path / "out")]
    assert localize([str(run), *QUICK, *methods, *more]) == 2
    assert "rollout reads the attention" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_method_is_named_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        localize(["--help"])
    words = capsys.readouterr().out.replace(",", " ").split()
    assert set(MAP_METHODS) <= set(words)


def test_aligned_protocols_stand_beside_the_published_ones(pictures: Path, tmp_path: Path) -> None:
    """At stride 8 of 32 pixels everything moves by 3.5 pixels of the input; kept maps need no forward pass for it."""
    run = make_run(tmp_path / "cutmix-0", pictures)
    assert localize([str(run), *QUICK]) == 0
    plain = read_results(run / "eval")
    assert localize([str(run), *QUICK, "--aligned"]) == 0
    both = read_results(run / "eval")
    assert both["protocols"]["maxboxacc"] == plain["protocols"]["maxboxacc"]
    assert both["protocols"]["maxboxacc@aligned"]["definition"]["drawing"] == "aligned"
    own = ["--score-maps", str(run / "eval" / "maps" / "test"), "--dataset", str(pictures), "--aligned"]
    assert localize([*own, *QUICK, "--out", str(tmp_path / "again")]) == 0
    again = read_results(tmp_path / "again")["protocols"]
    assert again["maxboxacc@aligned"]["value"] == both["protocols"]["maxboxacc@aligned"]["value"]


def test_maps_from_files_cannot_be_aligned(pictures: Path, tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps.npz", test=8, fullsup=4)
    arguments = [
        "--score-maps",
        str(maps),
        "--dataset",
        str(pictures),
        "--aligned",
        "--out",
        str(tmp_path / "o"),
    ]
    assert localize([*arguments, *QUICK]) == 0
    assert "not known" in read_results(tmp_path / "o")["not_computed"]["maxboxacc@aligned"]


def test_a_picture_of_an_aligned_protocol_alone_is_drawn(pictures: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "cutmix-0", pictures)
    arguments = [str(run), "--bootstrap", "0", "--device", "cpu", "--protocols", "maxboxacc@aligned"]
    assert localize([*arguments, "--pictures", "2"]) == 0
    assert (run / "eval" / "pictures" / "test.png").stat().st_size > 5_000


def test_a_comparison_says_where_the_geometry_of_its_sides_differs(pictures: Path, tmp_path: Path) -> None:
    """A layer at stride 4 is drawn 1.5 of 32 pixels beside where it looks, the final map at stride 8 3.5."""
    run = make_run(tmp_path / "cutmix-0", pictures)
    several = ["--map-method", "layercam", "--map-layer", "final", "layer3", "layer2"]
    assert localize([str(run), *QUICK, *several]) == 0
    sides = [open_evaluated(run / f"eval-layercam{end}") for end in ("", "-layer3", "-layer2")]
    for other, differs in ((sides[1], False), (sides[2], True)):
        (entry,) = compare_runs([sides[0], other], bootstrap=Bootstrap(0)).content["comparisons"]
        said = [line for line in entry["caveats"] if "+10.9, +10.9 / " in line or "/ +10.9, +10.9" in line]
        assert bool(said) == differs


def test_a_folder_of_several_map_methods_is_answered_with_what_works(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = make_run(tmp_path / "cutmix-0", pictures), tmp_path / "maps of mine"
    assert localize([str(run), *QUICK, "--map-method", "cam", "layercam", "--out", str(out)]) == 0
    scored = f"'{out / 'cam'}', '{out / 'layercam'}'"
    for command in (compare, overview):
        assert command([str(out), str(run)]) == 2
        assert f"it holds the results of {scored}: name those" in capsys.readouterr().err
    assert localize([str(out)]) == 2
    said = capsys.readouterr().err
    assert f"holds results of eval.localize: {scored}" in said
    assert f"python -m eval.report '{out / 'cam'}'" in said
    assert [row.name for row in pair(group([open_evaluated(out / n) for n in ("cam", "layercam")]))]
    assert compare([str(run), str(out / "cam")]) == 2
    assert f"run '{run}' has not been evaluated" in capsys.readouterr().err


def test_photographs_are_answered_with_eval_show(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = next(f for f in pictures.parent.rglob("*") if f.suffix in (".png", ".jpg")).parent
    photo = next(f for f in folder.iterdir() if f.suffix in (".png", ".jpg"))
    assert localize([str(photo)]) == 2
    assert f"`python -m eval.show {photo}`" in capsys.readouterr().err
    assert localize([str(folder), "--checkpoint", "a b.pth", "--arch", "timm:resnet10t"]) == 2
    assert (
        f"`python -m eval.show {folder} --arch timm:resnet10t --checkpoint 'a b.pth'`"
        in capsys.readouterr().err
    )
