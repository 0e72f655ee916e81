"""Networks: geometry, specs, timm."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn

from tests.helpers.oracles import oracle
from tests.helpers.random_networks import images, randomized
from wsol.errors import UserError
from wsol.models import (
    ClassifierSpec,
    build_classifier,
    default_output_stride,
    evaluation_mode,
    load_external_classifier,
)
from wsol.models.strides import stages_to_unstride

SMALL = ClassifierSpec("resnet_small", 5, 8, 32)


# ---- geometry ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "size", "stride", "plan", "side", "changes"),
    [
        ("resnet_small", 64, 8, "auto", 8, []),
        ("resnet_small", 32, 4, "auto", 8, ["layer3: stride 2 -> 1"]),
        ("resnet_small", 65, 8, "auto", 9, []),
        ("resnet18", 64, 32, "auto", 2, []),
        ("resnet18", 224, 16, "auto", 14, ["layer4: stride 2 -> 1"]),
        ("resnet18", 64, 8, "late", 8, ["layer4: stride 2 -> 1", "layer3: stride 2 -> 1"]),
        ("resnet18", 64, 8, "auto", 8, ["maxpool: stride 2 -> 1", "layer4: stride 2 -> 1"]),
        (
            "resnet18",
            32,
            4,
            "stem",
            8,
            ["maxpool: stride 2 -> 1", "layer4: stride 2 -> 1", "conv1: stride 2 -> 1"],
        ),
        ("resnet18", 50, 4, "late", 13, [f"layer{i}: stride 2 -> 1" for i in (4, 3, 2)]),
        ("resnet50", 64, 8, "late", 8, ["layer4: stride 2 -> 1", "layer3: stride 2 -> 1"]),
        ("vgg16_gap", 64, 16, "auto", 4, ["pool5: dropped"]),
        ("vgg16_gap", 32, 8, "auto", 4, ["pool5: dropped", "pool4: dropped"]),
        ("vgg16_gap", 32, 4, "auto", 8, ["pool5: dropped", "pool4: dropped", "pool3: dropped"]),
        ("inception_v3", 224, 16, "auto", 14, []),
        ("inception_v3", 224, 8, "auto", 28, ["pooling behind Mixed_5d: dropped"]),
    ],
)
def test_output_stride_gives_the_map_and_says_what_changed(arch, size, stride, plan, side, changes):
    model = build_classifier(ClassifierSpec(arch, 3, stride, size, plan), seed=0).eval()
    with torch.inference_mode():
        logits, features, _ = model(images(2, size))
    assert features.shape == (2, model.head.in_features, side, side)
    assert logits.shape == (2, 3)
    assert model.describe()["stride_changes"] == changes
    assert model.describe()["output_stride"] == stride


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
@pytest.mark.parametrize("plan", ["late", "stem"])
@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_plans_turn_the_right_number_of_strides(arch, plan, stride):
    names = stages_to_unstride(32, stride, plan)
    assert 2 ** len(names) == 32 // stride
    assert names[:1] == {"late": ("layer4",), "stem": ("maxpool",)}[plan][: len(names)]


def test_stride_one_without_dilation_keeps_the_old_cells():
    """Turning layer4's stride to 1 keeps, at every other cell of its first convolution, what it gave before."""
    coarse = build_classifier(ClassifierSpec("resnet18", 3, 32, 128), seed=4).eval().backbone
    fine = build_classifier(ClassifierSpec("resnet18", 3, 16, 128), seed=4).eval().backbone
    x = torch.randn((1, 256, 8, 8), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(fine.layer4[0].conv1(x)[..., ::2, ::2], coarse.layer4[0].conv1(x))
    assert {m.dilation for m in fine.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}


@pytest.mark.parametrize(
    ("arch", "size", "stride"),
    [
        ("resnet50", 224, 16),
        ("resnet18", 128, 16),
        ("resnet18", 64, 8),
        ("resnet18", 32, 4),
        ("resnet_small", 224, 8),
        ("resnet_small", 64, 8),
        ("resnet_small", 32, 4),
        ("vgg16_gap", 224, 16),
        ("vgg16_gap", 64, 8),
        ("timm:resnet50", 224, None),
        ("timm:resnet50", 64, 8),
    ],
)
def test_default_stride_gives_at_least_eight_by_eight(arch, size, stride):
    assert default_output_stride(arch, size) == stride
    assert ClassifierSpec(arch, 2, stride, size).output_stride == stride


def test_the_small_network_fits_a_cpu():
    from torch.utils.flop_counter import FlopCounterMode

    model = build_classifier(ClassifierSpec("resnet_small", 12, 8, 64)).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(images(1, 64))
    assert counter.get_total_flops() / 2 < 0.07e9  # multiply-adds


def test_native_resnet_equals_torchvision(resnet18_file):
    net, path = resnet18_file
    model = load_external_classifier(path, "resnet18", input_size=64)
    with torch.inference_mode():
        torch.testing.assert_close(model(images(2, 64)).logits, net(images(2, 64)))


def test_inception_takes_torchvisions_weights_and_those_of_the_reference(tmp_path):
    """torchvision's network ends in blocks that SPG's A3 replaces; wsolevaluation's ends in A3 and A4, the head."""
    theirs = torchvision.models.inception_v3(weights=None, init_weights=False).state_dict()
    torch.save(theirs, tmp_path / "torchvision.pth")
    spec = ClassifierSpec("inception_v3", 3, 8, 32)
    model = build_classifier(spec, pretrained=str(tmp_path / "torchvision.pth"), seed=0).eval()
    state = model.backbone.state_dict()
    taken = [name for name in state if not name.startswith("SPG_A3")]
    assert all(torch.equal(state[name], theirs[name]) for name in taken)
    assert {p.shape for p in model.parameters_by_role(pretrained=True)["new"]} == {
        (1024, 768, 3, 3), (1024, 1024, 3, 3), (1024,)
    }  # fmt: skip
    head = model.head.state_dict()
    reference = state | {"SPG_A4.weight": head["weight"][:, :, None, None], "SPG_A4.bias": head["bias"]}
    torch.save({"state_dict": reference}, tmp_path / "reference.pth")
    again = load_external_classifier(
        tmp_path / "reference.pth", "inception_v3", input_size=32, output_stride=8
    )
    with torch.inference_mode():
        features, logits = (again(images(2, 32)).features, again(images(2, 32)).logits)
        torch.testing.assert_close(logits, model(images(2, 32)).logits)
        a4 = nn.functional.conv2d(features, reference["SPG_A4.weight"], reference["SPG_A4.bias"])
    torch.testing.assert_close(logits, a4.mean((2, 3)))


def test_logits_are_float32_and_exact_under_autocast():
    model = build_classifier(SMALL, seed=0).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        logits, features, _ = model(images(4, 32))
    assert features.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    by_hand = torch.nn.functional.linear(features.float().mean((2, 3)), model.head.weight, model.head.bias)
    torch.testing.assert_close(logits, by_hand.detach(), rtol=1e-5, atol=1e-6)


def test_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    a, b, c = (build_classifier(SMALL, seed=seed).state_dict() for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["backbone.conv1.weight"], c["backbone.conv1.weight"])


def test_evaluation_mode_restores_each_module():
    model = build_classifier(SMALL).train()
    model.backbone.bn1.eval()
    with pytest.raises(RuntimeError, match="inside"), evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        raise RuntimeError("inside")
    assert model.training
    assert not model.backbone.bn1.training


# ---- specs ---------------------------------------------------------------------------------------


def test_spec_survives_the_run_record_and_holds_the_plan_it_chose():
    spec = ClassifierSpec("resnet18", 40, 8, 64)
    assert spec.stride_plan == "stem"
    assert ClassifierSpec("resnet18", 40, 16, 224).stride_plan == "late"
    assert ClassifierSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("make", "match"),
    [
        pytest.param(
            lambda: ClassifierSpec("resnet81", 2, 8, 64), "did you mean 'resnet18'", id="unknown network"
        ),
        pytest.param(
            lambda: ClassifierSpec("timm:", 2, 8, 64), "needs a network's name", id="timm without name"
        ),
        pytest.param(lambda: ClassifierSpec("resnet18", 0, 8, 64), "num_classes", id="no class"),
        pytest.param(
            lambda: ClassifierSpec("resnet18", 2, 5, 64), "choose one of 4, 8, 16, 32", id="odd stride"
        ),
        pytest.param(
            lambda: ClassifierSpec("vgg16_gap", 2, 32, 64), "choose one of 4, 8, 16", id="vgg stride"
        ),
        pytest.param(lambda: ClassifierSpec("resnet18", 2, 8, 31), "at least 32", id="input too small"),
        pytest.param(lambda: ClassifierSpec("resnet18", 2, 32, 32), "map of one cell", id="one cell"),
        pytest.param(
            lambda: ClassifierSpec("resnet18", 2, 8, 64, "both"), "Legal: auto, late, stem", id="plan"
        ),
        pytest.param(
            lambda: ClassifierSpec.from_dict({"arch": "resnet18"}), "missing fields", id="half a record"
        ),
        pytest.param(
            lambda: ClassifierSpec.from_dict({**SMALL.to_dict(), "depth": 3}),
            "unknown fields",
            id="extra field",
        ),
    ],
)
def test_specs_that_cannot_be_built_are_user_errors(make, match):
    with pytest.raises(UserError, match=match):
        make()


