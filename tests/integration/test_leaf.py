"""What a process waits for, asked of real processes that are staged as CNI plugins: without podspan-cri, kubelet or a
runtime. The truth is what was staged: pids and inodes."""

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from lib.paths import built
from lib.process import wait_for

FUSE = Path(__file__).resolve().parents[1] / "incidents" / "framework" / "fuse.py"
PYTHON = "/usr/bin/python3"
OTHER_UID = str(uuid.uuid4())


class Node:
    """Staged processes, which end with the test, and podspan's answers."""

    def __init__(self, folder):
        self.folder, self.uid, self.sandbox = folder, str(uuid.uuid4()), secrets.token_hex(32)
        self.pod = f"web-{self.sandbox[:8]}"
        self._clean = contextlib.ExitStack()

    def close(self):
        """Ends everything."""
        self._clean.close()

    def environment(self):
        """What an engine gives a CNI plugin."""
        return {**os.environ, "CNI_COMMAND": "ADD", "CNI_CONTAINERID": self.sandbox, "CNI_IFNAME": "eth0",
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=tests;K8S_POD_NAME={self.pod};K8S_POD_UID={self.uid}"}

    def later(self, function, *arguments):
        """Calls a function at the end."""
        self._clean.callback(function, *arguments)

    def spawn(self, *command, plugin=False, **options):
        """A process in the background; with plugin, one that works for the pod."""
        if plugin:
            options.setdefault("env", self.environment())
        process = subprocess.Popen(list(map(str, command)), **options)  # pylint: disable=consider-using-with
        self.later(process.wait, 20)
        self.later(process.kill)
        self.later(process.send_signal, signal.SIGCONT)
        return process

    def python(self, code, plugin=True, **options):
        """The same, in Python, with the imports that most need."""
        text = "import ctypes,fcntl,os,select,signal,socket,subprocess,sys,threading,time\n" + code
        return self.spawn(PYTHON, "-c", text, plugin=plugin, **options)

    def ask(self, *command):
        """podspan's answer; a node on which nothing of podspan runs."""
        done = subprocess.run([built("podspan"), *command, "--state-dir", self.folder / "none", "--store-dir",
                               self.folder / "none"], capture_output=True, timeout=30, check=False)
        assert done.returncode in (0, 3), done.stderr
        return done.stdout.decode()

    def now(self):
        """The answer to `why POD --now`."""
        return json.loads(self.ask("why", f"tests/{self.pod}", "--now", "--json"))

    def leaf(self, kind, pid=None, words=""):
        """The leaf, as soon as its wait is of a kind; the answers before are those of a process on its way there."""
        def found():
            chain = self.now()["chain"]
            return (chain and chain[-1]["wait"]["kind"] == kind and (pid is None or chain[-1]["pid"] == pid)
                    and words in chain[-1]["wait"].get("text", "") and chain[-1])
        return wait_for(found, f"a leaf that waits for {kind}: {self.now()}", 60, 0.2)


@pytest.fixture(name="node")
def fixture_node(tmp_path):
    """A node for one test, with a pod of its own."""
    node = Node(tmp_path)
    yield node
    node.close()


def inode(path):
    """The number of a file."""
    return os.stat(path).st_ino


def ready(path):
    """Waits for a file that a staged process makes."""
    wait_for(path.exists, f"{path}", 60)


def test_flock(node):
    lock = node.folder / "lk"
    holder = node.python(f"f=open({str(lock)!r},'w'); fcntl.flock(f,2); time.sleep(1000)", plugin=False)
    ready(lock)
    wait_for(lambda: not _try_flock(lock), "it is locked", 60)
    plugin = node.python(f"f=open({str(lock)!r}); fcntl.flock(f,2)")
    leaf = node.leaf("lock", plugin.pid)
    assert leaf["wait"]["other_end"]["pid"] == holder.pid and leaf["wait"]["inode"] == inode(lock)
    assert leaf["wait"]["path"] == str(lock)


def _try_flock(path):
    with open(path, encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def test_flock_whose_taker_has_ended(node):
    """/proc/locks names who took it; it belongs to the child that has the file open."""
    lock = node.folder / "lk"
    taker = node.python(f"""
f = open({str(lock)!r}, 'w')
fcntl.flock(f, 2)
if os.fork() == 0:
    open({str(node.folder / 'child')!r} + '.new', 'w').write(str(os.getpid()))
    os.rename({str(node.folder / 'child')!r} + '.new', {str(node.folder / 'child')!r})
    time.sleep(1000)
""", plugin=False)
    ready(node.folder / "child")
    child = int((node.folder / "child").read_text(encoding="ascii"))
    node.later(os.kill, child, signal.SIGKILL)
    assert taker.wait(60) == 0
    plugin = node.python(f"f=open({str(lock)!r}); fcntl.flock(f,2)")
    assert node.leaf("lock", plugin.pid)["wait"]["other_end"]["pid"] == child


def test_fcntl(node):
    lock = node.folder / "lk"
    holder = node.python(f"f=open({str(lock)!r},'w'); fcntl.lockf(f,2); open({str(lock)!r}+'.held','w'); time.sleep(1000)",
                         plugin=False)
    ready(node.folder / "lk.held")
    plugin = node.python(f"f=open({str(lock)!r},'r+'); fcntl.lockf(f,2)")
    leaf = node.leaf("lock", plugin.pid)
    assert leaf["wait"]["other_end"]["pid"] == holder.pid and leaf["wait"]["inode"] == inode(lock)


def test_fifo_that_nobody_writes(node):
    fifo = node.folder / "fifo"
    os.mkfifo(fifo)
    plugin = node.python(f"open({str(fifo)!r})")
    leaf = node.leaf("fifo", plugin.pid)
    assert leaf["wait"]["other_end"] == {"is": "nobody"} and leaf["wait"]["inode"] == inode(fifo)
    assert "for reading" in leaf["wait"]["text"]


def test_fifo_by_its_own_descriptor(node):
    """As `runc init` waits at exec.fifo."""
    fifo = node.folder / "exec.fifo"
    os.mkfifo(fifo)
    plugin = node.python(f"fd=os.open({str(fifo)!r},os.O_PATH); os.open(f'/proc/self/fd/{{fd}}',os.O_WRONLY)")
    leaf = node.leaf("fifo", plugin.pid)
    assert leaf["wait"]["other_end"] == {"is": "nobody"} and leaf["wait"]["path"] == str(fifo)
    assert "for writing" in leaf["wait"]["text"]


def test_fifo_that_is_full(node):
    fifo = node.folder / "fifo"
    os.mkfifo(fifo)
    reader = node.python(f"f=os.open({str(fifo)!r},os.O_RDONLY); time.sleep(1000)", plugin=False)
    plugin = node.python(f"f=os.open({str(fifo)!r},os.O_WRONLY)\nwhile True: os.write(f,b'x'*4096)")
    # Until the reader has opened it, the plugin waits in open().
    leaf = node.leaf("fifo", plugin.pid, "room")
    assert leaf["wait"]["other_end"]["pid"] == reader.pid


def test_pipe(node):
    here, there = os.pipe()
    node.later(os.close, there)
    node.later(os.close, here)
    plugin = node.python(f"os.read({here},1)", pass_fds=[here])
    leaf = node.leaf("fifo", plugin.pid)
    assert leaf["wait"]["other_end"]["pid"] == os.getpid() and leaf["wait"]["inode"] == os.fstat(here).st_ino


SERVER = "s=socket.socket(socket.AF_UNIX); s.bind(PATH); s.listen(BACKLOG); "


def unix_server(node, path, rest, backlog=5):
    """A daemon at a Unix socket."""
    server = node.python(SERVER.replace("PATH", repr(str(path))).replace("BACKLOG", str(backlog)) + rest, plugin=False)
    ready(path)
    return server


@pytest.mark.parametrize("wait", ["s.recv(1)", "s.settimeout(1000); s.recv(1)", "select.select([s],[],[])",
                                  "e=select.epoll(); e.register(s,1); e.poll()"], ids=["recv", "poll", "select", "epoll"])
def test_unix_accepted(node, wait):
    path = node.folder / "s"
    server = unix_server(node, path, "c,_=s.accept(); c.recv(1); time.sleep(1000)")
    plugin = node.python(f"s=socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); s.send(b'x'); {wait}")
    leaf = node.leaf("unix", plugin.pid)
    assert leaf["wait"]["other_end"]["pid"] == server.pid and leaf["wait"]["address"] == str(path)
    assert leaf["wait"]["accepted"]


def test_unix_of_a_stopped_daemon(node):
    path = node.folder / "s"
    server = unix_server(node, path, "time.sleep(1000)")
    plugin = node.python(f"s=socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); s.recv(1)")
    node.leaf("unix", plugin.pid)
    server.send_signal(signal.SIGSTOP)
    wait = wait_for(lambda: (one := node.leaf("unix", plugin.pid)["wait"])["other_end"].get("state") == "T" and one,
                    "the daemon is stopped", 60)
    assert not wait["accepted"] and wait["other_end"]["pid"] == server.pid and "which is stopped" in wait["text"]


def test_unix_whose_queue_is_full(node):
    path = node.folder / "s"
    server = unix_server(node, path, "time.sleep(1000)", backlog=0)
    code = f"s=socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); open({str(path)!r}+'.full','w'); time.sleep(1000)"
    node.python(code, plugin=False)
    ready(node.folder / "s.full")
    plugin = node.python(f"s=socket.socket(socket.AF_UNIX); s.connect({str(path)!r})")
    leaf = node.leaf("unix", plugin.pid)
    assert leaf["wait"]["queue_full"] and leaf["wait"]["other_end"]["pid"] == server.pid


def test_tcp(node):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        plugin = node.python(f"s=socket.create_connection(('127.0.0.1',{port})); s.recv(1)")
        server.settimeout(60)
        connection, _ = server.accept()
        with connection:
            leaf = node.leaf("tcp", plugin.pid)
            assert leaf["wait"]["address"] == f"127.0.0.1:{port}" and leaf["wait"]["other_end"]["pid"] == os.getpid()


def test_tcp_without_an_answer(node):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            plugin = node.python(f"s=socket.socket(); s.connect(('127.0.0.1',{port}))")
            leaf = node.leaf("tcp", plugin.pid)
            assert leaf["wait"]["address"] == f"127.0.0.1:{port}" and "not answered" in leaf["wait"]["text"]


def test_netlink(node):
    plugin = node.python("s=socket.socket(16,3,0); s.bind((0,0)); s.recv(100)")
    leaf = node.leaf("netlink", plugin.pid)
    assert leaf["wait"]["address"] == "route" and leaf["wait"]["other_end"] == {"is": "kernel"}


def test_sleep_below_a_shell(node):
    """The leaf is the one that the others wait for."""
    shell = node.spawn("/bin/sh", "-c", "sleep 1000; true", plugin=True, start_new_session=True)
    node.later(os.killpg, shell.pid, signal.SIGKILL)
    leaf = node.leaf("sleep")
    chain = node.now()["chain"]
    assert [chain[-2]["pid"], chain[-1]["pid"]] == [shell.pid, leaf["pid"]]
    assert chain[-2]["wait"]["kind"] == "child" and leaf["program"] == "sleep"


def test_cpu(node):
    plugin = node.python("while True: pass")
    node.leaf("cpu", plugin.pid)


def test_futex(node):
    """Who wakes it cannot be seen: that is said."""
    plugin = node.python("l=threading.Lock(); l.acquire(); l.acquire()")
    wait_for(lambda: "futex" in node.leaf("unknown", plugin.pid)["wait"]["text"], "it waits in futex", 60)
    assert any(str(plugin.pid) in text for text in node.now()["unknown"])


def test_stopped(node):
    plugin = node.spawn("sleep", "1000", plugin=True)
    plugin.send_signal(signal.SIGSTOP)
    assert node.leaf("stopped", plugin.pid)["state"] == "T"


def hierarchies():
    """What can freeze: where, the file, and what to write."""
    return [(Path("/sys/fs/cgroup/freezer"), "freezer.state", "FROZEN", "THAWED"),
            (Path("/sys/fs/cgroup/unified"), "cgroup.freeze", "1", "0"), (Path("/sys/fs/cgroup"), "cgroup.freeze", "1", "0")]


@pytest.mark.parametrize("version", [1, 2])
def test_frozen(node, version):
    usable = [row for row in hierarchies() if (row[0] / "cgroup.procs").exists() and
              (row[0] / "cgroup.controllers").exists() == (version == 2)]
    if not usable:
        pytest.skip(f"no cgroup v{version} that can freeze")
    root, file, freeze, thaw = usable[0]
    above, group = root / f"leaf-{os.getpid()}", root / f"leaf-{os.getpid()}" / "below"
    group.mkdir(parents=True)
    plugin = node.spawn("sleep", "1000", plugin=True)
    (group / "cgroup.procs").write_text(str(plugin.pid), encoding="ascii")
    (above / file).write_text(freeze, encoding="ascii")
    try:
        leaf = node.leaf("freezer", plugin.pid)
        assert leaf["wait"]["cgroup"] == f"/{above.name}"
    finally:
        (above / file).write_text(thaw, encoding="ascii")
        plugin.kill()
        plugin.wait()
        wait_for(lambda: not (group / "cgroup.procs").read_text(encoding="ascii"), "the cgroup is empty", 60)
        group.rmdir()
        above.rmdir()


def test_fuse(node):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    mount = node.folder / "mnt"
    mount.mkdir()
    node.later(ctypes.CDLL(None).umount2, str(mount).encode(), 2)
    server = node.spawn(PYTHON, FUSE, mount, stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    plugin = node.python(f"os.stat({str(mount / 'x')!r})")
    begin = time.monotonic()
    leaf = node.leaf("mount", plugin.pid)
    assert time.monotonic() - begin < 60 and leaf["wait"]["mount"] == str(mount)
    assert leaf["wait"]["mount_type"] == "fuse.stuckfs" and leaf["wait"]["path"] == str(mount / "x")
    assert leaf["wait"]["other_end"].get("pid", server.pid) == server.pid
    # The folder itself is asked for nothing.
    wait_for(lambda: str(plugin.pid) in node.ask("inflight"), "it is old enough for inflight", 60)
    server.kill()


# Hostile processes.


def chains_of(node, pod):
    """What inflight says of a pod."""
    return [one for one in json.loads(node.ask("inflight", "--json"))["inflight"] if one.get("pod_name") == pod]


def test_a_name_proves_nothing_without_root(node):
    liar = node.spawn("sleep", "1000", plugin=True, user=65534)
    wait_for(lambda: Path(f"/proc/{liar.pid}/comm").read_text(encoding="ascii") == "sleep\n", "it runs", 60)
    answer = node.now()
    assert answer["chain"] == [] and "no process on this node" in answer["sentence"]


def test_a_container_is_never_the_node(node):
    """Root in a pod's cgroup and in the node's pid namespace, with another pod's name in its environment."""
    root = next(row[0] for row in hierarchies() if (row[0] / "cgroup.procs").exists())
    top = root / "kubepods" / f"pod{OTHER_UID}"
    group = top / ("cd" * 32) / f"pod{node.uid}" / node.sandbox
    made = [folder for folder in [*reversed(group.parents), group] if not folder.exists()]
    group.mkdir(parents=True)
    liar = node.spawn("sleep", "1000", plugin=True)
    (group / "cgroup.procs").write_text(str(liar.pid), encoding="ascii")
    try:
        answer = node.now()
        assert answer["chain"] == [] and str(liar.pid) not in json.dumps(answer), answer
    finally:
        liar.kill()
        liar.wait()
        wait_for(lambda: not (group / "cgroup.procs").read_text(encoding="ascii"), "the cgroup is empty", 60)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def test_many_descriptors(node):
    fifo = node.folder / "fifo"
    os.mkfifo(fifo)
    many = node.folder / "many"
    node.python(f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
try:
    for _ in range(10000):
        os.dup(0)
except OSError:
    pass
open({str(many)!r}, 'w')
time.sleep(1000)
""", plugin=False)
    ready(many)
    plugin = node.python(f"open({str(fifo)!r})")
    leaf = node.leaf("fifo", plugin.pid)
    assert leaf["wait"]["other_end"]["is"] in ("nobody", "unknown")


def test_names_do_not_reach_the_terminal(node):
    node.pod = "x\x1b[31m"
    evil = node.folder / "a\x1b]0;b\n c"
    plugin = node.python(f"""
ctypes.CDLL(None).prctl(15, b'\\x1b[2J)\\n S 1 ', 0, 0, 0)
f = open({str(evil)!r}, 'w')
fcntl.flock(f, 2)
os.mkfifo({str(evil)!r} + 'f')
open({str(evil)!r} + 'f')
""")
    leaf = node.leaf("fifo", plugin.pid)
    assert leaf["pid"] == plugin.pid
    wait_for(lambda: str(plugin.pid) in node.ask("inflight"), "it is old enough for inflight", 60)
    for text in (node.ask("inflight"), node.ask("why", node.pod, "--now")):
        assert "\x1b" not in text and str(plugin.pid) in text


def test_processes_that_change(node):
    """While others come and go, and the plugin itself goes from wait to wait, nothing fails, and it is never another's."""
    node.spawn("/bin/sh", "-c", "while :; do /bin/true; done", stderr=subprocess.DEVNULL)
    plugin = node.python("while True: time.sleep(0.0001); open('/dev/null').close()")
    for _ in range(10):
        for chain in chains_of(node, node.pod):
            assert {link["pid"] for link in chain["chain"]} == {plugin.pid}
            assert chain["leaf"]["wait"]["kind"] in ("sleep", "cpu", "unknown", "file")


def test_the_screen_keeps_pod_and_wait(node):
    lock = node.folder / "lk"
    with open(lock, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        plugin = node.python(f"f=open({str(lock)!r}); fcntl.flock(f,2)")
        node.leaf("lock", plugin.pid)
        wait_for(lambda: chains_of(node, node.pod), "it is old enough for inflight", 60)
        done = subprocess.run([sys.executable, "-c", """
import os, pty, sys
pty.spawn(sys.argv[1:])
""", built("podspan"), "inflight", "--state-dir", node.folder], capture_output=True, check=True, timeout=60,
                              env={**os.environ, "COLUMNS": "80", "TERM": "dumb", "LC_ALL": "C.UTF-8"})
    lines = done.stdout.decode().replace("\r", "").splitlines()
    assert max(map(len, lines)) <= 80, lines
    at = next(number for number, line in enumerate(lines) if f"tests/{node.pod}" in line)
    said = " ".join(lines[at + 1:at + 6])
    assert f"(pid {plugin.pid})" in said and "lock" in said and str(os.getpid()) in said
