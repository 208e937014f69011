"""conmon and podspan-conmon, driven as CRI-O and podman drive them, with a runtime that has no containers."""

import contextlib
import dataclasses
import itertools
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

from .paths import built, packaged
from .process import Failed, wait_for
from .reaper import descendants

STDIN, STDOUT, STDERR = 1, 2, 3
SETTLE_SECONDS = 20.0
_serial = itertools.count(1)
_LINE = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d) (stdout|stderr) ([FP]) (.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Monitor:
    """A program that is a conmon."""

    name: str
    path: Path

    @property
    def reference(self):
        """Is it the one that the other is compared with?"""
        return self.name == "conmon"


def reference():
    """Debian's conmon 2.1.6."""
    return Monitor("conmon", packaged("conmon"))


def subject():
    """podspan-conmon."""
    return Monitor("podspan-conmon", built("podspan-conmon"))


def monitor(name):
    """One of the two, by name."""
    return reference() if name == "conmon" else subject()


NAMES = ["conmon", "podspan-conmon"]


def process(*argv, **words):
    """The text of fakeruntime's file: what the runtime does, and the command line of the container."""
    lines = [f"{word.replace('_', '-')} {value}" for word, value in words.items()]
    return "\n".join(lines + [f"arg {part}" for part in argv]) + "\n"


def shell(script, **words):
    """The same for a shell script of one line."""
    assert "\n" not in script
    return process("sh", "-c", script, **words)


@dataclasses.dataclass(frozen=True)
class Record:
    """A line of a log in the CRI's format."""

    stamp: str
    stream: str
    tag: str
    content: bytes


def parse_log(data):
    """The records of a log; anything else in it is an error."""
    records = []
    lines = data.split(b"\n")
    assert lines.pop() == b"", f"the log's last record has no end: {data[-100:]}"
    for line in lines:
        match = _LINE.fullmatch(line)
        assert match, f"no record: {line[:200]}"
        records.append(Record(match[1].decode(), match[2].decode(), match[3].decode(), match[4]))
    return records


def content(records, stream=None):
    """What the container wrote: a full record ends in a newline, a partial one does not."""
    return b"".join(record.content + (b"\n" if record.tag == "F" else b"") for record in records
                    if stream in (None, record.stream))


class Run:
    """One start of a monitor, with everything it owns in one folder; a context manager.

    text is fakeruntime's file. options come after those that every caller gives; bundle, exits and persist say whether
    those are among them. sync is the type of the sync socket: CRI-O's is SOCK_STREAM, podman's SOCK_SEQPACKET.
    """

    def __init__(self, which, folder, text, *options, exec_=False, exec_attach=False, terminal=False, log=True,
                 identifier=None, env=None, sync=socket.SOCK_STREAM, foreground=False, api=None, exit_dir=None,
                 pass_fds=(), stdio=(None, None, None), runtime=None, restore=None):
        self.which = which
        self.id = identifier or f"{next(_serial):064x}"
        self.folder = Path(folder) / f"{which.name}-{self.id[-6:]}"
        self.bundle, self.persist = self.folder / "bundle", self.folder / "persist"
        self.exits = Path(exit_dir) if exit_dir else self.folder / "exits"
        self.sockets = self.folder / "sockets"
        for path in (self.folder, self.bundle, self.persist, self.exits, self.sockets):
            path.mkdir(exist_ok=True, parents=True)
        self.log_path = self.folder / "log"
        self.pidfile, self.monitor_pidfile = self.bundle / "pidfile", self.bundle / "conmon-pidfile"
        spec = self.bundle / "process"
        spec.write_text(text, encoding="utf-8", errors="surrogateescape")
        self._process, self.pid, self._status = None, None, None
        self.stderr = b""
        command = [which.path, "-c", self.id, "-n", "name", "-r", runtime or built("fakeruntime"), "-p", self.pidfile]
        if exec_:
            command += ["-e", "--exec-process-spec", spec]
        if not exec_ or exec_attach:
            command += ["-b", self.bundle, "-u", self.id, "--exit-dir", self.exits, "--socket-dir-path", self.sockets,
                        "--persist-dir", self.persist]
            command += [] if foreground else ["-P", self.monitor_pidfile]
        if exec_attach:
            command += ["--exec-attach"]
        if api is not None:
            command += ["--api-version", str(api)]
        if terminal:
            command += ["-t"]
        if foreground:
            command += ["--sync"]
        if log:
            command += ["-l", self.log_path if log is True else log]
        if restore:
            command += ["--restore", restore]
        self.command = [str(part) for part in (*command, *options)]
        self._foreground, self._stdio = foreground, stdio
        self._sync, sync_child = socket.socketpair(socket.AF_UNIX, sync)
        self._start, start_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._attach, attach_child = socket.socketpair(socket.AF_UNIX, sync)
        self._children = [sync_child, start_child, attach_child]
        self.env = {**os.environ, **(env or {}), "_OCI_SYNCPIPE": str(sync_child.fileno()),
                    "_OCI_STARTPIPE": str(start_child.fileno())}
        self._fds = [sync_child.fileno(), start_child.fileno(), *pass_fds]
        if exec_attach:
            self.env["_OCI_ATTACHPIPE"] = str(attach_child.fileno())
            self._fds.append(attach_child.fileno())
        self._buffer = b""

    # ---- starting ----

    def spawn(self):
        """Starts the program; it waits for its start byte."""
        stdin, stdout, stderr = self._stdio
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(
            self.command, cwd=self.bundle, env=self.env, pass_fds=self._fds, start_new_session=True,
            stdin=stdin or subprocess.DEVNULL, stdout=stdout or subprocess.DEVNULL, stderr=stderr or subprocess.PIPE)
        for child in self._children:
            child.close()
        return self

    @property
    def spawned_pid(self):
        """The program that spawn() has started; who goes into the background is its child."""
        return self._process.pid

    def release(self):
        """Writes the start byte, once the caller has moved it into its cgroup."""
        self._start.sendall(b"\0")
        return self

    def settle(self):
        """Waits for the parent's end, the daemon being its child."""
        if self._foreground:
            self.pid = self._process.pid
            return self
        # What inherited standard error keeps it open; the parent's end is what counts.
        code = self._process.wait(SETTLE_SECONDS)
        if code == 0:
            wait_for(self.monitor_pidfile.exists, "the pid file of the monitor") if "-P" in self.command else None
        if self.monitor_pidfile.exists():
            self.pid = int(self.monitor_pidfile.read_text(encoding="ascii"))
        self.parent_code = code
        return self

    def start(self):
        """All of it."""
        return self.spawn().release().settle()

    # ---- what it says and leaves ----

    def raw_message(self, timeout=SETTLE_SECONDS):
        """The next line of the sync pipe as it is; b"" at its end."""
        return self._read_line(self._sync, timeout)

    def message(self, timeout=SETTLE_SECONDS):
        """The next message, decoded; None at the end."""
        line = self.raw_message(timeout)
        return json.loads(line) if line else None

    def attach_message(self):
        """What comes through the attach pipe."""
        return json.loads(self._read_line(self._attach, SETTLE_SECONDS))

    def second_start(self):
        """The byte for exec --attach: the client is connected."""
        self._start.sendall(b"\0")

    def hang_up(self):
        """Closes our end of the sync pipe."""
        self._sync.close()

    def _read_line(self, connection, timeout):
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([connection], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                raise Failed(f"no message within {timeout} s; so far {self._buffer}; {self.errors()}")
            try:
                chunk = connection.recv(65536)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                break
            self._buffer += chunk
        line, newline, self._buffer = self._buffer.partition(b"\n")
        return line + newline

    def errors(self):
        """What it wrote to standard error up to the end of its parent."""
        if self._process is not None and self._process.stderr is not None and (self._process.poll() is not None):
            while select.select([self._process.stderr], [], [], 0)[0]:
                chunk = os.read(self._process.stderr.fileno(), 65536)
                if not chunk:
                    break
                self.stderr += chunk
        return self.stderr.decode(errors="replace")

    def wait(self, timeout=SETTLE_SECONDS):
        """Waits for the monitor's end; returns its exit code (128 + N for signal N)."""
        if self._status is not None:
            return self._status
        if self._foreground:
            code = self._process.wait(timeout)
        else:
            deadline = time.monotonic() + timeout
            while True:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    break
                if time.monotonic() > deadline:
                    raise Failed(f"{self.which.name} {self.pid} does not end; {self.errors()}")
                time.sleep(0.005)
            code = os.waitstatus_to_exitcode(status)
        self._status = code if code >= 0 else 128 - code
        return self._status

    def alive(self):
        """Does it still run?"""
        return not dead(self.pid)

    def usage(self):
        """Waits for the end of one in the foreground; what it and all it waited for have used."""
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._status = self._process.returncode
        return usage

    @property
    def container_pid(self):
        """As the runtime wrote it."""
        return int(self.pidfile.read_text(encoding="ascii"))

    def exit_file(self):
        """EXITDIR/ID, or None."""
        path = self.exits / self.id
        return path.read_text(encoding="ascii") if path.exists() else None

    def persist_file(self):
        """PERSIST/exit, or None."""
        path = self.persist / "exit"
        return path.read_text(encoding="ascii") if path.exists() else None

    def log(self):
        """The records of the log."""
        return parse_log(self.log_path.read_bytes())

    def wait_log(self, wanted, stream=None, timeout=SETTLE_SECONDS):
        """Waits until the log holds these bytes."""
        wait_for(lambda: self.log_path.exists() and self.log_path.read_bytes().endswith(b"\n") and
                 wanted in content(self.log(), stream), f"{wanted} in the log", timeout, interval=0.005)

    # ---- its other ends ----

    def ctl(self, line, fifo="ctl"):
        """Writes to one of the FIFOs; an error if nobody reads it."""
        fd = os.open(self.bundle / fifo, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            while line:
                if not select.select([], [fd], [], SETTLE_SECONDS)[1]:
                    raise Failed(f"{fifo} is not read")
                line = line[os.write(fd, line):]
        finally:
            os.close(fd)

    def attach(self):
        """A client at its socket."""
        return Attached(self.bundle / "attach")

    def close(self):
        """Ends what is left of it."""
        container = self._container()
        with contextlib.suppress(ProcessLookupError):
            if self.pid and self._status is None:
                os.kill(self.pid, signal.SIGKILL)
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            if self._process.stderr:
                self._process.stderr.close()
        for connection in (self._sync, self._start, self._attach, *self._children):
            connection.close()
        if self._status is None and not self._foreground:
            reap(self.pid)
        if container:
            # It is in a process group of its own, and with the monitor gone its children may be ours.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(container, signal.SIGKILL)
            reap(-container)

    def _container(self):
        try:
            return int(self.pidfile.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()


def reap(*pids):
    """Collects those of the processes (-N: of the process group N) that have become ours and die."""
    for pid in filter(None, pids):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
            while pid < 0:
                os.waitpid(pid, 0)


def collect(timeout=10.0):
    """Collects the children that were left to us; if not all have ended by then, it ends them and fails."""
    deadline, left = time.monotonic() + timeout, []
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline and not left:
                    left = [f"{pid} {Path(f'/proc/{pid}/cmdline').read_text(encoding='latin-1')}"
                            for pid in descendants(os.getpid()) if not os.kill(pid, signal.SIGKILL)]
                time.sleep(0.005)
        except ChildProcessError:
            if left:
                raise Failed(f"still running: {left}") from None
            return


@contextlib.contextmanager
def short(path):
    """A path of a socket that fits into its address."""
    folder = os.open(Path(path).parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{folder}/{Path(path).name}"
    finally:
        os.close(folder)


def dead(pid):
    """Is a process gone, or but to be collected?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Attached:
    """A client at an attach socket."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with short(path) as address:
            self._socket.connect(address)

    def send(self, data):
        """Bytes for the container's standard input."""
        self._socket.sendall(data)

    def packet(self, timeout=SETTLE_SECONDS):
        """The next packet (stream, bytes); None at the end."""
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            return None
        return (data[0], data[1:]) if data else None

    def read_until(self, wanted, stream=STDOUT):
        """Reads until these bytes have come on a stream; returns all of that stream."""
        result, seen = bytearray(), 0
        while result.find(wanted, max(seen - len(wanted), 0)) < 0:
            seen = len(result)
            packet = self.packet()
            if packet is None:
                raise Failed(f"the connection ended before {wanted}; {bytes(result[-1000:])}")
            if packet[0] == stream:
                result += packet[1]
        return bytes(result)

    def read_all(self):
        """{stream: bytes} up to the end."""
        result = {}
        while (packet := self.packet()) is not None:
            result.setdefault(packet[0], bytearray()).extend(packet[1])
        return {stream: bytes(data) for stream, data in result.items()}

    def shutdown(self):
        """No more input."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