def test_names_and_specs_do_not_import_torch():
    code = "import sys, wsol.models as m; m.ClassifierSpec('resnet18', 2, 8, 64); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- timm ----------------------------------------------------------------------------------------


@pytest.fixture
def timm():
    return oracle("timm")


def test_timm_network_equals_itself_taken_apart(timm, tmp_path):
    net = randomized(timm.create_model("regnetx_002", num_classes=4))
    torch.save(net.state_dict(), tmp_path / "regnet.pth")
    model = load_external_classifier(tmp_path / "regnet.pth", "timm:regnetx_002", input_size=64)
    assert model.spec.num_classes == 4
    assert model.spec.output_stride == 32
    with torch.inference_mode():
        torch.testing.assert_close(model(images(1, 64)).logits, net(images(1, 64)))
        assert model(images(1, 64)).features.shape == (1, 368, 2, 2)


def test_timm_names_of_a_resnet_load_into_ours(timm, tmp_path):
    net = randomized(timm.create_model("resnet18", num_classes=4))
    torch.save(net.state_dict(), tmp_path / "timm.pth")
    model = load_external_classifier(tmp_path / "timm.pth", "resnet18", input_size=64)
    with torch.inference_mode():
        torch.testing.assert_close(model(images(1, 64)).logits, net(images(1, 64)))


