"""The demo's photos with their masks: public domain, carried by packages that tests have."""

import io
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from fcp.cli.demo import demo_file, demo_mask, demo_photo
from fcp.system.documents import load_json


@dataclass(frozen=True)
class Shown:
    pixels: np.ndarray
    mask: np.ndarray

    @property
    def png(self):
        stream = io.BytesIO()
        Image.fromarray(self.pixels).save(stream, "PNG")
        return stream.getvalue()


@pytest.fixture(scope="session")
def photos():
    """Return name → photo with mask: two persons, a cat, and the same cat mirrored and cropped."""
    content = load_json(demo_file("scenes.json"))["photos"]
    found = {}
    for name in ("astronaut", "grace_hopper", "chelsea"):
        pixels = demo_photo(**content[name])
        found[name] = Shown(pixels, demo_mask(name, pixels))
    cat = found["chelsea"]
    parts = (part[:300, 120:451][:, ::-1] for part in (cat.pixels, cat.mask))
    return {**found, "chelsea_again": Shown(*(np.ascontiguousarray(part) for part in parts))}


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


class FakeStudio:
    """A small HTTP server that answers as Label Studio does; notes what it was asked.

    Attributes:
        answers: path → (status, headers, content); bytes, or what becomes JSON.
        asked: (path with query, Authorization).
    """

    def __init__(self):
        fake = self
        self.answers = {}
        self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                fake.asked.append((self.path, self.headers.get("Authorization")))
                status, headers, content = fake.find(self.path.partition("?")[0])
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def find(self, path):
        return self.answers.get(path, (404, {}, b"none"))

    def put(self, path, content, status=200, **headers):
        self.answers[path] = (status, headers, content)


@pytest.fixture
def fake_studio():
    """Yield a running ``FakeStudio``."""
    fake = FakeStudio()
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.02,))
    thread.start()
    yield fake
    fake.server.shutdown()
    thread.join()
    fake.server.server_close()
