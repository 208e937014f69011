"""Runs one program and answers for every process that comes from it.

    reaper.py PIDFILE COMMAND…

Daemons such as containerd's shims and conmon leave their parent on purpose. This process is their subreaper, so they
become its children and can be found. When its standard input closes (its user is gone, however that came about), or on
SIGTERM, it ends the program gently and then kills all that is left. When the program ends by itself, so does the rest.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 10


def descendants(root):
    """The ids of all processes below root."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="latin-1") as stat:
                    parent = int(stat.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def reap():
    """Collects the dead; returns their {pid: status}, or None if there is no child at all."""
    dead = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return dead or None
        if pid == 0:
            return dead
        dead[pid] = status


def kill_all():
    """Kills and reaps until nothing is left; gives up on what cannot die."""
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        below = descendants(os.getpid())
        if not below:
            return
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
        reap()


def supervise(child):
    """Waits for the end of the program or of our user; returns the program's wait status or None."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    stopping = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watched, deadline = [0, wake_read], None
    while True:
        status = (reap() or {}).get(child)
        if status is not None:
            return status
        if stopping and deadline is None:
            deadline = time.monotonic() + GRACE_SECONDS
            os.kill(child, signal.SIGTERM)
        if deadline is not None and time.monotonic() >= deadline:
            return None
        ready, _, _ = select.select(watched, [], [], 0.5)
        if wake_read in ready:
            os.read(wake_read, 4096)
        if 0 in ready and not os.read(0, 1):
            watched = [wake_read]
            stopping.append(True)


def main():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    program = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, start_new_session=True)
    with open(sys.argv[1] + ".new", "w", encoding="ascii") as file:
        file.write(str(program.pid))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    status = supervise(program.pid)
    kill_all()
    code = 1 if status is None else os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
