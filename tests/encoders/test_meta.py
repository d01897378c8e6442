"""Original SAM and SAM-HQ files: random models written in Meta's layout must come back the same."""

import re

import pytest
import torch
from transformers import SamConfig, SamHQConfig, SamHQModel, SamModel

from fcp.config import SegmenterConfig
from fcp.encoders import build_segmenter
from fcp.encoders.meta import architecture, to_transformers
from fcp.errors import FcpError

MODELS = {"sam": (SamModel, SamConfig), "sam_hq": (SamHQModel, SamHQConfig)}
# Longest first: what transformers calls each part → what segment-anything and sam-hq call it.
ORIGINAL = {
    "vision_encoder.patch_embed.projection": "image_encoder.patch_embed.proj",
    "vision_encoder.neck.conv1": "image_encoder.neck.0",
    "vision_encoder.neck.layer_norm1": "image_encoder.neck.1",
    "vision_encoder.neck.conv2": "image_encoder.neck.2",
    "vision_encoder.neck.layer_norm2": "image_encoder.neck.3",
    "vision_encoder.layers": "image_encoder.blocks",
    "vision_encoder": "image_encoder",
    "prompt_encoder.shared_embedding.positional_embedding": (
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    ),
    "prompt_encoder.point_embed": "prompt_encoder.point_embeddings",
    "prompt_encoder.mask_embed.conv1": "prompt_encoder.mask_downscaling.0",
    "prompt_encoder.mask_embed.layer_norm1": "prompt_encoder.mask_downscaling.1",
    "prompt_encoder.mask_embed.conv2": "prompt_encoder.mask_downscaling.3",
    "prompt_encoder.mask_embed.layer_norm2": "prompt_encoder.mask_downscaling.4",
    "prompt_encoder.mask_embed.conv3": "prompt_encoder.mask_downscaling.6",
    "mask_decoder.upscale_conv1": "mask_decoder.output_upscaling.0",
    "mask_decoder.upscale_layer_norm": "mask_decoder.output_upscaling.1",
    "mask_decoder.upscale_conv2": "mask_decoder.output_upscaling.3",
    "mask_decoder.hq_token": "mask_decoder.hf_token",
    "mask_decoder.hq_mask_mlp": "mask_decoder.hf_mlp",
    "mask_decoder.compress_vit_conv1": "mask_decoder.compress_vit_feat.0",
    "mask_decoder.compress_vit_norm": "mask_decoder.compress_vit_feat.1",
    "mask_decoder.compress_vit_conv2": "mask_decoder.compress_vit_feat.3",
    "mask_decoder.encoder_conv1": "mask_decoder.embedding_encoder.0",
    "mask_decoder.encoder_norm": "mask_decoder.embedding_encoder.1",
    "mask_decoder.encoder_conv2": "mask_decoder.embedding_encoder.3",
    "mask_decoder.mask_conv1": "mask_decoder.embedding_maskfeature.0",
    "mask_decoder.mask_norm": "mask_decoder.embedding_maskfeature.1",
    "mask_decoder.mask_conv2": "mask_decoder.embedding_maskfeature.3",
}
# Names that stand in the published files, as segment-anything's modules spell them.
PUBLISHED = """
image_encoder.pos_embed image_encoder.patch_embed.proj.weight image_encoder.blocks.0.norm1.weight
image_encoder.blocks.0.attn.rel_pos_h image_encoder.blocks.0.attn.qkv.weight
image_encoder.blocks.0.attn.proj.bias image_encoder.blocks.0.norm2.bias
image_encoder.blocks.0.mlp.lin1.weight image_encoder.neck.0.weight image_encoder.neck.3.bias
prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
prompt_encoder.point_embeddings.3.weight prompt_encoder.not_a_point_embed.weight
prompt_encoder.mask_downscaling.6.bias prompt_encoder.no_mask_embed.weight
mask_decoder.transformer.layers.0.self_attn.q_proj.weight
mask_decoder.transformer.layers.1.norm4.weight
mask_decoder.transformer.layers.0.cross_attn_token_to_image.out_proj.bias
mask_decoder.transformer.layers.0.mlp.lin2.weight
mask_decoder.transformer.layers.1.cross_attn_image_to_token.k_proj.weight
mask_decoder.transformer.final_attn_token_to_image.v_proj.weight
mask_decoder.transformer.norm_final_attn.weight mask_decoder.iou_token.weight
mask_decoder.mask_tokens.weight mask_decoder.output_upscaling.3.weight
mask_decoder.output_hypernetworks_mlps.3.layers.2.weight
mask_decoder.iou_prediction_head.layers.0.bias
""".split()


def in_original_layout(state):
    original = {}
    for name, tensor in state.items():
        if name.startswith("shared_image_embedding"):
            continue
        for ours in sorted(ORIGINAL, key=len, reverse=True):
            if name == ours or name.startswith(ours + "."):
                name = ORIGINAL[ours] + name.removeprefix(ours)
                break
        name = name.replace("layer_norm", "norm")
        head = re.match(r"(.*(?:head|mlps\.\d|hf_mlp))\.(proj_in|layers\.0|proj_out)\.", name)
        if head:
            place = {"proj_in": 0, "layers.0": 1, "proj_out": 2}[head[2]]
            name = f"{head[1]}.layers.{place}.{name[head.end() :]}"
        original[name] = tensor
    return original


