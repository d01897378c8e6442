"""A folder is known as a run's by its records, and other files of that name are no run's."""

import pytest

from fcp.system.runs import read_run


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"results": []}',
        b'{"format": 6}',
        b'{"format": "coco"}',
    ],
)
def test_other_folders_are_no_runs(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_bytes(content)
    assert read_run(tmp_path) is None


def test_any_version_of_the_records_is_a_runs(tmp_path):
    for number in (1, 60):
        book = b'{"format": "fcp-results-%d", "files": {}}' % number
        (tmp_path / "results.json").write_bytes(book)
        assert read_run(tmp_path) == {"format": f"fcp-results-{number}", "files": {}}
