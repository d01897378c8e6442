"""Free memory: the system's table, the graphics card's tool, what counts for which device."""

import platform
import stat
import subprocess
import sys

import pytest

from fcp.system import memory


def test_linux_tells_what_is_available(tmp_path):
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:  16777216 kB\nMemAvailable:  6291456 kB\n")
    assert memory.system_memory(table) == 6
    assert memory.system_memory(tmp_path / "none") > 0  # all of this machine's


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/box\n", {"box/memory.max": 8, "box/memory.current": 3}, [5]),
        ("0::/\n", {"memory.max": "max", "memory.current": 3}, []),
        (
            "3:cpu,memory:/box\n2:cpu:/\n",
            {"memory/memory.limit_in_bytes": 8, "memory/memory.usage_in_bytes": 9},
            [0],
        ),
        ("0::/a/b\n", {"memory.max": 4, "memory.current": 0, "a/memory.max": 2}, [4]),
    ],
)
def test_the_memory_of_groups_of_both_versions(tmp_path, cgroup, files, expected):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for place, value in files.items():
        file = tmp_path / "sys/fs/cgroup" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value if value == 'max' else value * memory.GIB}\n")
    assert list(memory.group_memory(tmp_path)) == expected
    for file in (tmp_path / "sys/fs/cgroup").rglob("memory.max"):
        (file.parent / "memory.stat").write_text(f"anon 5\ninactive_file {memory.GIB}\n")
    more = 1 if "0::" in cgroup else 0
    assert list(memory.group_memory(tmp_path)) == [one + more for one in expected]


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Put a graphics card's tool on the PATH that prints what it is told to."""

    def put(script):
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(memory.shutil, "which", lambda name: str(path))
        monkeypatch.setattr(memory.metadata, "version", lambda name: "2.8.0")

    return put


def test_the_first_graphics_card_counts_for_auto_and_cuda(tool):
    tool("echo 20480; echo 81920")
    assert memory.free_memory("auto") == memory.free_memory("cuda:0") == 20
    free = min([memory.system_memory(), *memory.group_memory()])
    assert memory.free_memory("cpu") == pytest.approx(free, rel=0.2)


@pytest.mark.parametrize(
    ("device", "visible", "asked"),
    [
        ("cuda", None, "0"),
        ("cuda:1", None, "1"),
        ("cuda:1", "3, 5", "5"),
        ("auto", "GPU-7", "GPU-7"),
    ],
)
def test_the_card_that_is_asked_for_counts(tool, monkeypatch, tmp_path, device, visible, asked):
    tool(f"echo $3 > {tmp_path}/asked; echo 20480")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert memory.free_memory(device) == 20
    assert (tmp_path / "asked").read_text() == f"--id={asked}\n"


@pytest.mark.parametrize("script", ["exit 9", "echo '[N/A]'"])
def test_a_card_that_does_not_answer_leaves_the_system(tool, script):
    tool(script)
    assert memory.graphics_memory() is None
    free = min([memory.system_memory(), *memory.group_memory()])
    assert memory.free_memory("auto") == pytest.approx(free, rel=0.2)


def test_a_card_that_torch_cannot_use_does_not_count(tool, monkeypatch):
    tool("echo 20480")
    monkeypatch.setattr(memory.metadata, "version", lambda name: "2.8.0+cpu")
    assert memory.graphics_memory() is None


def test_peak_memory_only_grows_and_may_be_unknown(monkeypatch):
    before = memory.peak_memory()
    assert before is None or 2**20 < before <= memory.peak_memory()
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert memory.peak_memory() is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told")
@pytest.mark.parametrize("told", [False, True])
def test_freed_memory_is_kept_once_told(told):
    program = (
        "import torch; from pathlib import Path; from fcp.system.memory import keep_freed_memory\n"
        f"if {told}: keep_freed_memory()\n"
        "held = lambda: int(Path('/proc/self/statm').read_text().split()[1]) * 4096\n"
        "blocks = [torch.ones(25_000_000) for _ in range(3)]\n"  # 300 MB
        "before = held(); del blocks; print((before - held()) / 1e6)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    given_back = float(ran.stdout)
    assert given_back < 30 if told else given_back > 270
