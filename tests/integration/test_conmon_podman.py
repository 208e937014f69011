"""podman with podspan-conmon and with conmon: the same commands have the same output, files and exit codes."""

import contextlib
import os
import re
import signal
import socket
import subprocess

import pytest

from lib import conmon, images
from lib.conmon import Run, shell
from lib.journal import Journal
from lib.podman import Podman
from lib.process import run, wait_for
from lib.terminal import Talk, on_terminal

IMAGE = "localhost/busybox:1"


@pytest.fixture(name="podman", scope="module")
def fixture_podman(fixture_nothing_is_left):
    """One storage for all; gone before it is looked for what is left."""
    with Podman() as podman:
        yield podman


class Container:
    """A container of one scenario, by name."""

    def __init__(self, podman, which, name="scenario"):
        self.podman, self.which, self.name = podman, which, name
        podman.conmon = which.path

    def __call__(self, *arguments, check=False, **options):
        """podman, without a check; (exit code, standard output, standard error)."""
        done = self.podman(*arguments, check=check, **options)
        return done.returncode, done.stdout, done.stderr

    def run(self, *arguments, options=(), **keywords):
        """podman run."""
        return self("run", "--name", self.name, *self.podman.run_options(*options), *arguments, **keywords)

    def command(self, *arguments):
        """The command line of podman."""
        return [str(part) for part in self.podman.command(*arguments)]

    def run_command(self, *arguments, options=()):
        """The command line of podman run."""
        return self.command("run", "--name", self.name, *self.podman.run_options(*options), *arguments)

    def inspect(self, field):
        """A field of the container."""
        return self("inspect", "--format", "{{" + field + "}}", self.name, check=True)[1].strip()

    def wait(self):
        """Waits for its end; returns the exit code."""
        return int(self("wait", self.name, check=True)[1])

    def log(self):
        """The records of its k8s-file log, without their times."""
        with open(self.inspect(".HostConfig.LogConfig.Path"), "rb") as log:
            return [(record.stream, record.tag, record.content) for record in conmon.parse_log(log.read())]

    def close(self):
        """Removes it, and collects its monitors."""
        self.podman("rm", "--force", "--time", "0", self.name, check=False)
        conmon.collect()


def compare(podman, scenario, wanted=None, **options):
    """Runs a scenario with either monitor; what it returns has to be the same, and what is wanted."""
    results = []
    for which in (conmon.reference(), conmon.subject()):
        container = Container(podman, which)
        try:
            results.append(scenario(container, **options))
        finally:
            container.close()
    assert results[1] == results[0]
    if wanted is not None:
        assert results[0] == wanted
    return results[1]


def streams(log):
    """A log's records by stream: between the streams there is no order."""
    return {name: [record[1:] for record in log if record[0] == name] for name in ("stdout", "stderr")}


def test_info(podman):
    """podman reads the version line."""
    podman.conmon = conmon.subject().path
    shown = podman("info", "--format", "{{.Host.Conmon.Path}} {{.Host.Conmon.Version}}").stdout
    assert shown.startswith(f"{conmon.subject().path} conmon version ")


@pytest.mark.parametrize("script, code", [("echo out; echo err >&2; exit 7", 7), ("kill -9 $$; sleep 1", 0),
                                          ("cat; echo end", 0)], ids=["code", "signal", "no input"])
def test_run(podman, script, code):
    """podman run: output and exit code."""
    result = compare(podman, lambda one: one.run(IMAGE, "sh", "-c", script))
    if code:
        assert result == (code, "out\n", "err\n")


def test_run_with_input(podman):
    """podman run -i: what comes in goes out again, to the end."""
    text = "line\n" * 20000
    compare(podman, lambda one: one.run(IMAGE, "sh", "-c", "cat; exit 3", options=["-i"], input=text), (3, text, ""))


def test_run_fails(podman):
    """What cannot be started."""
    normal = lambda result: (result[0], re.sub(r"[0-9a-f]{64}", "ID", result[2]))
    result = compare(podman, lambda one: normal(one.run(IMAGE, "/no/such/program")))
    assert result[0] == 127