@pytest.fixture
def write(tmp_path, sam_configs, randomise):
    """Write a toy model in its original layout; gives the model and the file."""

    def write(name):
        model_class, config_class = MODELS[name]
        model = model_class(config_class(**sam_configs[name])).eval()
        randomise(model)
        torch.save(in_original_layout(model.state_dict()), tmp_path / "sam_vit.pth")
        return model, tmp_path / "sam_vit.pth"

    return write


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_original_files_give_the_same_model(write, images, name):
    model, path = write(name)
    segmenter = build_segmenter(SegmenterConfig(name, weights=str(path)))
    loaded = segmenter.model.state_dict()
    torch.testing.assert_close(loaded, model.state_dict())
    for part in ("vision_config", "prompt_encoder_config", "mask_decoder_config"):
        ours, theirs = (getattr(m.config, part).to_dict() for m in (segmenter.model, model))
        assert {k: v for k, v in ours.items() if v != theirs[k]} == {}
    points = torch.rand(2, 3, 2)
    embedding = segmenter.encode(images)
    decoded = segmenter.decode(embedding, *segmenter.embed_prompts(points=points))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = model(
        pixel_values=(images - mean.view(3, 1, 1)) / std.view(3, 1, 1),
        input_points=points[:, None] * 64,
        multimask_output=False,
    )
    torch.testing.assert_close(decoded.logits, expected.pred_masks[:, 0, 0], rtol=1e-4, atol=1e-5)


def test_the_layout_is_the_published_one():
    with torch.device("meta"):
        state = SamModel(SamConfig()).state_dict()
    names = in_original_layout(state).keys()
    assert len(names) == 314  # of sam_vit_b_01ec64.pth
    assert set(PUBLISHED) <= names


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"mask_decoder.iou_token.weight": None}, "mask_decoder.iou_token.weight is missing"),
        ({"image_encoder.pos_embed": None}, "vision_encoder.pos_embed.* is missing"),
        ({"adapter.weight": torch.ones(2)}, "adapter.weight is unknown"),
        (
            {"image_encoder.neck.2.weight": torch.ones(16, 8, 3, 3)},
            r"neck.conv2.weight has shape \(16, 8, 3, 3\) instead of \(16, 16, 3, 3\)",
        ),
    ],
)
def test_mismatches_name_the_file_and_the_entries(write, change, complaint):
    _, path = write("sam")
    state = {**torch.load(path, weights_only=True), **change}
    torch.save({k: v for k, v in state.items() if v is not None}, path)
    with pytest.raises(FcpError, match=rf"sam_vit\.pth: .*{complaint}"):
        build_segmenter(SegmenterConfig("sam", weights=str(path)))


def test_the_wrong_family_is_refused(write):
    _, path = write("sam_hq")
    with pytest.raises(FcpError, match=r"sam_vit\.pth: .*is unknown"):
        build_segmenter(SegmenterConfig("sam", weights=str(path)))
    _, path = write("sam")
    with pytest.raises(FcpError, match=r"sam_vit\.pth: .*is missing"):
        build_segmenter(SegmenterConfig("sam_hq", weights=str(path)))
    with pytest.raises(FcpError, match=r"sam_vit\.pth: .*folder"):
        build_segmenter(SegmenterConfig("sam2", weights=str(path)))


@pytest.mark.parametrize(
    ("hidden", "depth", "heads", "last"),
    [(768, 12, 12, 11), (1024, 24, 16, 23), (1280, 32, 16, 31)],
)
def test_true_sizes_are_read_off_the_weights(hidden, depth, heads, last):
    step = depth // 4
    config = SamConfig(
        vision_config={
            "hidden_size": hidden,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "global_attn_indexes": list(range(step - 1, depth, step)),
        }
    )
    with torch.device("meta"):
        state = SamModel(config).state_dict()
    read = SamConfig(**architecture(to_transformers(in_original_layout(state))))
    assert read.vision_config.global_attn_indexes[-1] == last
    for part in ("vision_config", "prompt_encoder_config", "mask_decoder_config"):
        ours, theirs = (getattr(c, part).to_dict() for c in (read, config))
        assert {k: v for k, v in ours.items() if v != theirs[k]} == {}


@torch.no_grad()
def test_the_published_grid():
    """One layer of ViT-B at its true picture size: what the head is promised."""
    vision = {"num_hidden_layers": 1, "global_attn_indexes": []}
    segmenter = build_segmenter(
        SegmenterConfig("sam", options={"config": {"vision_config": vision}})
    )
    embedding = segmenter.encode(torch.rand(1, 3, 512, 512))
    assert embedding.image.shape == (1, 256, 64, 64)
    decoded = segmenter.decode(embedding, torch.randn(1, 50, 256))
    assert decoded.logits.shape == (1, 256, 256)
    assert decoded.logits.isfinite().all()
