"""The real Label Studio server and the real backend process: connect, annotate, predict, hint."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fcp.formats.label_studio import brush_runs, read_brush_runs
from fcp.formats.polygons import mask_polygons

httpx = pytest.importorskip("httpx2")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

TOKEN = "0123456789abcdef0123456789abcdef01234567"
CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image"><Label value="person"/></BrushLabels>
  <PolygonLabels name="outline" toName="image"><Label value="cat"/></PolygonLabels>
  <KeyPointLabels name="point" toName="image" smart="true">
    <Label value="person"/><Label value="cat"/>
  </KeyPointLabels>
  <RectangleLabels name="box" toName="image" smart="true"><Label value="person"/></RectangleLabels>
</View>
"""
# Label Studio refuses to speak to this very machine, by default.
LOCAL = {"ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "false"}
QUIET = {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "SENTRY_DSN": ""}


def executable():
    given = os.environ.get("FCP_LABEL_STUDIO") or shutil.which("label-studio")
    if not given or not Path(given).is_file():
        pytest.skip("needs label-studio on the PATH, or its path in FCP_LABEL_STUDIO")
    return given


@contextmanager
def running(command, log, env=None):
    """Run a process while the block runs; its output goes to a file."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(what, process, log, seconds=600):
    """Ask until there is an answer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            answer = what()
        except httpx.HTTPError:
            answer = None
        if answer:
            return answer
        assert process.poll() is None, log.read_text()
        time.sleep(0.3)
    raise AssertionError(f"nothing after {seconds} s:\n{log.read_text()[-3000:]}")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


class Studio:
    """The server's API, as a person with a token uses it."""

    def __init__(self, url):
        self.url = url
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Token {TOKEN}"}, timeout=120
        )

    def __call__(self, method, path, **given):
        answer = self.http.request(method, path, **given)
        assert answer.status_code < 400, answer.text[:2000]
        return answer.json() if answer.content else None

    def create_project(self, photos):
        project = self("POST", "/api/projects/", json={"title": "people", "label_config": CONFIG})
        for name, photo in photos.items():
            files = {"file": (f"{name}.png", photo.png, "image/png")}
            self("POST", f"/api/projects/{project['id']}/import", files=files)
        return project["id"], {name: task["id"] for name, task in self.tasks(project["id"]).items()}

    def tasks(self, project):
        """Return photo's name → task, with all that is in it."""
        asked = {"project": project, "fields": "all", "page_size": 100}
        found = self("GET", "/api/tasks", params=asked)["tasks"]
        return {
            re.search(r"(\w+)\.png$", task["data"]["image"])[1].split("-")[-1]: task
            for task in found
        }

    def annotate(self, task, region):
        self("POST", f"/api/tasks/{task}/annotations/", json={"result": [region]})

    def predict_all(self, project):
        chosen = {"selectedItems": {"all": True, "excluded": []}}
        asked = {"id": "retrieve_tasks_predictions", "project": project}
        self("POST", "/api/dm/actions", params=asked, json=chosen)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """Start Label Studio with an empty database."""
    program, folder, port = executable(), tmp_path_factory.mktemp("studio"), free_port()
    log = folder / "log.txt"
    command = [program, "start", "--no-browser", "--data-dir", str(folder / "data")]
    command += ["--internal-host", "127.0.0.1", "--port", str(port), "--user-token", TOKEN]
    command += ["--username", "tester@example.org", "--password", "a-password-12"]
    command += ["--enable-legacy-api-token"]
    env = {**LOCAL, **QUIET, "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data")}
    url = f"http://127.0.0.1:{port}"
    with running(command, log, env) as process:
        wait_for(lambda: httpx.get(f"{url}/health", timeout=5).status_code == 200, process, log)
        yield Studio(url)


@contextmanager
def backend(studio, folder, **env):
    """Start `fcp label-studio`; yields its URL and its log."""
    log = folder / f"backend-{len(list(folder.iterdir()))}.txt"
    command = [sys.executable, "-u", "-m", "fcp", "label-studio", "--port", "0"]
    command += ["--label-studio-url", studio.url, "--folder", str(folder / "examples")]
    with running(command, log, env) as process:
        pattern = re.compile(r"(http://127\.0\.0\.1:\d+) waits for")
        url = wait_for(lambda: pattern.search(log.read_text()), process, log)[1]
        wait_for(lambda: httpx.get(f"{url}/health").status_code == 200, process, log)
        yield url, log


def region(kind, name, photo, label, value):
    height, width = photo.mask.shape
    return {
        "type": kind,
        "from_name": name,
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, kind: [label]},
    }


def brushed(photo, label):
    value = {"format": "rle", "rle": brush_runs(photo.mask)}
    return region("brushlabels", "brush", photo, label, value)


def outlined(photo, label):
    (polygon,) = mask_polygons(photo.mask)
    points = (polygon / np.array(photo.mask.shape[::-1]) * 100).tolist()
    return region("polygonlabels", "outline", photo, label, {"points": points, "closed": True})


def painted(prediction, photo, label):
    """Paint a prediction's regions of a label."""
    from fcp.formats.polygons import fill_polygons
    from fcp.formats.run_lengths import to_mask

    size = photo.mask.shape
    mask = np.zeros(size, bool)
    for one in prediction["result"]:
        value = one["value"]
        if label not in value[one["type"]]:
            continue
        if one["type"] == "brushlabels":
            mask |= read_brush_runs(value["rle"], size, "the prediction")
        else:
            points = np.array(value["points"]) * np.array(size[::-1]) / 100
            mask |= to_mask(fill_polygons([points], size))
    return mask


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def latest(task):
    return max(task["predictions"], key=lambda prediction: prediction["id"])


