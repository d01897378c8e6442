"""``results.json``: what is told of who decides comes back."""

import json

import pytest

from fcp.errors import FcpError
from fcp.labelling.results import DecisionResult, Results

DECISION = DecisionResult(True, 1.0, 0.66, 0.24, "decided by appearance: 66 % against 24 %")


def test_decisions_come_back(tmp_path):
    written = Results(tmp_path, model="tiny", fingerprint="f")
    written.appearance = {"nuclei": DECISION}
    written.save()
    told = json.loads(written.path.read_text())["appearance"]
    assert told["nuclei"]["sentence"] == DECISION.sentence
    again = Results(tmp_path, model="tiny", fingerprint="f")
    assert again.read_earlier() == {}
    assert again.appearance == {"nuclei": DECISION}


def test_a_file_of_before_is_refused(tmp_path):
    written = Results(tmp_path, model="tiny", fingerprint="f")
    written.save()
    content = json.loads(written.path.read_text())
    del content["appearance"]
    written.path.write_text(json.dumps(content))
    with pytest.raises(FcpError, match="not a file of fcp segment"):
        Results(tmp_path, model="tiny", fingerprint="f").read_earlier()
