"""A small service manager, where no systemd runs: it keeps a program's listening socket, takes its notifications, starts
it again when it ends, and kills it when its watchdog runs out."""

import array
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from .process import wait_for

_EXEC = 'exec 3<&"$1"; shift; export LISTEN_PID=$$ WATCHDOG_PID=$$; exec "$@"'
_CREDENTIALS = struct.Struct("3i")


class Supervisor:
    """Runs a command as systemd runs a service of Type=notify, Restart=always, with a socket unit beside it.

    `main` is its process id, `messages` what it has said (from the main process only, as NotifyAccess=main has it),
    `heard` the same with the time of each datagram, `restarts` how often it was started again, `watchdog_kills` how often
    because it was silent. As with systemd 252, the watchdog begins with the READY=1 of a start, and from then on only
    WATCHDOG=1 of the main process feeds it: no MAINPID=, no later READY=1.
    """

    def __init__(self, name, command, listen, folder, watchdog=None, restart_delay=0.05, env=None):
        self.name, self.listen = name, Path(listen)
        self.log_path = Path(folder) / f"{name}.log"
        self._command, self._env = [str(part) for part in command], dict(env or {})
        self._watchdog, self._restart_delay = watchdog, restart_delay
        self.main, self.restarts, self.watchdog_kills, self.messages, self.refused = 0, 0, 0, [], []
        self.heard, self._ready = [], False
        self._last_sign, self._stopping = 0.0, False
        self.listen.parent.mkdir(parents=True, exist_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.listen))
        os.chmod(self.listen, 0o600)
        self.listener.listen(4096)
        self._notify_path = Path(folder) / f"{name}.notify"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._notify.bind(str(self._notify_path))
        self._wake_read, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def environment(self, main=True):
        """What the manager adds to a process' environment; a control process (ExecReload=) gets no watchdog."""
        added = {"NOTIFY_SOCKET": str(self._notify_path)} if main else {}
        if main and self._watchdog:
            added["WATCHDOG_USEC"] = str(int(self._watchdog * 1e6))
        return {**os.environ, **self._env, **added}

    def _start(self):
        with open(self.log_path, "ab") as log:
            process = subprocess.Popen(
                ["/bin/bash", "-c", _EXEC, "bash", str(self.listener.fileno()), *self._command], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, pass_fds=[self.listener.fileno()],
                env={**self.environment(), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "podspan-cri"})
        process.returncode = 0  # waited for below, by its id
        self._ready, self._last_sign = False, time.monotonic()
        self._become_main(process.pid)

    def _become_main(self, pid):
        if self.main:
            os.close(self._pidfd)
        self.main, self._pidfd = pid, os.pidfd_open(pid)

    def _run(self):
        while not self._stopping:
            timeout = None
            if self._watchdog and self._ready:
                timeout = self._last_sign + self._watchdog - time.monotonic()
                if timeout <= 0:
                    self.watchdog_kills += 1
                    os.kill(self.main, signal.SIGKILL)
                    self._last_sign = time.monotonic()
                    continue
            ready, _, _ = select.select([self._notify, self._pidfd, self._wake_read], [], [], timeout)
            if self._notify in ready:
                self._receive()
            elif self._pidfd in ready:  # after all it has said, as systemd does
                self._reap(self.main)
                if not self._stopping:
                    time.sleep(self._restart_delay)
                    self.restarts += 1
                    self._start()

    @staticmethod
    def _reap(pid):
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass

    def _receive(self):
        data, ancillary, _, _ = self._notify.recvmsg(4096, 1024)
        sender, passed = 0, array.array("i")
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                sender = _CREDENTIALS.unpack(payload[:_CREDENTIALS.size])[0]
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                passed.frombytes(payload[:len(payload) - len(payload) % passed.itemsize])
        lines = data.decode().strip().split("\n")
        if sender != self.main:
            self.refused += lines
        else:
            self.messages += lines
            now = time.monotonic()
            self.heard.append((now, lines))
            if "WATCHDOG=1" in lines or ("READY=1" in lines and not self._ready):
                self._last_sign = now
            self._ready = self._ready or "READY=1" in lines
            for line in lines:
                if line.startswith("MAINPID="):
                    before = self.main
                    self._become_main(int(line[8:]))
                    if before != self.main:
                        threading.Thread(target=self._reap, args=(before,), daemon=True).start()
        for number in passed:  # BARRIER=1: everything before it has been looked at
            os.close(number)

    def signs(self):
        """When it was seen to be alive: what feeds a watchdog of the service, as times of the monotonic clock."""
        return [when for when, lines in list(self.heard) if "WATCHDOG=1" in lines]

    def said(self, message):
        """How often the main process has said a line."""
        return self.messages.count(message)

    def wait_ready(self, times=1, timeout=20.0):
        """Waits for the so-manieth READY=1."""
        wait_for(lambda: self.said("READY=1") >= times, f"{self.name}: READY=1\n{self.log()}", timeout)

    def control(self, *command, timeout=20):
        """Runs a command as ExecReload= would: beside the main process, with no part in its notifications."""
        with open(self.log_path, "ab") as log:
            return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                  env=self.environment(main=False), timeout=timeout, check=False).returncode

    def signal(self, number):
        """Sends the main process a signal."""
        os.kill(self.main, number)

    def alive(self, pid=None):
        """Does a process run (the main one, if none is named)?"""
        try:
            state = Path(f"/proc/{pid or self.main}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state not in "ZX"

    def log(self, last=8000):
        """The end of what the program has written."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")[-last:]

    def stop(self):
        """Ends the program and does not start it again."""
        if self._stopping:
            return
        self._stopping = True
        os.write(self._wake, b"x")
        self._thread.join()
        if self.alive():
            os.kill(self.main, signal.SIGTERM)
        if not select.select([self._pidfd], [], [], 10)[0]:
            os.kill(self.main, signal.SIGKILL)
        self._reap(self.main)
        os.close(self._pidfd)
        os.close(self._wake)
        os.close(self._wake_read)
        self._notify.close()
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
