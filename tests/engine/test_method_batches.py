"""Batches of the compared methods: masks with 255, base labels, one cut for all maps."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from fcp.data.images import read_labels
from fcp.data.lists import train_lists
from fcp.data.pascal import PascalVOC
from fcp.data.transforms import mask_to_square
from fcp.engine.episode_batches import EpisodeSource
from fcp.engine.method_batches import Cut, LabelBatches, MethodBatches, label_map, rank_classes
from fcp.engine.share import Share
from fcp.errors import FcpError

SIZE = 72


@pytest.fixture
def source(mini_voc):
    data = PascalVOC(mini_voc)
    lists = train_lists(data, 0, filtered=False)
    return EpisodeSource(data, lists, draw="query", batch=4, image_size=SIZE, seed=3)


def test_an_episode_has_masks_labels_and_its_class(source):
    base = source.data.base(0)
    batch = MethodBatches(source, views="whole", base_classes=base)[Share(5)]
    assert batch["support_images"].shape == (4, 1, 3, SIZE, SIZE)
    assert batch["query_images"].shape == (4, 3, SIZE, SIZE)
    assert set(batch["support_masks"].unique().tolist()) == {0, 1, 255}
    for mask, labels, own in zip(
        batch["query_masks"], batch["base_labels"], batch["classes"], strict=True
    ):
        assert torch.equal(labels == own, mask == 1)
        assert torch.equal(labels == 255, mask == 255)


def test_without_base_classes_there_are_no_labels(source):
    batch = MethodBatches(source, views="whole")[Share(0)]
    assert batch.keys() == {"support_images", "support_masks", "query_images", "query_masks"}


@pytest.mark.parametrize("picture", ["train_speck", "train_mixed", "train_12_1"])
def test_labels_are_the_ranks_of_the_base_classes(mini_voc, picture):
    data = PascalVOC(mini_voc)
    label_of = np.zeros(256, np.uint8)  # 0 for the background and the novel classes 1 … 5
    label_of[6:21], label_of[255] = range(1, 16), 255
    found = label_map(data, picture, rank_classes(data.base(0)))
    assert np.array_equal(found, label_of[read_labels(data.mask_path(picture))])


def test_parts_of_a_step_are_the_whole(source):
    batches = MethodBatches(source, views="augmented", base_classes=source.data.base(0))
    whole, parts = batches[Share(2)], [batches[Share(2, part, 2)] for part in range(2)]
    for name, value in whole.items():
        assert torch.equal(value, torch.cat([part[name] for part in parts])), name


def test_a_cut_is_the_same_for_picture_mask_and_labels():
    rows, columns = np.mgrid[:40, :60]
    wanted = (abs(rows - 12) < 8) & (abs(columns - 40) < 12)
    image = np.repeat(wanted[..., None], 3, 2).astype(np.uint8) * 255
    ignored = np.zeros_like(wanted)
    for seed in range(5):
        cut = Cut.draw(wanted, np.random.default_rng(seed), whole=False)
        mask = cut.mask(wanted, ignored, 64)
        assert torch.equal(mask, cut.labels(wanted.astype(np.uint8), 64))
        assert ((cut.image(image, 64)[0] > 0.5) == (mask == 1)).float().mean() > 0.97
        assert mask.any()


def test_an_object_is_never_lost():
    wanted = np.zeros((400, 400), bool)
    wanted[1, 1] = True
    whole = Cut.draw(wanted, np.random.default_rng(0), whole=True)
    assert (whole.mask(wanted, np.zeros_like(wanted), 32) == 1).sum() == 1


class Looked:
    """Take the place of an index: each picture stands for what is stored of it."""

    def look(self, picture):
        return picture

    look_at_example = look


class Specks(PascalVOC):
    """Objects of one pixel, which a smaller square would lose."""

    def class_mask(self, picture, class_id):
        mask = super().class_mask(picture, class_id)
        speck = np.zeros_like(mask)
        speck.flat[np.flatnonzero(mask)[1:2]] = True
        return speck


def test_masks_and_labels_are_equal_with_and_without_stored_features(source, mini_voc):
    base = source.data.base(0)
    specks = replace(source, data=Specks(mini_voc), image_size=8)
    pixels = MethodBatches(specks, views="whole", base_classes=base)
    stored = MethodBatches(specks, views="whole", base_classes=base, index=Looked())
    one, other = pixels[Share(0)], stored[Share(0)]
    for name in ("support_masks", "query_masks", "base_labels", "classes"):
        assert torch.equal(one[name], other[name]), name
    for shown in other["supports"]:
        assert not mask_to_square(shown.data.class_mask(shown.id, shown.class_id), 8).any()
    assert (other["query_masks"] == 1).flatten(1).any(1).all()


def test_a_learners_epoch_has_each_picture_once(source):
    batches = LabelBatches(source, views="whole", base_classes=source.data.base(0))
    rows = source.lists.rows
    assert batches.samples_per_epoch == len(rows)
    per_label = Counter()
    for step in range(len(rows) // 4):
        labels = batches[Share(step)]["labels"]
        assert labels.shape == (4, SIZE, SIZE)
        per_label.update(label for one in labels for label in one.unique().tolist())
    assert set(per_label) >= {0, 255}
    assert max(label for label in per_label if label != 255) <= 15


def test_more_classes_than_labels_are_refused():
    assert rank_classes(range(1, 255))[254] == 254
    with pytest.raises(FcpError, match="255 base classes; a base learner takes at most 254"):
        rank_classes(range(1, 256))
