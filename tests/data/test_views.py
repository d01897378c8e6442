"""Views: where they lie, and that masks and photos are cut alike."""

import numpy as np

from fcp.data.views import View, draw_box


def test_crops_show_much_of_a_class():
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:50] = True
    rng = np.random.default_rng(0)
    for _ in range(50):
        left, top, right, bottom = draw_box([mask], rng)
        assert 0 <= left < right <= 80
        assert 0 <= top < bottom <= 60
        assert mask[top:bottom, left:right].sum() >= 0.4 * mask.sum()


def test_a_class_that_no_crop_shows_enough_of_leaves_the_photo_whole():
    mask = np.zeros((100, 200), bool)
    mask[0, 0] = True
    assert draw_box([mask], np.random.default_rng(0)) == (0, 0, 200, 100)


def test_a_mirrored_crop_takes_photo_and_mask_alike():
    photo = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    cut = View((1, 0, 4, 3), flip=True).crop(photo)
    assert np.array_equal(cut, photo[0:3, 1:4][:, ::-1])
    assert np.array_equal(View((1, 0, 4, 3), flip=True).crop(photo[..., 0]), cut[..., 0])
