"""EfficientNet-Lite against a naive float64 program, its published sizes and ImageNet's classes."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from fcp.config import BackboneConfig
from fcp.data.pascal import PascalVOC
from fcp.data.transforms import to_square
from fcp.encoders import build_backbone
from fcp.encoders.efficientnet_lite import (
    BlockShape,
    InvertedResidual,
    block_shapes,
    build_efficientnet_lite,
)
from fcp.errors import FcpError


def naive_conv(x, weight, *, stride=1, dilation=1, depthwise=False):
    """Convolve (C, h, w) as TensorFlow's "same": outputs = ceil(h / stride), odd padding last."""
    kernel = weight.shape[-1]
    reach = (kernel - 1) * dilation + 1
    out_size = [-(-side // stride) for side in x.shape[1:]]
    missing = [
        max(0, (n - 1) * stride + reach - s) for n, s in zip(out_size, x.shape[1:], strict=True)
    ]
    padded = np.pad(x, [(0, 0), *((m // 2, m - m // 2) for m in missing)])
    out = np.zeros((len(weight), *out_size))
    for row in range(out_size[0]):
        for column in range(out_size[1]):
            top, left = row * stride, column * stride
            patch = padded[:, top : top + reach : dilation, left : left + reach : dilation]
            if depthwise:
                out[:, row, column] = (weight[:, 0] * patch).sum((1, 2))
            else:
                out[:, row, column] = (weight * patch).sum((1, 2, 3))
    return out


def naive_norm(x, state, name):
    mean, var, scale, shift = (
        state[f"{name}.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-3) * scale + shift


def naive_block(x, state, shape):
    hidden = x
    if shape.expansion != 1:
        hidden = naive_conv(hidden, state["_expand_conv.weight"])
        hidden = naive_norm(hidden, state, "_bn0").clip(0, 6)
    options = {"stride": shape.stride, "dilation": shape.dilation, "depthwise": True}
    hidden = naive_conv(hidden, state["_depthwise_conv.weight"], **options)
    hidden = naive_norm(hidden, state, "_bn1").clip(0, 6)
    out = naive_norm(naive_conv(hidden, state["_project_conv.weight"]), state, "_bn2")
    return x + out if shape.stride == 1 and x.shape == out.shape else out


def float64(module):
    return {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
@pytest.mark.parametrize(
    "shape",
    [
        BlockShape(0, kernel=3, stride=1, dilation=1, expansion=1, inputs=4, outputs=3),
        BlockShape(1, kernel=3, stride=2, dilation=1, expansion=6, inputs=4, outputs=4),
        BlockShape(2, kernel=5, stride=2, dilation=1, expansion=6, inputs=3, outputs=5),
        BlockShape(3, kernel=3, stride=1, dilation=2, expansion=6, inputs=4, outputs=4),
        BlockShape(4, kernel=5, stride=1, dilation=2, expansion=6, inputs=4, outputs=5),
        BlockShape(5, kernel=5, stride=1, dilation=1, expansion=1, inputs=4, outputs=4),
    ],
)
@torch.no_grad()
def test_a_block_is_the_naive_one(shape, size, randomise):
    block = InvertedResidual(shape).eval()
    randomise(block)
    x = 3 * torch.randn(1, shape.inputs, *size, generator=torch.Generator().manual_seed(0))
    expected = naive_block(x[0].double().numpy(), float64(block), shape)
    torch.testing.assert_close(block(x)[0].double(), torch.tensor(expected), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_whole_is_the_naive_one(randomise):
    backbone = build_efficientnet_lite(None, size=0, layers=[0, 4, 15], standardise=False).eval()
    randomise(backbone)
    image = torch.rand(1, 3, 40, 24, generator=torch.Generator().manual_seed(2))
    state = float64(backbone)
    x = (255 * image[0].double().numpy() - 127) / 128
    x = naive_norm(naive_conv(x, state["_conv_stem.weight"], stride=2), state, "_bn0").clip(0, 6)
    levels = []
    for number, shape in enumerate(block_shapes(0, 32)):
        prefix = f"_blocks.{number}."
        own = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        x = naive_block(x, own, shape)
        if number in (0, 4, 15):
            level = functional.interpolate(torch.tensor(x)[None], (5, 3), mode="bilinear")
            levels.append(level)
    features = backbone(image)
    torch.testing.assert_close(features.mid.double(), torch.cat(levels, 1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(features.high.double(), levels[-1], rtol=1e-3, atol=1e-4)


# Of each size: the blocks and the channels of the seven stages, as published.
PUBLISHED = {
    0: ((1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
    1: ((1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
    2: ((1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
    3: ((1, 3, 3, 5, 5, 6, 1), (24, 32, 48, 96, 136, 232, 384)),
    4: ((1, 4, 4, 6, 6, 8, 1), (24, 32, 56, 112, 160, 272, 448)),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_sizes_are_the_published(size):
    shapes = list(block_shapes(size, 32))
    blocks, channels = PUBLISHED[size]
    assert tuple(sum(s.stage == stage for s in shapes) for stage in range(7)) == blocks
    assert (
        tuple({s.outputs for s in shapes if s.stage == stage}.pop() for stage in range(7))
        == channels
    )
    assert shapes[0].inputs == 32
    assert all(before.outputs == after.inputs for before, after in pairwise(shapes))
    assert [s.stage for s in shapes if s.stride == 2] == [1, 2, 3, 5]
    assert [next(s.kernel for s in shapes if s.stage == stage) for stage in range(7)] == [
        3, 3, 5, 3, 5, 5, 3,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return a file with the published names of Lite0: random weights, with the classifier's."""
    torch.manual_seed(0)
    backbone = build_efficientnet_lite(None, size=0, standardise=False)
    state = backbone.state_dict()
    state["_conv_head.weight"] = torch.randn(1280, 320, 1, 1)
    state["_bn1.weight"], state["_fc.bias"] = torch.ones(1280), torch.zeros(1000)
    file = tmp_path_factory.mktemp("lite") / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    return file


def lite0(weights, **options):
    return build_backbone(
        BackboneConfig("efficientnet_lite", weights, {"size": 0, **options})
    ).eval()


@torch.no_grad()
def test_published_names_load_from_file_and_folder(published, images):
    first, again = lite0(str(published)), lite0(str(published.parent))
    assert torch.equal(first(images).mid, again(images).mid)
    state = load_file(published)
    assert torch.equal(first.state_dict()["_blocks.3._bn2.weight"], state["_blocks.3._bn2.weight"])
    assert first.level_channels == (40, 80, 112, 192, 320)


def test_weights_of_another_size_are_refused(published):
    with pytest.raises(FcpError, match=r"weights of another architecture: .*_blocks"):
        build_backbone(BackboneConfig("efficientnet_lite", str(published), {"size": 2}))


@torch.no_grad()
def test_a_stride_that_became_a_dilation_leaves_the_published_cells(published):
    # Cell i of the published network is centred on cell 2i + 1 of the grid before a stride of 2.
    image = torch.rand(1, 3, 128, 64, generator=torch.Generator().manual_seed(3))
    maps = {}
    for stride in (32, 16, 8):
        backbone = lite0(str(published), output_stride=stride)
        x = functional.relu6(backbone._bn0(backbone._conv_stem(backbone.normalise(image))))
        for block in backbone._blocks:
            x = block(x)
        maps[stride] = x
    assert [tuple(x.shape[-2:]) for x in maps.values()] == [(4, 2), (8, 4), (16, 8)]
    torch.testing.assert_close(maps[16][..., 1::2, 1::2], maps[32], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps[8][..., 3::4, 3::4], maps[32], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_mask_multiplies_what_the_last_two_stages_see(published, images, mask):
    backbone = lite0(str(published))
    plain, masked = backbone(images), backbone(images, mask)
    assert torch.equal(plain.mid, masked.mid)
    x = functional.relu6(backbone._bn0(backbone._conv_stem(backbone.normalise(images))))
    for block in backbone._blocks[:11]:  # 1 + 2 + 2 + 3 + 3
        x = block(x)
    inside = functional.interpolate(mask, (4, 4), mode="nearest")
    inside[1, 0, 2, 1] = 1  # pixel (37, 21) falls between the rows that nearest neighbour reads
    x = x * inside
    for block in backbone._blocks[11:]:
        x = block(x)
    expected = functional.interpolate(x, (8, 8), mode="bilinear")
    torch.testing.assert_close(masked.high, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_statistics_standardise_and_are_saved(published, images):
    backbone = lite0(str(published))
    raw = backbone(images).mid
    backbone.set_statistics(raw.mean((0, 2, 3)), raw.std((0, 2, 3), correction=0) + 1e-6)
    mid = backbone(images).mid
    assert mid.mean((0, 2, 3)).abs().max() < 1e-3
    again = lite0(None)
    again.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(again(images).mid, mid)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"size": 5}, "size: expected 0 … 4, got 5"),
        ({"size": "2"}, "size: expected int, got '2'"),
        ({"layers": [5, 21]}, "layers: expected ascending block numbers 0 … 20"),
        ({"layers": [12, 5]}, "layers"),
        ({"layers": []}, "layers"),
        ({"output_stride": 4}, "output_stride: expected 8, 16 or 32"),
        ({"depth": 3}, "unknown option 'depth'"),
    ],
)
def test_bad_options(options, complaint):
    with pytest.raises(FcpError, match=complaint):
        build_backbone(BackboneConfig("efficientnet_lite", options=options))


# ImageNet's numbers of what VOC's classes are called there.
IMAGENET = {
    1: {404, 895},  # aeroplane: airliner, warplane
    6: {654, 779, 874},  # bus: minibus, school bus, trolleybus
    8: set(range(281, 288)),  # cat
    12: set(range(151, 276)),  # dog
    19: {466, 547, 705, 820, 829},  # train: bullet, electric, carriage, steam, tram
}
PHOTOS = 2  # of each


@torch.no_grad()
def test_imagenet_classes_of_photos_are_right(data_root):
    file = Path(data_root).parent / "weights/efficientnet_lite2/model.safetensors"
    if not file.is_file():
        pytest.skip("needs weights/efficientnet_lite2/ beside FCP_DATA_ROOT")
    backbone = build_efficientnet_lite(str(file), standardise=False).eval()
    state = {name: tensor.float() for name, tensor in load_file(file).items()}
    norm = [state[f"_bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    data, found = PascalVOC(data_root), []
    for class_id, photos in clear_photos(data).items():
        for photo in photos:
            high = whole_map(backbone, to_square(data.image(photo), 256)[None])
            x = functional.conv2d(high, state["_conv_head.weight"])
            x = functional.relu6(functional.batch_norm(x, *norm, eps=1e-3)).mean((2, 3))
            logits = functional.linear(x, state["_fc.weight"], state["_fc.bias"])
            found.append(int(logits.argmax()) in IMAGENET[class_id])
    assert len(found) == PHOTOS * len(IMAGENET)
    assert np.mean(found) >= 0.8


def whole_map(backbone, images):
    """Return the last block's map at its own stride."""
    x = functional.relu6(backbone._bn0(backbone._conv_stem(backbone.normalise(images))))
    for block in backbone._blocks:
        x = block(x)
    return x


def clear_photos(data):
    """Return, by class, the first val photos of which one class covers more than a fifth."""
    found = {class_id: [] for class_id in IMAGENET}
    for photo in data.ids("val"):
        shown = data.pixels(photo)
        share = {c: n / data.labels(photo).size for c, n in shown.items()}
        wanted = [c for c in found if share.get(c, 0) > 1 / 5 and len(shown) == 1]
        for class_id in wanted:
            if len(found[class_id]) < PHOTOS:
                found[class_id].append(photo)
        if all(len(photos) == PHOTOS for photos in found.values()):
            break
    return found
