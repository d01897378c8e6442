"""The client: only Label Studio's own host is asked, only it gets the key, and errors are clear."""

import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from fcp.errors import FcpError
from fcp.label_studio import client
from fcp.label_studio.client import LabelStudio, project_id


@pytest.mark.parametrize(
    "path",
    ["/data/upload/1/a@2.png", "/data/local-files/?d=a/b.png", "/data/local-files/?d=%C3%A5%20b"],
)
def test_own_pictures_with_the_key(fake_studio, path):
    fake_studio.put(path.partition("?")[0], b"picture")
    studio = LabelStudio(f"{fake_studio.url}/", "abc")
    assert studio.picture(path) == b"picture"
    assert studio.picture(fake_studio.url + path) == b"picture"
    assert fake_studio.asked == [(path, "Token abc")] * 2


def test_names_as_people_type_them(fake_studio):
    fake_studio.put("/data/%C3%A5%20b.png", b"picture")
    assert LabelStudio(fake_studio.url).picture("/data/å b.png") == b"picture"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png",
        "https://127.0.0.1/a.png",
        "http://127.0.0.1:1/a.png",
        "//example.org/a.png",
        "http://169.254.169.254/latest/meta-data",
        r"http:\\example.org/a.png",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.png",
        "s3://bucket/a.png",
        "http://user:word@127.0.0.1/a.png",
        "http://127.0.0.1:99999999/a.png",
        "http://[::1/a.png",
        "HTTP://EXAMPLE.org",
    ],
)
def test_other_hosts_are_refused(fake_studio, url):
    with pytest.raises(
        FcpError, match=r"fetched from|expected a URL of http|no URL|cannot be reached|404"
    ):
        LabelStudio(fake_studio.url, "abc").picture(url)
    assert all(path.startswith("/") for path, _ in fake_studio.asked)


def test_redirects_are_asked_too(fake_studio):
    studio = LabelStudio(fake_studio.url, "abc")
    fake_studio.put("/near", b"", 302, Location="/data/a.png")
    fake_studio.put("/far", b"", 302, Location="http://example.org/a.png")
    fake_studio.put("/file", b"", 302, Location="file:///etc/passwd")
    fake_studio.put("/round", b"", 302, Location="/round")
    fake_studio.put("/data/a.png", b"picture")
    assert studio.picture("/near") == b"picture"
    for path, message in (
        ("/far", "--allow-host example.org"),
        ("/file", "expected a URL of http"),
        ("/round", "again and again"),
    ):
        with pytest.raises(FcpError, match=message):
            studio.picture(path)


@pytest.mark.parametrize("with_port", [False, True])
def test_allowed_host_gets_no_key(fake_studio, with_port):
    fake_studio.put("/a.png", b"picture")
    port = fake_studio.server.server_port
    allowed = f"127.0.0.1:{port}" if with_port else "127.0.0.1"
    studio = LabelStudio("http://localhost:1", "abc", [allowed])
    assert studio.picture(f"{fake_studio.url}/a.png") == b"picture"
    assert fake_studio.asked == [("/a.png", None)]


def test_data_uris():
    studio = LabelStudio("http://localhost:1")
    packed = base64.b64encode(b"picture").decode()
    assert studio.picture(f"data:image/png;base64,{packed}") == b"picture"
    assert studio.picture("data:text/plain,a%20b") == b"a b"
    for bad in ("data:image/png;base64", "data:image/png;base64,@@@@"):
        with pytest.raises(FcpError, match="data URI"):
            studio.picture(bad)


def test_large_pictures_and_missing_ones(fake_studio, monkeypatch):
    monkeypatch.setattr(client, "MAX_PICTURE", 1 << 20)
    fake_studio.put("/large", b" " * ((1 << 20) + 1))
    studio = LabelStudio(fake_studio.url)
    with pytest.raises(FcpError, match="more than 1 MiB"):
        studio.picture("/large")
    with pytest.raises(FcpError, match="answers 404"):
        studio.picture("/none?secret=1")
    fake_studio.put("/closed", b"", 401)
    with pytest.raises(FcpError, match="--api-key"):
        studio.picture("/closed")
    with pytest.raises(FcpError, match="cannot be reached"):
        LabelStudio("http://127.0.0.1:9").picture("/a.png")


