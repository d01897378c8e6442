"""`fcp segment` on films: videos, folders of frames, memory, DAVIS's layout, resumed runs."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_files import needs_av, write_video

from fcp.formats.davis import davis_palette
from fcp.inference.segmenter import FewShotSegmenter

pytestmark = needs_av
FREE = ("--threshold", "0", "--min-score", "0", "--min-area", "0", "--appearance", "off")


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture
def clip(tmp_path):
    """A film of four frames at uneven times."""
    pictures = [noise(seed) for seed in range(4)]
    return write_video(tmp_path / "cat.mp4", pictures, pts=[0, 40, 500, 600])


def records(out):
    return json.loads((out / "results.json").read_text())["results"]


def test_each_frame_has_its_record_and_its_mask_in_davis_layout(run, clip, tmp_path):
    done = run(*FREE, query=(clip,))
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    found = records(out)
    assert [one["mask"] for one in found] == [f"masks/cat/{n:05}.png" for n in range(4)]
    assert [one["time"] for one in found] == pytest.approx([0, 0.04, 0.5, 0.6], abs=1e-3)
    assert {one["file"] for one in found} == {str(clip)}
    for number in range(4):
        with Image.open(out / f"Annotations/cat/{number:05}.png") as painted:
            assert painted.mode == "P"
            assert painted.getpalette() == davis_palette().ravel().tolist()
            values = np.asarray(painted)
        mask = np.asarray(Image.open(out / found[number]["mask"]))
        np.testing.assert_array_equal(values, (mask > 0).astype(np.uint8))
    assert not (out / "pages").exists()


def test_a_resumed_film_is_the_same(run, clip, tmp_path, monkeypatch):
    assert run(*FREE, "--memory", 2, query=(clip,)).exit_code == 0
    out = tmp_path / "out"
    whole = {file.name: file.read_bytes() for file in (out / "masks/cat").iterdir()}
    assert run(*FREE, "--memory", 2, "--overwrite", query=(clip,)).exit_code == 0
    (out / "masks/cat/00002.png").unlink()
    (out / "masks/cat/00003.png").unlink()
    asked = []
    original = FewShotSegmenter.predict_batch
    monkeypatch.setattr(
        FewShotSegmenter,
        "predict_batch",
        lambda self, images, **how: asked.append(1) or original(self, images, **how),
    )
    done = run(*FREE, "--memory", 2, "--resume", query=(clip,))
    assert done.exit_code == 0, done.output
    assert len(asked) == 2
    again = {file.name: file.read_bytes() for file in (out / "masks/cat").iterdir()}
    assert again == whole


def test_memory_changes_the_support_of_later_frames(run, clip, monkeypatch):
    from fcp.inference import clip_memory

    monkeypatch.setattr(clip_memory, "SURE", 0.0)
    encoded = []
    original = FewShotSegmenter.encode
    monkeypatch.setattr(
        FewShotSegmenter,
        "encode",
        lambda self, examples, **how: (
            encoded.append({name: len(list(pairs)) for name, pairs in examples.items()})
            or original(self, examples, **how)
        ),
    )
    assert run(*FREE, "--memory", 2, query=(clip,)).exit_code == 0
    assert list(encoded[0].values()) == [1]
    assert list(encoded[1].values()) == [2]  # the example, and the first frame
    assert len(encoded) == 2  # at most once in EVERY frames


def test_a_folder_of_frames_is_a_film(run, photos, tmp_path):
    done = run(*FREE, "--frames", "--overlay-video")
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    names = [f"photos/p{n}" for n in range(4)]
    assert [one["mask"] for one in records(out)] == [f"masks/{name}.png" for name in names]
    assert all((out / f"Annotations/{name}.png").is_file() for name in names)
    assert (out / "films/photos.mp4").is_file()


def test_files_of_a_folder_of_frames_are_its_film(run, photos, tmp_path, monkeypatch):
    from fcp.inference.clip_memory import ClipMemory

    seen = []
    original = ClipMemory.see
    monkeypatch.setattr(
        ClipMemory, "see", lambda self, sure, show: seen.append(1) or original(self, sure, show)
    )
    files = sorted(photos.iterdir(), reverse=True)
    done = run(*FREE, "--frames", "--overlay-video", "--memory", 1, query=files)
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    names = [f"photos/p{n}" for n in range(4)]
    assert [one["mask"] for one in records(out)] == [f"masks/{name}.png" for name in names]
    assert all((out / f"Annotations/{name}.png").is_file() for name in names)
    assert [file.name for file in (out / "films").iterdir()] == ["photos.mp4"]
    assert len(seen) == 4


def test_an_overlaid_film_is_in_order_after_more_frames(run, photos, tmp_path, monkeypatch):
    from fcp.data import video_writing

    shown = []

    def written(path, pictures):
        shown.append([(pixels.shape[0], time) for pixels, time in pictures])
        path.write_bytes(b"film")

    monkeypatch.setattr(video_writing, "write_video", written)
    first, later = sorted(photos.iterdir())[:2], sorted(photos.iterdir())[2:]
    kept = [file.read_bytes() for file in later]
    for file in later:
        file.unlink()
    assert run(*FREE, "--frames", "--overlay-video").exit_code == 0
    for file, content in zip(later, kept, strict=True):
        file.write_bytes(content)
    for file in first:
        file.unlink()
    done = run(*FREE, "--frames", "--overlay-video", "--resume")
    assert done.exit_code == 0, done.output
    assert shown[-1] == [(30 + 7 * n, n / 25) for n in range(4)]


def test_an_overlaid_film_keeps_the_times(run, clip, tmp_path):
    from fcp.data.video import read_clip, read_frame

    done = run(*FREE, "--overlay-video", query=(clip,))
    assert done.exit_code == 0, done.output
    film = tmp_path / "out/films/cat.mp4"
    assert read_clip(film).times == pytest.approx([0, 0.04, 0.5, 0.6], abs=2e-3)
    assert read_frame(film, 4)[0].shape == (40, 50, 3)
    assert "films/cat.mp4" in json.loads((tmp_path / "out/results.json").read_text())["files"]


def test_a_film_in_a_folder_is_named_and_a_damaged_one_fails_alone(run, photos, clip, tmp_path):
    clip.rename(photos / "cat.mp4")
    done = run(*FREE)
    assert done.exit_code == 0, done.output
    assert "1 video in a folder, which has to be named by itself" in done.output.replace("\n", " ")
    Path(photos / "cat.mp4").write_bytes(b"no film")
    done = run(*FREE, "--overwrite", query=(photos / "p0.jpg", photos / "cat.mp4"))
    assert done.exit_code == 1
    assert "cat.mp4: damaged, or no video" in done.output.replace("\n", "")
    assert [one["error"] is None for one in records(tmp_path / "out")] == [True, False]


@pytest.mark.parametrize("option", [("--memory", 2), ("--overlay-video",)])
def test_options_of_films_are_refused_for_photos_alone(run, photos, tmp_path, option):
    done = run(*FREE, *option)
    assert done.exit_code == 1
    assert "for films alone, and --query names none; with --frames" in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()