def test_run_detached(podman):
    """podman run -d: the log and its end."""
    def scenario(one):
        one.run(IMAGE, "sh", "-c", "echo one; echo two >&2; printf end; exit 9", options=["-d", "--log-driver", "k8s-file"],
                check=True)
        return one.wait(), one.inspect(".State.ExitCode"), streams(one.log()), sorted(one("logs", one.name)[1:])
    result = compare(podman, scenario)
    assert result[0] == 9
    assert result[2] == {"stdout": [("F", b"one"), ("P", b"end")], "stderr": [("F", b"two")]}


def test_run_terminal(podman):
    """podman run -it: size, echo, line ends, exit code."""
    def scenario(one):
        command = one.run_command(IMAGE, "sh", "-c", "echo ready; read x; stty size; echo got $x; exit 5", options=["-it"])
        code, output = on_terminal(command, Talk((b"ready", b"hello\r")))
        return code, output
    code, output = compare(podman, scenario)
    assert code == 5
    assert b"33 77\r\n" in output and b"got hello\r\n" in output


@pytest.fixture(name="running", scope="class")
def fixture_running(podman):
    """A running container of each monitor, for exec."""
    containers = []
    for which in (conmon.reference(), conmon.subject()):
        one = Container(podman, which, f"running-{which.name}")
        one.run(IMAGE, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done", options=["-d"], check=True)
        containers.append(one)
    yield containers
    for one in containers:
        podman("rm", "--force", "--time", "0", one.name, check=False)
    conmon.collect()


def in_each(running, scenario):
    """Calls a scenario with either container; the results are the same."""
    results = []
    for one in running:
        one.podman.conmon = one.which.path
        results.append(scenario(one))
    assert results[1] == results[0]
    return results[1]


class TestExec:
    """podman exec, in a container that runs."""

    def test_exec(self, running):
        """podman exec: output, input and exit code."""
        assert in_each(running, lambda one: one("exec", one.name, "sh", "-c", "echo out; echo err >&2; exit 7")) == (
            7, "out\n", "err\n")
        text = "line\n" * 20000
        assert in_each(running, lambda one: one("exec", "-i", one.name, "cat", input=text)) == (0, text, "")
        assert in_each(running, lambda one: one("exec", one.name, "sh", "-c", "kill -9 $$"))[0] == 137
        normal = lambda result: (result[0], re.sub(r"[0-9a-f]{64}", "ID", result[2]))
        assert in_each(running, lambda one: normal(one("exec", one.name, "/no/such/program")))[0] == 127

    def test_exec_terminal(self, running):
        """podman exec -it."""
        def scenario(one):
            command = one.command("exec", "-it", one.name, "sh", "-c", "echo ready; read x; stty size; echo got $x; exit 5")
            return on_terminal(command, Talk((b"ready", b"hello\r")))
        code, output = in_each(running, scenario)
        assert code == 5 and b"33 77\r\n" in output and b"got hello\r\n" in output

    def test_exec_detached(self, running):
        """podman exec -d: it runs, and ends, with nobody there."""
        def scenario(one):
            code = one("exec", "-d", one.name, "sh", "-c", "echo done >/tmp/proof; exit 3")[0]
            wait_for(lambda: one("exec", one.name, "cat", "/tmp/proof")[1] == "done\n", "the proof", interval=0.2)
            return code
        assert in_each(running, scenario) == 0

    def test_exec_with_descriptors(self, running, tmp_path):
        """podman exec --preserve-fds: they come after podman's own, which have other numbers then."""
        path = tmp_path / "file"
        path.write_text("through fd 3\n", encoding="ascii")
        def scenario(one):
            with open(path, "rb") as file:
                done = subprocess.run(
                    one.command("exec", "--preserve-fds", "1", one.name, "sh", "-c", "cat <&3"), capture_output=True,
                    timeout=60, check=False, stdin=subprocess.DEVNULL,
                    preexec_fn=lambda: os.dup2(file.fileno(), 3), pass_fds=[3])
            return done.returncode, done.stdout
        assert in_each(running, scenario) == (0, b"through fd 3\n")


def test_healthcheck(podman):
    """podman healthcheck run."""
    def scenario(one):
        one.run(IMAGE, "sleep", "1000", options=["-d", "--health-cmd", "test -f /healthy", "--health-interval", "disable"],
                check=True)
        sick = one("healthcheck", "run", one.name)[:2]
        one("exec", one.name, "touch", "/healthy", check=True)
        return sick, one("healthcheck", "run", one.name)[:2]
    sick, well = compare(podman, scenario)
    assert sick[0] == 1 and well[0] == 0


def test_logs_follow(podman):
    """podman logs -f: all lines, and its end with the container's."""
    def scenario(one):
        one.run(IMAGE, "sh", "-c", "i=0; while [ $i -lt 8 ]; do i=$((i+1)); echo line $i; sleep 0.05; done; printf end",
                options=["-d", "--log-driver", "k8s-file"], check=True)
        return one("logs", "-f", one.name)
    code, output, _ = compare(podman, scenario)
    assert code == 0 and output.rstrip("\n") == "".join(f"line {number}\n" for number in range(1, 9)) + "end"


def test_attach(podman):
    """podman attach: input, output, exit code."""
    def scenario(one):
        one.run(IMAGE, "sh", "-c", "read x; echo got $x; echo err >&2; exit 3", options=["-d", "-i"], check=True)
        with subprocess.Popen(one.command("attach", one.name), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as client:
            # Its input stays open: podman detaches at its end.
            client.stdin.write(b"hello\n")
            client.stdin.flush()
            # podman itself adds an end of line.
            output = client.stdout.read().rstrip(b"\n"), client.stderr.read()
            return client.wait(60), one.wait(), output
    assert compare(podman, scenario)[1:] == (3, (b"got hello", b"err\n"))


_NOT_COMPARED = {"CONTAINER_ID_FULL", "CONTAINER_ID", "CODE_FILE", "CODE_LINE", "CODE_FUNC"}


@pytest.mark.parametrize("options", [[], ["--log-opt", "tag={{.Name}}-tag"]], ids=["plain", "tag"])
def test_journald(podman, options):
    """--log-driver journald: the same records."""
    def scenario(one):
        with Journal() as journal:
            one.run(IMAGE, "sh", "-c", "echo one; echo two >&2; printf end; exit 0",
                    options=["--log-driver", "journald", *options], check=True)
            records = [record for record in journal.records() if "CONTAINER_ID_FULL" in record]
        return sorted(sorted((key, value) for key, value in record.items() if key not in _NOT_COMPARED)
                      for record in records)
    records = compare(podman, scenario)
    assert len(records) == 3
    if options:
        assert all(("CONTAINER_TAG", b"scenario-tag") in record for record in records)


def test_max_size(podman):
    """--log-opt max-size: the log stays small and has the last line."""
    def scenario(one):
        one.run(IMAGE, "sh", "-c", "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo line $i; done",
                options=["-d", "--log-driver", "k8s-file", "--log-opt", "max-size=4k"], check=True)
        one.wait()
        log = one.log()
        assert os.path.getsize(one.inspect(".HostConfig.LogConfig.Path")) <= 4096
        return log
    assert compare(podman, scenario)[-1] == ("stdout", "F", b"line 500")


def _notify_lines(receiver):
    lines = []
    with contextlib.suppress(BlockingIOError):
        while True:
            lines += receiver.recv(4096).decode().split("\n")
    return [line for line in lines if line]


@pytest.mark.parametrize("policy", ["conmon", "container"])
def test_sdnotify(podman, policy, tmp_path):
    """--sdnotify: whoever says it, systemd hears it once; the main process is the monitor."""
    host = [part for folder in ("/usr", "/lib", "/lib64") for part in ("-v", f"{folder}:{folder}:ro")]
    script = "[ -z \"$NOTIFY_SOCKET\" ] || printf 'READY=1\\nFDSTORE=1' | /usr/bin/socat - UNIX-SENDTO:$NOTIFY_SOCKET; sleep 1000"
    def scenario(one):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as receiver:
            path = tmp_path / f"{one.which.name}.sock"
            receiver.bind(str(path))
            one.run(IMAGE, "sh", "-c", script, options=["-d", f"--sdnotify={policy}", *host], check=True,
                    env={**os.environ, "NOTIFY_SOCKET": str(path)})
            lines = []
            wait_for(lambda: "READY=1" in (lines.extend(_notify_lines(receiver)) or lines), "READY=1")
            main = [line for line in lines if line.startswith("MAINPID=")]
            pid = one.inspect(".State.ConmonPid")
            assert main == [f"MAINPID={pid}"]
            return sorted(set(lines) - set(main))
    assert compare(podman, scenario) == ["READY=1"]


def test_remove_at_the_end(podman):
    """--rm: nothing of it is left, as the exit command does that."""
    def scenario(one):
        one.run(IMAGE, "sh", "-c", "exit 4", options=["-d", "--rm"], check=True)
        wait_for(lambda: one("container", "exists", one.name)[0] == 1, "the container is gone", interval=0.1)
        return one("ps", "-a", "-q", "--filter", f"name={one.name}")[:2]
    assert compare(podman, scenario) == (0, "")


def test_stop_kill_restart(podman):
    """podman stop, start and kill."""
    def scenario(one):
        one.run(IMAGE, "sh", "-c", "trap 'echo stopping; exit 11' TERM; echo up; while :; do sleep 0.05; done",
                options=["-d", "--log-driver", "k8s-file"], check=True)
        wait_for(lambda: one("logs", one.name)[1] == "up\n", "it is up", interval=0.1)
        one("stop", "--time", "20", one.name, check=True)
        codes = [one.inspect(".State.ExitCode")]
        one("start", one.name, check=True)
        one("kill", one.name, check=True)
        codes.append(one.wait())
        return codes, one.log()[:2]
    codes, log = compare(podman, scenario)
    assert codes == ["11", 137]
    assert log == [("stdout", "F", b"up"), ("stdout", "F", b"stopping")]


def test_out_of_memory(podman):
    """The OOM killer is told from any other end, which conmon 2.1.6 on cgroup v1 does now and then only."""
    killed = {}
    def scenario(one):
        one.run(IMAGE, "sh", "-c", "x=a; while :; do x=$x$x; done", options=["-d", "--memory", "32m"], check=True)
        code = one.wait()
        killed[one.which.name] = one.inspect(".State.OOMKilled")
        return code
    assert compare(podman, scenario) == 137
    assert killed[conmon.subject().name] == "true"


# ---- rootless ----


def test_rootless(tmp_path):
    """As an ordinary user: the journal's records and the exit code."""
    user = 60123
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    home = tmp_path / "home"
    runtime = home / "run"
    runtime.mkdir(parents=True)
    for folder in (home, runtime):
        os.chown(folder, user, user)
        folder.chmod(0o700)
    archive = images.archive("busybox")
    def podman(which, *arguments):
        return run("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "/usr/bin/env", "-i",
                   f"HOME={home}", f"XDG_RUNTIME_DIR={runtime}", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "podman",
                   "--storage-driver", "vfs", "--storage-opt", "vfs.ignore_chown_errors=true", "--cgroup-manager",
                   "cgroupfs", "--events-backend", "file", "--runtime", "crun", "--conmon", which.path, *arguments, cwd=home).stdout
    seen = []
    podman(conmon.reference(), "load", "--quiet", "--input", archive)
    for which in (conmon.reference(), conmon.subject()):
        with Journal() as journal:
            identifier = podman(which, "run", "-d", "--cgroups", "disabled", "--network", "none", "--log-driver", "journald",
                                "--name", "scenario", IMAGE, "sh", "-c",
                                "echo one; echo two >&2; printf end; exit 7").strip()
            # The file itself: podman takes its time where there is no session of systemd's.
            exits = runtime / "libpod" / "tmp" / "exits" / identifier
            wait_for(exits.exists, "the exit file")
            code = exits.read_text(encoding="ascii")
            records = [record for record in journal.records() if "CONTAINER_ID_FULL" in record]
        podman(which, "rm", "--force", "scenario")
        seen.append((code, sorted(sorted((key, value) for key, value in record.items() if key not in _NOT_COMPARED)
                                  for record in records)))
    # A process of podman's holds its namespaces.
    with contextlib.suppress(FileNotFoundError):
        os.kill(int((runtime / "libpod" / "tmp" / "pause.pid").read_text(encoding="ascii")), signal.SIGKILL)
    conmon.collect()
    assert seen[1] == seen[0]
    assert code == "7" and len(records) == 3


# ---- podman 5.8, whose command lines are replayed ----


def _podman_5(which, tmp_path, text, *options, exec_=False, log="k8s-file", **keywords):
    """A start as podman 5.8 does it: a folder for what persists, --syslog always, its whole environment."""
    keywords = {"api": 1, "sync": socket.SOCK_SEQPACKET, "env": {"KEPT": "yes", "container": "podman"}, **keywords}
    base = ["--full-attach", "--log-level", "warning", "--syslog", "--runtime-arg", "--log-format=json", "--runtime-arg",
            "--log", f"--runtime-arg={tmp_path}/oci-log"]
    one = Run(which, tmp_path, text, *base, *options, exec_=exec_, exec_attach=exec_, log=False, **keywords)
    one.command += ["-l", log if log != "k8s-file" else f"k8s-file:{one.log_path}"]
    return one


def _replay_both(scenario):
    results = [scenario(which) for which in (conmon.reference(), conmon.subject())]
    conmon.collect()
    assert results[1] == results[0]
    return results[1]


def test_podman_5_create(tmp_path):
    """run -d, with the command that cleans up."""
    def scenario(which):
        proof = tmp_path / f"{which.name}.proof"
        with _podman_5(which, tmp_path, shell("echo out; echo $KEPT >&2; exit 6"), "--exit-command", "/bin/sh",
                       "--exit-command-arg", "-c", "--exit-command-arg", f"echo $KEPT >{proof}") as one:
            assert one.message() == {"data": one.container_pid}
            code = one.wait()
            return (code, one.exit_file(), one.persist_file(), proof.read_text(encoding="ascii"),
                    streams([(record.stream, record.tag, record.content) for record in one.log()]),
                    sorted(path.name for path in one.bundle.iterdir()))
    assert _replay_both(scenario)[:4] == (6, "6", "6", "yes\n")


def test_podman_5_terminal(tmp_path):
    """run -t."""
    def scenario(which):
        with _podman_5(which, tmp_path, shell("read x; stty size; echo got $x; exit 2"), "-i", terminal=True) as one:
            one.message()
            one.ctl(b"1 40 90\n")
            with one.attach() as client:
                client.send(b"hello\r")
                client.read_until(b"got hello\r\n")
            return one.wait(), [record.content for record in one.log()]
    code, lines = _replay_both(scenario)
    assert code == 2 and lines[-1] == b"got hello\r"


def test_podman_5_exec(tmp_path):
    """exec, with its own folder for what persists and a delayed exit command."""
    def scenario(which):
        with _podman_5(which, tmp_path, shell("cat; echo err >&2; exit 9"), "-i", "--exit-command", "/bin/true",
                       "--exit-delay", "0", exec_=True, log="none") as one:
            assert one.attach_message() == {"data": 0}
            with one.attach() as client:
                one.second_start()
                assert one.message() == {"data": one.container_pid}
                client.send(b"text")
                client.shutdown()
                output = client.read_all()
            return one.message(), one.wait(), one.exit_file(), output
    assert _replay_both(scenario) == ({"data": 9}, 9, "9", {2: b"text", 3: b"err\n"})


def test_podman_5_passthrough(tmp_path):
    """passthrough, which 5.x also uses for passthrough-tty."""
    def scenario(which):
        path = tmp_path / f"{which.name}.out"
        with open(path, "wb") as output:
            with _podman_5(which, tmp_path, shell("echo out; exit 1"), log="passthrough",
                           stdio=(None, output, output)) as one:
                one.message()
                return one.wait(), path.read_bytes(), sorted(
                    name.name for name in one.bundle.iterdir() if name.name in ("attach", "ctl", "winsz"))
    assert _replay_both(scenario)[:2] == (1, b"out\n")
