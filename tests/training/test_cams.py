"""Class activation maps: a 2x2 golden, torch-cam as the oracle, and what must hold for every network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.oracles import oracle
from wsol.cams.cam import class_activation_maps
from wsol.cams.extract import extract_cams
from wsol.models import ClassifierSpec, build_classifier


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small_model(seed: int = 0):
    model = build_classifier(ClassifierSpec("resnet_small", 5, 8, 32), seed=seed)
    torch.nn.init.normal_(model.head.bias, generator=torch.Generator().manual_seed(seed))
    return model


def test_two_by_two_golden():
    features = torch.tensor(
        [[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, -1.0]]]]
    )  # one image, two channels
    weight = torch.tensor([[1.0, 0.0], [0.5, -10.0]])
    assert class_activation_maps(features, weight, torch.tensor([0])).tolist() == [[[1, 2], [3, 4]]]
    # 0.5 * first - 10 * second, negative values kept: no ReLU
    assert class_activation_maps(features, weight, torch.tensor([1])).tolist() == [[[0.5, -9], [1.5, 12]]]


def test_each_image_gets_the_map_of_its_own_class():
    features, weight, ids = random(3, 4, 5, 6), random(7, 4, seed=1), torch.tensor([6, 0, 6])
    maps = class_activation_maps(features, weight, ids)
    for i, k in enumerate(ids.tolist()):  # the definition, written out
        by_hand = sum(weight[k, c] * features[i, c] for c in range(4))
        torch.testing.assert_close(maps[i], by_hand)


def test_several_classes_per_image_equal_one_at_a_time():
    features, weight, ids = random(2, 4, 3, 3), random(7, 4, seed=1), torch.tensor([[6, 0, 2], [1, 1, 5]])
    maps = class_activation_maps(features, weight, ids)
    assert maps.shape == (2, 3, 3, 3)
    for m in range(3):
        torch.testing.assert_close(maps[:, m], class_activation_maps(features, weight, ids[:, m]))


def test_equals_torchcam_on_resnet18():
    methods = oracle("torchcam", "torchcam.methods")
    import torchvision

    model = build_classifier(ClassifierSpec("resnet18", 6, 32, 96), seed=3)
    reference = torchvision.models.resnet18(weights=None, num_classes=6).eval()
    ours = {name.removeprefix("backbone."): value for name, value in model.state_dict().items()}
    reference.load_state_dict({name.replace("head.", "fc."): value for name, value in ours.items()})
    images, ids = random(3, 3, 96, 96), [5, 0, 2]
    with methods.CAM(reference, "layer4", "fc") as extractor, torch.inference_mode():
        logits = reference(images)
        (theirs,) = extractor(ids, normalized=False)
    batch = extract_cams(model, images, torch.tensor(ids))
    torch.testing.assert_close(batch.logits, logits)
    torch.testing.assert_close(batch.maps, theirs)
    assert (batch.maps < 0).any(), "negative values are part of the raw map"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000))
def test_mean_of_the_map_plus_bias_is_the_logit(n, channels, height, width, seed):
    features = random(n, channels, height, width, seed=seed).double()
    head = torch.nn.Linear(channels, 4).double()
    ids = torch.arange(n) % 4
    maps = class_activation_maps(features, head.weight, ids)
    logits = head(features.mean((2, 3)))
    torch.testing.assert_close(maps.mean((1, 2)) + head.bias[ids], logits[torch.arange(n), ids])


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(ClassifierSpec("resnet_small", 5, 8, 64), id="resnet_small"),
        pytest.param(ClassifierSpec("resnet18", 5, 8, 64), id="resnet18"),
        pytest.param(ClassifierSpec("vgg16_gap", 5, 16, 32), id="vgg16_gap"),
    ],
)
def test_mean_of_a_networks_map_plus_bias_is_its_logit(spec):
    model = build_classifier(spec, seed=1)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(model.head.bias, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([4, 0])
    batch = extract_cams(model, random(2, 3, spec.input_size, spec.input_size), ids)
    expected = batch.logits[[0, 1], ids] - model.head.bias.detach()[ids]
    torch.testing.assert_close(batch.maps.mean((1, 2)), expected, rtol=1e-4, atol=1e-5)


def test_one_pass_without_gradients_on_a_frozen_result():
    model = small_model()
    passes = []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    batch = extract_cams(model, random(2, 3, 32, 32), torch.tensor([0, 1]))
    assert len(passes) == 1
    assert not batch.maps.requires_grad
    assert not batch.logits.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert batch.maps.shape == (2, 4, 4)
    assert batch.maps.dtype == torch.float32


def test_predicted_class_when_none_is_given():
    model, images = small_model(), random(6, 3, 32, 32)
    batch = extract_cams(model, images)
    assert torch.equal(batch.class_ids, batch.logits.argmax(1))
    assert torch.equal(batch.maps, extract_cams(model, images, batch.class_ids).maps)


def test_batched_equals_one_by_one():
    model, images, ids = small_model(), random(5, 3, 32, 32), torch.tensor([0, 4, 2, 2, 1])
    together = extract_cams(model, images, ids)
    for i in range(5):
        alone = extract_cams(model, images[i : i + 1], ids[i : i + 1])
        torch.testing.assert_close(together.maps[i : i + 1], alone.maps, rtol=1e-4, atol=1e-5)


def test_modes_are_restored_also_after_an_error():
    model = small_model().train()
    model.backbone.layer1.eval()  # a frozen part must stay frozen
    modes = [module.training for module in model.modules()]
    running = model.backbone.bn1.running_mean.clone()
    extract_cams(model, random(2, 3, 32, 32), torch.tensor([0, 1]))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model.backbone.bn1.running_mean, running), "extraction must not train BatchNorm"
    with pytest.raises(RuntimeError):
        extract_cams(model, random(2, 7, 32, 32), torch.tensor([0, 1]))
    assert [module.training for module in model.modules()] == modes


def test_maps_stay_float32_under_autocast():
    model, images, ids = small_model().eval(), random(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        features = model(images).features
        batch = extract_cams(model, images, ids)
        maps = class_activation_maps(features, model.head.weight, ids)
    assert features.dtype == torch.bfloat16, "the backbone must really have run in half precision"
    assert batch.maps.dtype == batch.logits.dtype == maps.dtype == torch.float32
    by_hand = torch.stack(
        [(model.head.weight[k][:, None, None] * features[i].float()).sum(0) for i, k in enumerate(ids)]
    )
    torch.testing.assert_close(maps, by_hand.detach(), rtol=1e-5, atol=1e-6)


def test_an_empty_batch_gives_no_maps():
    batch = extract_cams(small_model(), torch.zeros(0, 3, 32, 32), torch.zeros(0, dtype=torch.int64))
    assert batch.maps.shape == (0, 4, 4)
    assert batch.logits.shape == (0, 5)


@pytest.mark.parametrize(
    ("class_ids", "error", "match"),
    [
        pytest.param(torch.tensor([0, 5]), ValueError, r"\[0, 5\)", id="id too large"),
        pytest.param(torch.tensor([-1, 0]), ValueError, "from -1 to 0", id="negative id would wrap around"),
        pytest.param(torch.tensor([0.0, 1.0]), TypeError, "integers", id="float ids"),
        pytest.param(torch.tensor([True, False]), TypeError, "integers", id="a bool is no class"),
        pytest.param(torch.tensor([0]), ValueError, r"\[2\]", id="one id for two images"),
        pytest.param(torch.tensor(0), ValueError, r"\[2\]", id="a scalar"),
    ],
)
def test_class_ids_that_do_not_fit_are_refused(class_ids, error, match):
    model = small_model()
    with pytest.raises(error, match=match):
        extract_cams(model, random(2, 3, 32, 32), class_ids)
    with pytest.raises(error, match=match):
        class_activation_maps(random(2, 128, 2, 2), model.head.weight, class_ids)


def test_features_and_weights_of_other_widths_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        class_activation_maps(random(1, 3, 2, 2), random(5, 4), torch.tensor([0]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_everything_stays_on_the_models_device():
    model = small_model().cuda()
    batch = extract_cams(model, random(2, 3, 32, 32), torch.tensor([0, 1]))
    assert {batch.maps.device.type, batch.logits.device.type, batch.class_ids.device.type} == {"cuda"}
    on_cpu = extract_cams(model.cpu(), random(2, 3, 32, 32), torch.tensor([0, 1]))
    torch.testing.assert_close(batch.maps.cpu(), on_cpu.maps, rtol=1e-3, atol=1e-4)
