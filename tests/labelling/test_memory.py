"""What a large photo costs in memory, from its file to its mask, overlay and thumbnail."""

import subprocess
import sys

import pytest
from PIL import Image

SIDE = 6000
MOST = 7  # bytes for each pixel; 4.7 are used, of which 2 grow with it

# Everything that a run does to a photo but the network itself, whose cost does not know its size.
SCRIPT = """
import sys
from pathlib import Path

import numpy as np
import torch

from fcp.data.photos import read_photo
from fcp.data.transforms import to_square
from fcp.labelling.export import read_back
from fcp.labelling.photos import Job, _write
from fcp.labelling.photo_results import PictureResult
from fcp.inference.prediction import Maps, predict_classes


def peak():
    # Not ru_maxrss, which starts at what the process had that started this one.
    line = next(x for x in open("/proc/self/status") if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def do(file):
    job = Job(Path(file), Path(file).stem)
    photo = read_photo(job.picture)[0]
    to_square(photo.pixels, 448)
    maps = Maps(torch.linspace(-5, 5, 64).expand(64, 64).clone(), *torch.zeros(2, 8, 8))
    found = predict_classes({"thing": maps}, photo.size)
    assert found.labels.shape == photo.size
    assert found.classes["thing"].area == found.labels.size // 2
    _write(job, photo.drawn, found, out)
    del found
    record = PictureResult(file, "", 0.0, mask=job.mask, overlay=job.overlay)
    assert read_back(record, out, several=False)[0].sum() == photo.size[0] * photo.size[1] // 2


out = Path(sys.argv[3])
for name in ("masks", "overlays"):
    (out / name).mkdir()
do(sys.argv[1])
before = peak()
do(sys.argv[2])
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_memory_for_each_pixel_of_a_large_photo(tmp_path):
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    Image.new("RGB", (64, 64), (90, 120, 200)).save(small)
    Image.new("RGB", (SIDE, SIDE), (90, 120, 200)).save(large)
    command = [sys.executable, "-c", SCRIPT, str(small), str(large), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    more = int(done.stdout) / SIDE**2
    assert 1 < more < MOST, f"{more:.1f} bytes for each pixel"
