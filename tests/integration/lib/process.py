"""Starting, watching and ending programs."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_REAPER = Path(__file__).with_name("reaper.py")


class Failed(Exception):
    """A program did not do what it had to."""


def wait_for(condition, what, timeout=20.0, interval=0.02):
    """Calls condition until it returns something true, which is returned; fails after timeout seconds."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise Failed(f"{what}: not within {timeout} s")
        time.sleep(interval)


def run(*command, timeout=60, check=True, **kwargs):
    """Runs a program to its end; its output is in the error if it fails."""
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=kwargs.pop(
        "stdin", None if "input" in kwargs else subprocess.DEVNULL), **kwargs)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(address):
    """True if something accepts connections at a Unix path or a TCP port of 127.0.0.1."""
    family, target = (socket.AF_INET, ("127.0.0.1", address)) if isinstance(address, int) else (
        socket.AF_UNIX, str(address))
    with socket.socket(family) as probe:
        try:
            probe.connect(target)
        except OSError:
            return False
    return True


class Daemon:
    """A program in the background with all its offspring; its output goes to a file."""

    def __init__(self, name, command, folder, env=None):
        self.name = name
        self.log_path = Path(folder) / f"{name}.log"
        pidfile = Path(folder) / f"{name}.pid"
        pidfile.unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self._reaper = subprocess.Popen(
                [sys.executable, "-S", "-E", _REAPER, pidfile, *(str(part) for part in command)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env={**os.environ, **(env or {})})
        wait_for(lambda: pidfile.exists() or self._reaper.poll() is not None, f"{name} starts")
        if not pidfile.exists():
            raise Failed(f"{name} cannot be started:\n{self.log()}")
        self.pid = int(pidfile.read_text(encoding="ascii"))

    def alive(self):
        """True while the program runs."""
        return self._reaper.poll() is None

    def log(self, last=8000):
        """The end of what the program has written."""
        try:
            return self.log_path.read_text(encoding="utf-8", errors="replace")[-last:]
        except FileNotFoundError:
            return ""

    def wait_until(self, condition, what, timeout=20.0):
        """Waits for a condition, but no longer than the program lives."""
        wait_for(lambda: condition() or not self.alive(), f"{self.name}: {what}\n{self.log()}", timeout)
        if not self.alive():
            raise Failed(f"{self.name} ended ({self._reaper.returncode}) before: {what}\n{self.log()}")

    def cpu_seconds(self):
        """CPU time so far, its own and that of all it started that has ended."""
        def times(pid, first):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            return sum(map(int, fields[first:15])) / os.sysconf("SC_CLK_TCK")
        return times(self.pid, 11) + times(self._reaper.pid, 13)

    def signal(self, number):
        """Sends a signal to the program itself."""
        os.kill(self.pid, number)

    def wait(self, timeout=20.0):
        """Waits for the program's end and returns its exit code (128 + N for signal N)."""
        return self._reaper.wait(timeout)

    def kill(self):
        """Ends the program as a crash does, and waits until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()
        self._reaper.stdin.close()

    def stop(self):
        """Ends the program and everything it started."""
        if self._reaper.stdin and not self._reaper.stdin.closed:
            self._reaper.stdin.close()
        try:
            return self._reaper.wait(30)
        except subprocess.TimeoutExpired:
            self._reaper.kill()
            raise Failed(f"{self.name} or something it started cannot be ended") from None
