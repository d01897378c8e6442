"""Threads: affinity, quota and busy neighbours are heeded; what the user says wins."""

import os
import subprocess
import sys

import pytest
import torch

import fcp.system.threads
from fcp.errors import FcpError
from fcp.system.threads import busy_cores, free_cores, lower_threads, quotas, set_threads

#       user nice system idle iowait irq softirq steal guest guest_nice
BEFORE = (
    "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 100 0 0 900 0 0 0 0 7 7\ncpu1 0 0 0 50 5 0 0 0 0 0\nintr 1\n"
)
AFTER = (
    "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 115 3 2 900 0 0 0 0 9 9\ncpu1 0 0 0 60 15 0 0 0 0 0\nintr 2\n"
)


@pytest.fixture(autouse=True)
def threads_as_before(monkeypatch):
    for name in fcp.system.threads.CHOSEN_BY_USER:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def machine(root, *, cgroup="0::/\n", **files):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/stat").write_text(AFTER)
    (root / "proc/self/cgroup").write_text(cgroup)
    for place, text in files.items():
        file = root / "sys/fs/cgroup" / place.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_busy_cores_are_counted_from_ticks():
    assert busy_cores(BEFORE, AFTER, [0]) == 1
    assert busy_cores(BEFORE, AFTER, [1]) == 0  # waiting for a disk leaves a core free
    assert busy_cores(BEFORE, AFTER, [0, 1]) == 1
    assert busy_cores("", "", [0, 1]) == 0


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {}, []),
        ("0::/\n", {"cpu.max": "max 100000\n"}, []),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, [2.5]),
        ("0::/a/b\n", {"a__b__cpu.max": "max 1000", "a__cpu.max": "2000 1000"}, [2.0]),
        ("0::/seen/from/outside\n", {"cpu.max": "150000 100000"}, [1.5]),
        (
            "4:cpu,cpuacct:/x\n3:memory:/y\n",
            {"cpu__cpu.cfs_quota_us": "300000\n", "cpu__cpu.cfs_period_us": "100000\n"},
            [3.0],
        ),
        (
            "4:cpu,cpuacct:/\n",
            {"cpu__cpu.cfs_quota_us": "-1\n", "cpu__cpu.cfs_period_us": "100000\n"},
            [],
        ),
    ],
)
def test_quotas_of_both_versions(cgroup, files, expected, tmp_path):
    assert list(quotas(machine(tmp_path, cgroup=cgroup, **files))) == expected


@pytest.mark.parametrize(
    ("cores", "busy", "quota", "expected"),
    [
        (8, 0.1, "max 1", 8),
        (8, 2.2, "max 1", 6),
        (8, 0.1, "25 10", 2),
        (8, 8, "max 1", 1),
        (8, 0, "5 10", 1),
        (1, 0, "max 1", 1),
    ],
)
def test_free_cores(cores, busy, quota, expected, tmp_path, monkeypatch):
    root = machine(tmp_path, **{"cpu.max": quota})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(fcp.system.threads, "busy_cores", lambda before, after, cores: busy)
    assert free_cores(root) == expected


def test_what_the_user_says_wins(monkeypatch):
    monkeypatch.setattr(fcp.system.threads, "free_cores", lambda: 3)
    assert set_threads() == 3
    assert set_threads(2) == 2
    lower_threads()
    assert torch.get_num_threads() == 2  # never raised
    torch.set_num_threads(5)
    lower_threads()
    assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    torch.set_num_threads(4)  # as torch does at its start
    lower_threads()
    assert set_threads() == 4
    assert set_threads(1) == 1
    with pytest.raises(FcpError, match="threads: expected at least 1, got 0"):
        set_threads(0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_a_process_held_to_one_core_gets_one_thread():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from fcp.system.threads import set_threads; print(set_threads())"
    )
    clean = {k: v for k, v in os.environ.items() if k not in fcp.system.threads.CHOSEN_BY_USER}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean
    )
    assert done.stdout.strip() == "1"