def test_personal_token_is_exchanged(fake_studio):
    fake_studio.put("/api/token/refresh/", {"access": "short"})
    fake_studio.put("/data/a.png", b"picture")
    studio = LabelStudio(fake_studio.url, "a.b.c")
    for _ in range(2):
        studio.picture("/data/a.png")
    refresh, *rest = fake_studio.asked
    assert refresh == ("/api/token/refresh/", None)
    assert rest == [("/data/a.png", "Bearer short")] * 2
    fake_studio.put("/api/token/refresh/", {"detail": "no"}, 401)
    with pytest.raises(FcpError, match="does not take the API key"):
        LabelStudio(fake_studio.url, "a.b.c").picture("/data/a.png")


def test_access_token_whose_time_is_over_is_renewed_at_once(fake_studio, monkeypatch):
    """What is asked first after its few minutes is not lost; what stays refused is no loop."""
    found = fake_studio.find
    good = {"Bearer first"}

    def find(path):
        wrong = path == "/data/a.png" and fake_studio.asked[-1][1] not in good
        return (401, {}, b"") if wrong else found(path)

    monkeypatch.setattr(fake_studio, "find", find)
    fake_studio.put("/data/a.png", b"picture")
    fake_studio.put("/api/token/refresh/", {"access": "first"})
    studio = LabelStudio(fake_studio.url, "a.b.c")
    studio.picture("/data/a.png")
    good = {"Bearer second"}
    fake_studio.put("/api/token/refresh/", {"access": "second"})
    fake_studio.asked.clear()
    assert studio.picture("/data/a.png") == b"picture"
    assert studio.picture("/data/a.png") == b"picture"
    refresh = ("/api/token/refresh/", None)
    first, second = (("/data/a.png", f"Bearer {name}") for name in ("first", "second"))
    assert fake_studio.asked == [first, refresh, second, second]

    good = set()
    fake_studio.asked.clear()
    with pytest.raises(FcpError, match=r"401.*--api-key"):
        studio.picture("/data/a.png")
    assert fake_studio.asked == [second, refresh, second]
    fake_studio.put("/api/token/refresh/", {"detail": "no"}, 401)
    with pytest.raises(FcpError, match="does not take the API key"):
        studio.picture("/data/a.png")


def test_refused_legacy_token_is_not_tried_again(fake_studio):
    fake_studio.put("/data/a.png", b"", 403)
    with pytest.raises(FcpError, match=r"403.*--api-key"):
        LabelStudio(fake_studio.url, "abc").picture("/data/a.png")
    assert fake_studio.asked == [("/data/a.png", "Token abc")]


def test_given_key_goes_before_the_handed_out(fake_studio):
    fake_studio.put("/a", b"")
    studio = LabelStudio(fake_studio.url)
    assert not studio.has_key
    studio.adopt_key(None)
    assert not studio.has_key
    studio.adopt_key("theirs")
    studio.picture("/a")
    given = LabelStudio(fake_studio.url, "mine")
    given.adopt_key("theirs")
    given.picture("/a")
    assert [key for _, key in fake_studio.asked] == ["Token theirs", "Token mine"]


def test_annotated_tasks_page_by_page(fake_studio, monkeypatch):
    monkeypatch.setattr(client, "PAGE", 1)
    fake_studio.put("/api/tasks", {"total": 2, "tasks": [{"id": 1}]})
    found = list(LabelStudio(fake_studio.url, "abc").annotated_tasks(7))
    assert found == [{"id": 1}, {"id": 1}]
    queries = [parse_qs(urlsplit(path).query) for path, _ in fake_studio.asked]
    assert [query["page"] for query in queries] == [["1"], ["2"]]
    assert {query["project"][0] for query in queries} == {"7"}
    assert json.loads(queries[0]["query"][0])["ordering"] == ["-tasks:updated_at"]


@pytest.mark.parametrize("content", [b"<html>", [], {}, {"tasks": [], "total": "many"}])
def test_answers_of_something_else(fake_studio, content):
    fake_studio.put("/api/tasks", content)
    with pytest.raises(FcpError, match=r"not an answer|not as expected"):
        list(LabelStudio(fake_studio.url).annotated_tasks(7))


def test_no_url():
    for url in ("", "localhost:8080", "file:///tmp"):
        with pytest.raises(FcpError, match="expected a URL of http"):
            LabelStudio(url)


def test_project_numbers():
    assert [project_id(one) for one in ("7.1700000000", "7", 7, {"id": 7})] == [7] * 4
    for bad in (None, "", "../7", "-1", True, {"id": None}, {}, "٣", "9" * 40):
        with pytest.raises(FcpError, match="project"):
            project_id(bad)
