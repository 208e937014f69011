"""A cgroup of version 2 with a memory controller's files, on a machine whose kernel has that controller in version 1.

The hierarchy is the kernel's, mounted where version 2 has it; the cgroup's files are ordinary ones in a tmpfs that covers
its folder. inotify tells of a write to them as it does of the kernel's change of memory.events.
"""

import os
from pathlib import Path

from .session import mount, unmount, unmount_below

_ROOT = Path("/sys/fs/cgroup")
_KEYS = ["low", "high", "max", "oom", "oom_kill", "oom_group_kill"]


def events(**counters):
    """The text of memory.events, one digit each."""
    return "".join(f"{key} {counters.get(key, 0)}\n" for key in _KEYS)


class Unified:
    """A context manager; the process is put into the cgroup with enter(), before cover()."""

    def __init__(self, name):
        self.folder = _ROOT / name

    def __enter__(self):
        mount("cgroup2", _ROOT, "cgroup2")
        try:
            self.folder.mkdir()
        except OSError:
            unmount(_ROOT)
            raise
        return self

    def enter(self, pid):
        """Puts a process into it."""
        (self.folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def cover(self, **counters):
        """Puts the files there."""
        mount("tmpfs", self.folder, "tmpfs")
        for name, text in (("memory.events", events(**counters)), ("memory.peak", "54321\n"),
                           ("cpu.stat", "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n")):
            (self.folder / name).write_text(text, encoding="ascii")

    def change(self, **counters):
        """The counters change, at once as the kernel's do."""
        fd = os.open(self.folder / "memory.events", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, events(**counters).encode(), 0)
        finally:
            os.close(fd)

    def remove(self):
        """The files go, as with a cgroup that is removed."""
        for path in self.folder.iterdir():
            path.unlink()

    def __exit__(self, *_):
        unmount_below(self.folder)
        try:
            self.folder.rmdir()
        finally:
            unmount(_ROOT)
