"""Options of reading become settings, and what is none is told before anything is loaded."""

import pytest

from fcp.cli.reading_options import DrawnOn, new_reading, read_decoding
from fcp.data.decode import Decoding
from fcp.data.value_range import AUTO, ValueRange
from fcp.errors import FcpError
from fcp.formats.reading import Reading


def test_settings():
    assert read_decoding("auto", None, "largest") == (Decoding(AUTO, None, None), False)
    assert read_decoding("auto", None, "all") == (Decoding(AUTO, None, None), True)
    chosen = read_decoding("0:4095", "4, 3,2", "2")
    assert chosen == (Decoding(ValueRange("values", 0, 4095), (4, 3, 2), 2), False)
    assert new_reading(DrawnOn.RAW, 3, skip_bad=True) == Reading(
        skip_bad=True, drawn_on_raw=True, page=3
    )
    assert not new_reading(DrawnOn.UPRIGHT, None, skip_bad=True).drawn_on_raw


@pytest.mark.parametrize("bands", ["", "4,3", "a,b,c", "-1,2,3", "1;2;3"])
def test_what_is_no_band(bands):
    with pytest.raises(FcpError, match="--bands: expected one or three numbers, such as 4,3,2"):
        read_decoding("auto", bands, "largest")


def test_what_is_no_range():
    with pytest.raises(FcpError, match="--range: expected auto, full, LOW:HIGH"):
        read_decoding("dark", None, "largest")


@pytest.mark.parametrize("pages", ["", "0", "-1", "1,2", "every", "1.5"])
def test_what_is_no_page(pages):
    with pytest.raises(FcpError, match="--pages: expected largest, all or a number from 1"):
        read_decoding("auto", None, pages)
