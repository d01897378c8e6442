"""The HTTP contract: what Label Studio's server sends, as its api_connector.py builds it."""

import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from fcp.errors import FcpError

pytest.importorskip("starlette")
testclient = pytest.importorskip("starlette.testclient")

from fcp.label_studio import server  # noqa: E402
from fcp.label_studio.backend import Fitted  # noqa: E402
from fcp.label_studio.server import make_app, serve  # noqa: E402

PROJECT = "7.1700000000"
CONFIG = "<View/>"


class Recorded:
    """A backend that notes what it is asked."""

    def __init__(self):
        self.calls = []
        self.studio = SimpleNamespace(has_key=True, adopt_key=lambda key: self.note("key", key))
        self.now = "fcp-1"
        self.error = None

    def note(self, *call):
        self.calls.append(call)
        if self.error and call[0] in {"check", "predict", "fit", "fit_tasks", "forget"}:
            raise self.error

    def check(self, config):
        self.note("check", config)

    def versions(self):
        return [self.now]

    def version(self, project):
        return self.now

    def fitted(self, project):
        return Fitted((), self.now, None)

    def fit(self, project):
        self.note("fit", project)
        self.now = "fcp-2"
        return self.fitted(project)

    def fit_tasks(self, project, config, tasks):
        self.note("fit_tasks", project, config, tasks)
        return self.fitted(project)

    def forget(self, project, annotations):
        self.note("forget", project, annotations)
        return self.fitted(project)

    def predict(self, project, config, tasks):
        self.note("predict", project, config, tasks)
        return [{"result": [], "score": 0.5, "model_version": self.now}, []]

    def answer_hint(self, project, config, task, context):
        self.note("hint", project, config, task, context)
        return {"result": [], "score": 0.5, "model_version": self.now}


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Let answers wait for a fit however busy the machine is."""
    monkeypatch.setattr(server, "SETUP_WAITS", 100)
    monkeypatch.setattr(server, "TRAINING_WAITS", 100)


@pytest.fixture
def backend():
    return Recorded()


@pytest.fixture
def client(backend):
    return testclient.TestClient(make_app(backend))


def test_health_and_versions(client):
    for path in ("/", "/health"):
        assert client.get(path).json()["status"] == "UP"
    assert client.get("/versions").json() == {"versions": ["fcp-1"]}


def test_setup_looks_for_new_annotations(client, backend):
    content = {"project": PROJECT, "schema": CONFIG, "hostname": "http://a", "access_token": "abc"}
    assert client.post("/setup", json=content).json() == {"model_version": "fcp-2"}
    assert backend.calls == [("check", CONFIG), ("key", "abc"), ("fit", 7)]


def test_setup_without_a_key(client, backend):
    backend.studio.has_key = False
    assert client.post("/setup", json={"project": PROJECT}).json() == {"model_version": "fcp-1"}


def test_setup_does_not_wait_for_long(client, backend, monkeypatch):
    monkeypatch.setattr(server, "SETUP_WAITS", 0.05)
    gate = threading.Event()
    backend.fit = lambda project: gate.wait(100)
    assert client.post("/setup", json={"project": PROJECT}).json() == {"model_version": "fcp-1"}
    gate.set()


def test_predict(client, backend):
    content = {"project": PROJECT, "label_config": CONFIG, "tasks": [{"id": 1}, {"id": 2}]}
    content["params"] = {"login": None, "password": None, "context": None}
    answer = client.post("/predict", json=content).json()
    assert answer["results"] == [{"result": [], "score": 0.5, "model_version": "fcp-1"}, []]
    assert backend.calls == [("predict", 7, CONFIG, content["tasks"])]


def test_smart_tool(client, backend):
    context = {"result": [{"type": "keypointlabels"}]}
    content = {"project": PROJECT, "label_config": CONFIG, "tasks": [{"id": 1}]}
    answer = client.post("/predict", json={**content, "params": {"context": context}}).json()
    assert len(answer["results"]) == 1
    assert backend.calls == [("hint", 7, CONFIG, {"id": 1}, context)]


@pytest.mark.parametrize("action", ["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "PROJECT_UPDATED"])
def test_webhook_reads_everything_again(client, backend, action):
    content = {"action": action, "project": {"id": 7}}
    assert client.post("/webhook", json=content).json() == {"status": "taken in"}
    training = {"action": "START_TRAINING", "project": {"id": 7}}
    done = client.post("/webhook", json=training).json()
    assert done == {"status": "done", "model_version": "fcp-2", "examples": {}}
    assert set(backend.calls) == {("fit", 7)}


def test_many_webhooks_are_one_fit(client, backend):
    gate, started = threading.Event(), threading.Event()

    def fit(project):
        started.set()
        gate.wait(100)
        backend.note("fit", project)
        return backend.fitted(project)

    backend.fit = fit
    content = {"action": "ANNOTATION_CREATED", "project": {"id": 7}}
    client.post("/webhook", json=content)
    assert started.wait(100)
    for _ in range(5):
        client.post("/webhook", json=content)
    gate.set()
    client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 7}})
    assert 2 <= len(backend.calls) <= 3


def test_webhook_without_a_key_takes_what_it_brings(client, backend):
    backend.studio.has_key = False
    project = {"id": 7, "label_config": CONFIG}
    note, other = {"id": 5, "task": 1, "result": []}, {"id": 6, "task": 2, "result": []}
    one = {"action": "ANNOTATION_CREATED", "project": project, "task": {"id": 1}}
    many = {**one, "action": "ANNOTATIONS_CREATED", "task": [{"id": 1}, {"id": 2}]}
    gone = {"action": "ANNOTATIONS_DELETED", "project": project, "annotations": [{"id": 5}]}
    client.post("/webhook", json={**one, "annotation": note})
    client.post("/webhook", json={**many, "annotation": [note, other]})
    client.post("/webhook", json=gone)
    client.post("/webhook", json={"action": "START_TRAINING", "project": project})
    first, second = {"id": 1, "annotations": [note]}, {"id": 2, "annotations": [other]}
    assert backend.calls == [
        ("fit_tasks", 7, CONFIG, [first]),
        ("fit_tasks", 7, CONFIG, [first, second]),
        ("forget", 7, [5]),
    ]


def test_other_webhooks_are_ignored(client, backend):
    content = {"action": "TASKS_CREATED", "project": {"id": 7}}
    assert client.post("/webhook", json=content).json() == {"status": "ignored"}
    assert backend.calls == []


def test_fit_that_fails_is_told(client, backend, caplog):
    backend.error = FcpError("Label Studio is away")
    content = {"action": "START_TRAINING", "project": {"id": 7}}
    answer = client.post("/webhook", json=content)
    assert (answer.status_code, answer.json()) == (400, {"error": "Label Studio is away"})
    client.post("/webhook", json={**content, "action": "ANNOTATION_CREATED"})
    client.post("/webhook", json=content)  # waits, so that no later test gets that fit's line
    assert "its annotations cannot be read: Label Studio is away" in caplog.text


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FcpError("no tag draws"), "its annotations cannot be read: no tag draws"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
def test_failure_without_a_key_is_in_the_log(client, backend, caplog, error, message):
    backend.studio.has_key = False
    backend.error = error
    project = {"id": 7, "label_config": CONFIG}
    made = {"action": "ANNOTATION_CREATED", "task": {"id": 1}, "annotation": {"task": 1}}
    gone = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 5}]}
    for content in (made, gone):
        answer = client.post("/webhook", json={**content, "project": project})
        assert answer.json() == {"status": "taken in"}
    client.post("/webhook", json={"action": "START_TRAINING", "project": project})  # waits
    assert caplog.text.count(message) == 2
    assert caplog.text.count("project 7: its annotations cannot be read") == 2


def test_fit_that_takes_long(client, backend, monkeypatch):
    monkeypatch.setattr(server, "TRAINING_WAITS", 0.05)
    gate = threading.Event()
    backend.fit = lambda project: gate.wait(100)
    content = {"action": "START_TRAINING", "project": {"id": 7}}
    assert client.post("/webhook", json=content).json() == {"status": "running"}
    gate.set()


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("/setup", {}, "project"),
        ("/predict", {"project": PROJECT}, "a list of tasks"),
        ("/predict", {"project": PROJECT, "tasks": [1]}, "a list of tasks"),
        ("/predict", {"tasks": []}, "project"),
        ("/webhook", {"action": "START_TRAINING"}, "project"),
        ("/setup", [], "no JSON object"),
    ],
)
def test_bad_requests(client, path, content, message):
    answer = client.post(path, json=content)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_what_a_foreign_page_could_send(client, backend, monkeypatch):
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        headers = {"Content-Type": kind} if kind else {}
        answer = client.post("/predict", content=b'{"project": 7, "tasks": []}', headers=headers)
        assert answer.status_code == 400
    headers = {"Content-Type": "application/json"}
    for broken in (b"{", b"\xff", b"[" * 100_000):
        assert client.post("/predict", content=broken, headers=headers).status_code == 400
    monkeypatch.setattr(server, "MAX_BODY", 10)
    answer = client.post("/predict", content=b" " * 11, headers=headers)
    assert "more than" in answer.json()["error"]
    assert backend.calls == []


def test_error_of_the_backend_is_an_answer(client, backend):
    backend.error = FcpError("no tag draws")
    content = {"project": PROJECT, "tasks": []}
    for path in ("/setup", "/predict"):
        answer = client.post(path, json=content)
        assert (answer.status_code, answer.json()) == (400, {"error": "no tag draws"})


def test_taken_port(backend, fake_studio):
    with pytest.raises(FcpError, match="cannot be listened at"):
        serve(backend, "127.0.0.1", fake_studio.server.server_port, Future().set_result)
    with pytest.raises(FcpError, match="cannot be listened at"):
        serve(backend, "no.such.host.invalid", 0, Future().set_result)


def test_a_page_whose_name_leads_here_is_refused(client, backend):
    """By DNS rebinding it is of this origin, so that its browser asks no leave to send JSON."""
    told = {"action": "ANNOTATIONS_DELETED", "project": 5, "annotations": [{"id": 9}]}
    answer = client.post("/webhook", json=told, headers={"origin": "http://evil.example:9090"})
    assert answer.status_code == 400
    assert answer.json() == {"error": "a web page asks, not Label Studio's server"}
    assert client.post("/webhook", json={**told, "action": [1]}).json() == {"status": "ignored"}
