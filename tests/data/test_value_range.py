"""Numbers of every type become greys that a naive formula gives, and what is assumed is said."""

import numpy as np
import pytest

from fcp.data.images import read_image
from fcp.data.value_range import AUTO, ValueRange, to_uint8
from fcp.errors import FcpError

RAMP = np.linspace(0, 1, 4096)


def scaled(values, text="auto", **more):
    return to_uint8(np.asarray(values), ValueRange.parse(text), "a.tif", **more)


@pytest.mark.parametrize("most", [200, 900, 4095])
def test_few_bits_look_like_the_same_picture_shifted_up(most):
    """A camera's 12 bits lie at the bottom of 16, or at the top."""
    low = np.rint(RAMP * most).astype(np.uint16)
    (a, notes), (b, _) = scaled(low), scaled(low * 16)
    assert np.abs(a.astype(int) - b).max() <= 1
    assert a.max() > 180
    assert notes[0].startswith(f"its values (0 … {most:,}) are taken for")


def test_a_full_range_is_not_touched():
    values = np.array([0, 257 * 40, 65535], np.uint16)
    assert scaled(values)[0].tolist() == [0, 40, 255]
    assert scaled(values)[1] == []
    assert scaled(np.array([0, 257 * 40], np.uint16), "full")[0].tolist() == [0, 40]
    eight = np.arange(256, dtype=np.uint8)
    assert (scaled(eight)[0] == eight).all()


def test_a_hot_pixel_does_not_darken_the_others():
    values = np.full(5000, 3000, np.uint16)
    values[7] = 65535
    assert scaled(values)[0][0] == round(3000 / 4095 * 255)


def test_little_contrast_is_said():
    values = np.linspace(2000, 2200, 500).astype(np.uint16)
    assert any("hardly any contrast: its values 2,000 … 2,200" in n for n in scaled(values)[1])
    spread, notes = scaled(values, "p0:p100")
    assert (spread.min(), spread.max(), notes) == (0, 255, [])


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int16, np.int32])
def test_signed_numbers_and_floats_go_from_least_to_most(kind):
    values = np.array([-500, -250, 0, 500], kind)
    assert scaled(values)[0].tolist() == [0, 64, 128, 255]
    assert "values -500 … 500 become black … white" in scaled(values)[1][0]


def test_what_is_not_finite_does_not_count():
    values = np.array([-10, np.nan, np.inf, -np.inf, 10], np.float32)
    assert scaled(values)[0].tolist() == [0, 0, 255, 0, 255]
    assert scaled(np.array([0, np.nan, 0.5]))[0].tolist() == [0, 0, 128]
    assert scaled(np.array([-9999, 10, 20.0]), nodata=-9999)[0].tolist() == [0, 0, 255]
    with pytest.raises(FcpError, match=r"a\.tif: none of its values is a finite number"):
        scaled(np.array([np.nan, np.inf]))


def test_large_and_64_bit_integers():
    assert scaled(np.array([0, 2**32 - 1], np.uint32))[0].tolist() == [0, 255]
    assert scaled(np.array([0, 100, 255]))[0].tolist() == [0, 100, 255]
    assert scaled(np.array([[True, False]]))[0].tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("kind", "opaque"),
    [
        (np.uint8, 255),
        (np.uint16, 255),
        (np.int64, 255),
        (np.uint16, 4095),
        (np.uint16, 65535),
        (np.float32, 1),
        (np.float32, 255),
    ],
)
def test_transparency_of_any_number_type(kind, opaque):
    """Opaque, half and clear pixels over white, as 8 bits of the same picture give them."""
    eight = np.zeros((3, 5, 4), np.uint8)
    eight[..., 3] = np.array([255, 128, 0])[:, None]
    scaled_up = eight.astype(float) * (opaque / 255)
    values = (scaled_up if kind is np.float32 else np.rint(scaled_up)).astype(kind)
    assert np.abs(read_image(values).astype(int) - read_image(eight)).max() <= 1


def test_chosen_limits():
    assert scaled(np.array([5, 10, 15, 99], np.uint16), "5:15")[0].tolist() == [0, 128, 255, 255]
    assert scaled(np.array([5, 10, 15], np.uint8), "5:15")[0].tolist() == [0, 128, 255]
    assert ValueRange.parse("p1:p99.5") == ValueRange("percentiles", 1, 99.5)
    assert ValueRange.parse("auto") == AUTO


@pytest.mark.parametrize("text", ["", "1", "2:1", "p1:9", "p5:p101", "a:b", "1:2:3", "nan:1"])
def test_what_is_no_range(text):
    with pytest.raises(FcpError, match=r"--range: expected auto, full, LOW:HIGH or pLOW:pHIGH"):
        ValueRange.parse(text)
