"""Methods without training behind the segmenter: the same as their own doors, in every place."""

import json
import shutil

import numpy as np
import pytest
import torch
from noise import mask, photo

from fcp.errors import FcpError
from fcp.inference.networks import network_of
from fcp.inference.networks.free import FreeNetwork
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.support import Support
from fcp.method.names import parse_name
from fcp.method.persam import model as persam
from fcp.method.persam.weights import fit_weights
from fcp.method.registry import METHODS
from fcp.models.free import LoadedFree, hash_free, load_free


@pytest.fixture(scope="module")
def insid3(vit_folder):
    return FewShotSegmenter.from_pretrained(f"free:insid3+{vit_folder}", device="cpu")


@pytest.fixture
def network(vit_folder, monkeypatch):
    """Build a method on small encoders: a square of 128 px, a toy segmenter."""
    from fcp.config import SegmenterConfig
    from fcp.encoders import build_segmenter
    from fcp.encoders.cells import build_cells

    monkeypatch.setattr(persam, "fit_weights", lambda a, b: fit_weights(a, b, 3))

    def build(name):
        torch.manual_seed(0)
        builder = METHODS[name]
        small = {"width": 16, "image_size": 64, "decoder_width": 16}
        segmenter = build_segmenter(SegmenterConfig(name="tiny", options=small))
        config = {
            "model_type": "dinov2",
            "hidden_size": 24,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
        }
        cells = None
        if builder.image_size is not None:
            cells = build_cells(None, image_size=64, final_norm=builder.final_norm, config=config)
        options = {"size": 64} if name == "gf-sam" else {}
        if name == "matcher":
            pytest.importorskip("ot", reason="needs the extra free")
            options = {"preset": "fss"}
        method = builder(cells, segmenter if builder.has_segmenter else None, **options)
        return FreeNetwork(LoadedFree(method, parse_name(f"free:{name}"), options))

    return build


@pytest.mark.parametrize("fusion", ["mean", "pooled"])
@pytest.mark.parametrize("name", [name for name in METHODS if name != "persam-f"])
def test_examples_joined_one_by_one_are_those_of_the_method_itself(network, name, fusion):
    own = network(name)
    pictures, masks = torch.rand(1, 2, 3, 64, 64), torch.zeros(1, 2, 64, 64)
    masks[:, 0, 8:40, 16:40] = 1
    masks[:, 1, 30:60, 16:60] = 1
    own.model.pooled = fusion == "pooled" or name == "matcher"
    with torch.inference_mode():
        expected = own.model.encode_support(pictures, masks)
        shown = [own.show(pictures[0, k], masks[0, k]) for k in range(2)]
        joined = own.join(shown, fusion)
        query = own.query(torch.rand(1, 3, 64, 64))
        found = own.match(joined, query).logits
    torch.testing.assert_close(joined.features, expected.features, atol=1e-5, rtol=1e-4)
    assert torch.equal(joined.masks, expected.masks)
    assert joined.pooled == (fusion == "pooled")
    own_answer = own.model.match(expected, query).mask_logits
    torch.testing.assert_close(found, own_answer, atol=1e-3, rtol=1e-3)


def test_persam_f_fits_each_example_once_and_averages(network, monkeypatch):
    own, fitted = network("persam-f"), []
    original = persam.fit_weights
    monkeypatch.setattr(
        persam, "fit_weights", lambda a, b: fitted.append(original(a, b)) or fitted[-1]
    )
    segmenter = FewShotSegmenter(own, device="cpu")
    support = segmenter.encode([(photo(0), mask()), (photo(1), mask(30))], appearance="off")
    assert len(fitted) == 2
    weights = support.classes["thing"].weights[0]
    torch.testing.assert_close(weights, torch.stack(fitted).mean(0))
    assert segmenter.predict(photo(2), support=support).labels.shape == (60, 80)


