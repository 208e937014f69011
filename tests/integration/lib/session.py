"""The walled garden that a test run lives in.

The whole run has a mount and a network namespace of its own, so that every mount, bridge, firewall rule and network
namespace that a runtime leaves behind goes with the last process, whatever happens. Paths that runtimes have compiled
in (/run/containerd and the like) are covered by empty tmpfs mounts. What others mount and unmount meanwhile is not
seen.
"""

import ctypes
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

from .process import run
from .reaper import descendants

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
MNT_DETACH = 2
PR_SET_CHILD_SUBREAPER = 36

_COVERED = ["/run/containerd", "/run/netns", "/run/crio", "/run/runc", "/run/crun", "/run/libpod", "/run/containers",
            "/var/lib/cni", "/var/lib/containers", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods",
            "/run/systemd/journal", "/dev/shm"]
_HUGETLB = Path("/sys/fs/cgroup/hugetlb")
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name, *arguments):
    if getattr(_libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def mount(source, target, kind, flags=0, data=None):
    """mount(2)."""
    encode = lambda text: None if text is None else str(text).encode()
    _call("mount", encode(source), encode(target), encode(kind), flags, encode(data))


def mounts_below(folder):
    """Mount points at and below a folder, deepest last."""
    prefix = str(folder)
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        for line in table:
            point = line.split()[4].replace("\\040", " ")
            if point == prefix or point.startswith(prefix + "/"):
                found.append(point)
    return found


def unmount(target):
    """Takes off what was mounted there last."""
    _call("umount2", os.fsencode(target), MNT_DETACH)


def unmount_below(folder):
    """Unmounts everything at and below a folder."""
    for point in reversed(mounts_below(folder)):
        unmount(point)


def cgroup_mounts():
    """Where the cgroup hierarchies are mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        rows = [line.split() for line in table]
    return [Path(row[4]) for row in rows if row[row.index("-") + 1] in ("cgroup", "cgroup2")]


def remove_cgroups(name):
    """Removes the cgroup /name with all below it from every hierarchy."""
    for hierarchy in cgroup_mounts():
        for folder, _, _ in os.walk(hierarchy / name.lstrip("/"), topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass


def _children():
    """The processes whose parent we are: {pid: (name, state)}."""
    ours, found = str(os.getpid()), {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            name, _, rest = Path(f"/proc/{entry}/stat").read_text(encoding="latin-1").partition("(")[2].rpartition(")")
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if parent == ours:
            found[int(entry)] = (name, state)
    return found


def end_orphans(*names):
    """Ends the programs of these names that were left to us by their parents, as podman leaves its conmon."""
    for pid, (name, _) in _children().items():
        if name in names:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def reap_orphans(*names, seconds=2):
    """Collects the dead that were left to us, as the first process does; those of these names get time to die.

    podspand's helpers die with it, and it waits for none; what a test starts and kills may leave children that nobody
    waits for. A dead process is no leftover.
    """
    end = time.monotonic() + seconds
    while True:
        children = _children()
        for pid in [pid for pid, (_, state) in children.items() if state == "Z"]:
            os.waitpid(pid, 0)
        if not any(name in names and state != "Z" for name, state in children.values()) or time.monotonic() >= end:
            return
        time.sleep(0.02)


def _command_line(pid):
    try:
        line = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
        return line or Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")[:64]
    except OSError:
        return "gone"


class Session:
    """Enters the namespaces; `folder` is where the tests put their files."""

    def __init__(self):
        if os.geteuid() != 0:
            raise PermissionError("the integration tests run containers: they need root")
        self._made = []
        _call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _call("unshare", CLONE_NEWNS | CLONE_NEWNET)
        mount(None, "/", None, MS_REC | MS_PRIVATE)
        run("ip", "link", "set", "lo", "up")
        self.folder = Path(tempfile.mkdtemp(prefix="psit-", dir="/tmp"))
        os.chmod(self.folder, 0o755)
        self._keep = bool(os.environ.get("PODSPAN_TEST_KEEP"))
        if not self._keep:
            mount("tmpfs", self.folder, "tmpfs", data="mode=755,size=75%")
        for path in _COVERED:
            self._cover(path)
        self._mount_hugetlb()

    def _make_folder(self, path):
        missing = [part for part in (path, *path.parents) if not part.exists()]
        path.mkdir(parents=True, exist_ok=True)
        self._made += missing

    def _cover(self, path):
        self._make_folder(Path(path))
        mount("tmpfs", path, "tmpfs")

    def _mount_hugetlb(self):
        """CRI-O's containers need the hugetlb controller, which not every machine with cgroup v1 has mounted."""
        if not Path("/sys/fs/cgroup/memory").is_dir() or os.path.ismount(_HUGETLB):
            return
        with open("/proc/cgroups", encoding="ascii") as table:
            if not any(line.startswith("hugetlb\t") for line in table):
                return
        self._make_folder(_HUGETLB)
        mount("cgroup", _HUGETLB, "cgroup", data="hugetlb")

    def leftovers(self):
        """What the tests have left behind: processes, mounts, cgroups. Nothing, if each cleaned up after itself."""
        reap_orphans("podspand-spawn", "podspan-export")
        processes = [f"process {pid}: {_command_line(pid)}" for pid in descendants(os.getpid())]
        mounts = [f"mount {point}" for point in mounts_below(self.folder) if point != str(self.folder)]
        cgroups = [f"cgroup {path}" for hierarchy in cgroup_mounts() for path in hierarchy.glob(f"{self.folder.name}-*")]
        return processes + mounts + cgroups

    def close(self):
        """Takes down what would outlive the namespaces: empty folders under the mounts."""
        if not self._keep:
            unmount_below(self.folder)
            shutil.rmtree(self.folder, ignore_errors=True)
        for path in _COVERED:
            unmount_below(path)
        if _HUGETLB in self._made:
            unmount_below(_HUGETLB)
        for folder in sorted(self._made, key=lambda made: -len(made.parts)):
            try:
                folder.rmdir()
            except OSError:
                pass
