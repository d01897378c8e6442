"""Formats of model folders: told by name or file, and another format is refused."""

import json
import re

import pytest

from fcp.errors import FcpError
from fcp.models.settings import FCP_FORMAT, FREE_FORMAT, TRAINED_FORMAT, format_of, read_settings


def test_a_format_is_told_by_name_or_by_folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"format": TRAINED_FORMAT}))
    assert format_of(tmp_path) == format_of(str(tmp_path)) == TRAINED_FORMAT
    assert format_of("free:persam") == format_of("free") == FREE_FORMAT


def test_settings_come_without_their_format_and_of_another_are_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"format": FCP_FORMAT, "image_size": 64}))
    assert read_settings(path, FCP_FORMAT) == {"image_size": 64}
    with pytest.raises(FcpError, match="expected a model of format 'fcp-trained-1', got 'fcp-1'"):
        read_settings(path, TRAINED_FORMAT)


@pytest.mark.parametrize(
    ("kind", "method"), [("dinov2", "insid3"), ("sam_hq", "persam"), ("sam2_video", "persam")]
)
def test_an_encoders_folder_says_what_it_is_and_what_takes_it(tmp_path, kind, method):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": kind, "architectures": ["Any"]}))
    message = re.escape(f"{tmp_path}: holds an encoder ({kind}), which alone is no model")
    for read in (lambda: format_of(tmp_path), lambda: read_settings(path, FCP_FORMAT)):
        with pytest.raises(FcpError, match=rf"{message}.*such as free:{method}\+"):
            read()