def test_persam_f_by_the_papers_rule_is_its_first_example(network):
    own = network("persam-f")
    pictures, masks = torch.rand(1, 2, 3, 64, 64), torch.zeros(1, 2, 64, 64)
    masks[:, 0, 8:40, 16:40] = 1
    masks[:, 1, 30:60, 16:60] = 1
    expected = own.model.encode_support(pictures, masks)
    joined = own.join([own.show(pictures[0, k], masks[0, k]) for k in range(2)], "mean")
    assert not joined.pooled
    assert torch.equal(joined.masks, expected.masks)
    torch.testing.assert_close(joined.features, expected.features, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(joined.weights, expected.weights, atol=1e-5, rtol=1e-4)


def test_presence_compares_the_methods_own_cells_under_the_mask(network):
    own = network("insid3")
    image, marked = torch.rand(3, 64, 64), torch.zeros(64, 64)
    marked[8:40, 16:40] = 1
    with torch.inference_mode():
        seen = own.see(image, marked)
        support = own.join([seen.shown], "pooled")
        cells, known = own.cells(seen.query), own.known(support)
    assert cells.units.shape == (1, *own.levels, 64)
    inside = support.masks[0, 0].flatten().bool()
    # The example's own picture as a query has the same cells, debiased by the same basis.
    torch.testing.assert_close(
        known.means[0], cells.units[0][:, inside].mean(1), atol=1e-4, rtol=1e-3
    )
    torch.testing.assert_close(
        known.means[1], cells.units[0][:, ~inside].mean(1), atol=1e-4, rtol=1e-3
    )
    assert known.shots == 1


def test_classes_negatives_and_appearance_compete(insid3):
    task = {"cat": [(photo(0), mask()), (photo(1), mask())], "dog": [(photo(2), mask(30))]}
    insid3.fit(task, negatives=[(photo(3), mask())], checks=True)
    assert len(insid3.fitted.quality["cat"]) == 2
    found = insid3.predict(photo(4))
    assert list(found.classes) == ["cat", "dog"]
    assert [one.presence for one in found.classes.values()] == [None, None]
    assert found.classes["cat"].conventional_mask.min() >= 0
    with pytest.raises(FcpError, match="threshold: this model cannot judge presence"):
        insid3.predict(photo(4), threshold=0.5)


def test_several_photos_are_each_one_alone(insid3):
    support = insid3.encode([(photo(0), mask())], appearance="off")
    together = insid3.predict_batch([photo(4), photo(5)], support=support)
    alone = insid3.predict(photo(5), support=support)
    assert np.allclose(together[1].logits, alone.logits, atol=1e-3)


def test_the_support_is_kept_in_a_file(insid3, tmp_path):
    support = insid3.encode([(photo(0), mask()), (photo(1), mask())])
    support.save(tmp_path / "it.safetensors")
    again = Support.load(tmp_path / "it.safetensors")
    expected = insid3.predict(photo(4), support=support)
    assert np.array_equal(insid3.predict(photo(4), support=again).labels, expected.labels)
    assert again.classes["thing"].pooled


def test_a_folder_names_what_it_was_made_of(insid3, vit_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(vit_folder.parent)
    insid3.save_pretrained(tmp_path / "mine")
    assert json.loads((tmp_path / "mine/config.json").read_text()) == {
        "format": "fcp-free-1",
        "name": f"free:insid3+{vit_folder}",
        "options": {},
    }
    again = FewShotSegmenter.from_pretrained(tmp_path / "mine", device="cpu")
    assert again.fingerprint == insid3.fingerprint
    (tmp_path / "mine/config.json").write_text(
        json.dumps(
            {
                "format": "fcp-free-1",
                "name": f"free:insid3+{vit_folder}",
                "options": {"released": False},
            }
        )
    )
    other = FewShotSegmenter.from_pretrained(tmp_path / "mine", device="cpu")
    assert not other.model.released
    assert other.fingerprint != insid3.fingerprint


def test_the_same_weights_of_another_configuration_are_another_model(vit_folder, tmp_path):
    copies = {name: tmp_path / name for name in ("equal", "other")}
    for copy in copies.values():
        shutil.copytree(vit_folder, copy)
    config = json.loads((copies["other"] / "config.json").read_text())
    (copies["other"] / "config.json").write_text(json.dumps({**config, "num_attention_heads": 3}))
    loaded = {name: load_free(f"free:insid3+{copy}") for name, copy in copies.items()}
    found = {name: FreeNetwork(one).fingerprint for name, one in loaded.items()}
    assert found["equal"] == FreeNetwork(load_free(f"free:insid3+{vit_folder}")).fingerprint
    assert found["other"] != found["equal"]
    hashes = {name: hash_free(f"free:insid3+{copy}") for name, copy in copies.items()}
    assert hashes["other"] != hashes["equal"]


def test_confidence_is_no_rule_of_these_methods(network):
    with pytest.raises(FcpError, match="fusion: this model joins examples by pooled or mean, not"):
        FewShotSegmenter(network("insid3"), device="cpu", fusion="confidence")


def test_boxes_prompt_the_methods_segmenter_if_it_has_one(network):
    assert network("persam").promptable is not None
    assert network("insid3").promptable is None


def test_a_loaded_method_becomes_a_network(network):
    assert isinstance(network_of(network("persam").loaded), FreeNetwork)