def test_timm_stride_is_asked_of_timm_and_recorded(timm):
    model = build_classifier(ClassifierSpec("timm:resnet18", 3, 8, 64), seed=0).eval()
    assert model(images(1, 64)).features.shape == (1, 512, 8, 8)
    assert "dilates" in model.describe()["stride_changes"][0]


@pytest.mark.parametrize(
    ("name", "stride", "size", "match"),
    [
        pytest.param("timm:test_vit", None, 160, "before its pooling it gives tokens", id="tokens, no map"),
        pytest.param("timm:resnet81", None, 64, "unknown timm network 'resnet81'", id="unknown name"),
        pytest.param(
            "timm:resnet18", 5, 64, "has 2 cells a side, which counts as 32; .* give 32", id="odd stride"
        ),
        pytest.param(
            "timm:edgenext_xx_small",
            8,
            64,
            "has 2 cells a side, which counts as 32",
            id="no choice of strides",
        ),
    ],
)
def test_timm_networks_that_cannot_be_had_are_refused_with_the_reason(timm, name, stride, size, match):
    with pytest.raises(UserError, match=match):
        build_classifier(ClassifierSpec(name, 3, stride, size))


def test_without_timm_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="pip install"):
        build_classifier(ClassifierSpec("timm:resnet18", 3, 32, 64))
