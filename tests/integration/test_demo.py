"""./demo: a waterfall of a pod that a real containerd and runc ran, again and again, and nothing left of it."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from lib.paths import REPO
from lib.session import cgroup_mounts


def deserted(cgroup):
    """A cgroup without a process: that of a dead container, not of one that another test runs beside this one."""
    try:
        return not (cgroup / "cgroup.procs").read_text(encoding="ascii")
    except OSError:
        return False


def leftovers():
    """What a demo could leave: folders, processes, mounts, cgroups of containers, network interfaces."""
    processes = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "/podspan-demo." in command:
            processes.append(command)
    return {
        "folders": sorted(str(path) for path in Path("/tmp").glob("podspan-demo.*")),
        "processes": processes,
        "mounts": Path("/proc/self/mountinfo").read_text(encoding="utf-8").count("podspan-demo"),
        "cgroups": sorted(str(path) for mount in cgroup_mounts() for path in mount.glob("k8s.io/*/") if deserted(path)),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
    }


@pytest.fixture(name="untouched")
def fixture_untouched():
    """Fails the test if something is there after it that was not before."""
    before = leftovers()
    yield
    # What lost its parent is ours to reap, as it would be the first process's elsewhere.
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    assert leftovers() == before


def demo():
    return subprocess.run([REPO / "demo"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize("turn", ["first", "second"])
def test_waterfall(untouched, turn):
    done = demo()
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if re.search(r"\d (ns|us|µs|ms|s)\b", line)]
    from_cri = [line for line in rows if "podspan-cri" in line]
    from_hook = [line for line in rows if "podspan-hook" in line]
    for call in ("RunPodSandbox", "CreateContainer", "StartContainer", "StopContainer", "RemovePodSandbox"):
        assert any(call in line for line in from_cri), f"{turn}: no {call} of podspan-cri\n{done.stdout}"
    for name in ("create", "container", "poststart"):
        assert any(re.search(rf"\b{name}\b", line) for line in from_hook), f"{turn}: no {name} of the hook\n{done.stdout}"
    assert len(re.findall(r"^Trace [0-9a-f]{32}\b", done.stdout, re.MULTILINE)) == 1
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(untouched, number):
    """Ctrl-C while the node runs."""
    with subprocess.Popen([REPO / "demo"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True, text=True) as process:
        for line in process.stdout:
            if line.startswith("containerd"):
                break
        os.killpg(process.pid, number)
        assert process.wait(60) == 130


def test_usage():
    assert subprocess.run([REPO / "demo", "--help"], capture_output=True, check=False).returncode == 0
    assert subprocess.run([REPO / "demo", "nonsense"], capture_output=True, check=False).returncode == 2