def test_annotations_become_predictions(studio, photos, tmp_path):
    project, ids = studio.create_project(photos)
    with backend(studio, tmp_path) as (url, log):
        content = {"url": url, "project": project, "is_interactive": True}
        model = studio("POST", "/api/ml/", json=content)
        # Connected before anything is annotated: nothing is predicted, and nothing fails.
        studio.predict_all(project)
        assert not any(task["predictions"] for task in studio.tasks(project).values())

        studio.annotate(ids["astronaut"], brushed(photos["astronaut"], "person"))
        studio.annotate(ids["chelsea"], outlined(photos["chelsea"], "cat"))
        studio("POST", f"/api/ml/{model['id']}/train", json={})
        studio.predict_all(project)
        tasks = studio.tasks(project)
        for name, label in (("grace_hopper", "person"), ("chelsea_again", "cat")):
            prediction = latest(tasks[name])
            assert iou(painted(prediction, photos[name], label), photos[name].mask) > 0.6
            assert 0 < prediction["score"] <= 1
        (version,) = {latest(task)["model_version"] for task in tasks.values()}
        assert re.fullmatch("fcp-[0-9a-f]{12}", version)
        assert httpx.get(f"{url}/versions").json()["versions"] == [version]

        check_hints(studio, model["id"], ids, photos)

        # The server's own webhook tells of a new annotation; nobody presses a button.
        studio.annotate(ids["grace_hopper"], brushed(photos["grace_hopper"], "person"))
        after = wait_for(lambda: other_version(url, version), _Alive(), log, seconds=30)

    # The examples outlive the process: with a new one, Label Studio finds the same version.
    with backend(studio, tmp_path) as (url, _):
        content = {"url": url, "project": project}
        again = studio("PATCH", f"/api/ml/{model['id']}", json=content)
        assert again["model_version"] == after
        # The webhook still goes to the old port, as if it were blocked: the next prediction looks
        # for new annotations itself.
        studio.annotate(ids["chelsea_again"], outlined(photos["chelsea_again"], "cat"))
        studio.predict_all(project)
        versions = {latest(task)["model_version"] for task in studio.tasks(project).values()}
        assert versions.isdisjoint({version, after})


def other_version(url, before):
    versions = httpx.get(f"{url}/versions").json()["versions"]
    return versions[0] if versions != [before] else None


class _Alive:
    def poll(self):
        return None


def check_hints(studio, model, ids, photos):
    """Use the smart tools: a box around a person, a point on a cat."""
    person, cat = photos["grace_hopper"], photos["chelsea_again"]
    rows, columns = np.nonzero(person.mask)
    height, width = person.mask.shape
    box = {
        "x": 100 * columns.min() / width,
        "y": 100 * rows.min() / height,
        "width": 100 * np.ptp(columns) / width,
        "height": 100 * np.ptp(rows) / height,
    }
    hints = {
        ("grace_hopper", "person"): region("rectanglelabels", "box", person, "person", box),
        ("chelsea_again", "cat"): region(
            "keypointlabels", "point", cat, "cat", {"x": 50.0, "y": 50.0, "width": 0.5}
        ),
    }
    for (name, label), hint in hints.items():
        content = {"task": ids[name], "context": {"result": [hint]}}
        found = studio("POST", f"/api/ml/{model}/interactive-annotating", json=content)
        score = iou(painted(found["data"], photos[name], label), photos[name].mask)
        assert score > 0.5


def test_personal_access_token(studio, photos, tmp_path):
    """The tokens that new installations hand out, which must be changed for short-lived ones."""
    settings = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}
    studio("POST", "/api/jwt/settings", json=settings)
    token = studio("POST", "/api/token/", json={})["token"]
    project, ids = studio.create_project({"astronaut": photos["astronaut"]})
    studio.annotate(ids["astronaut"], brushed(photos["astronaut"], "person"))
    with backend(studio, tmp_path, LABEL_STUDIO_API_KEY=token) as (url, log):
        asked = {"action": "START_TRAINING", "project": {"id": project}}
        answer = httpx.post(f"{url}/webhook", json=asked, timeout=60).json()
        assert answer["examples"] == {"person": [ids["astronaut"]]}, log.read_text()


def test_strokes_are_the_converters(photos):
    """Label Studio's own converter decodes our strokes, and we decode its."""
    python = Path(executable()).parent / "python"
    mask = photos["grace_hopper"].mask
    program = """
import json, sys
import numpy as np
from label_studio_sdk.converter.brush import decode_rle, encode_rle
given = json.load(sys.stdin)
rgba = decode_rle(given["rle"])
soft = np.arange(given["pixels"] * 4, dtype=np.int64) * 7919 % 251
json.dump({"alpha": rgba[3::4].tolist(), "theirs": [int(b) for b in encode_rle(rgba)],
           "soft": [int(b) for b in encode_rle(soft.astype(np.uint8))]}, sys.stdout)
"""
    given = json.dumps({"rle": brush_runs(mask), "pixels": 35})
    done = subprocess.run([python, "-c", program], input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (np.array(answer["alpha"]).reshape(mask.shape) == 255 * mask).all()
    assert (read_brush_runs(answer["theirs"], mask.shape, "theirs") == mask).all()
    soft = (np.arange(35 * 4) * 7919 % 251)[3::4].reshape(5, 7)
    assert (read_brush_runs(answer["soft"], (5, 7), "soft") == (soft >= 128)).all()
