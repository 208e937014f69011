"""What gets installed: every file in its place, and each accepted by what will read it.

`meson install` goes into a folder of the test's own; programs are those of $PODSPAN_BUILD or <repo>/build.
"""

import collections
import fnmatch
import json
import os
import re
import select
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("PODSPAN_BUILD") or REPO / "build").absolute()
STAGES = ["createRuntime", "poststart", "poststop"]

# Where meson puts what, below the prefix or absolute.
INSTALLED = [
    "bin/podspan", "sbin/podspand", "sbin/podspan-cri", "libexec/podspan/podspan-hook",
    "libexec/podspan/podspan-probe", "libexec/podspan/podspan-export", "libexec/podspan/containerd-base-spec", "lib/systemd/system/podspand.service",
    "lib/systemd/system/podspan-cri@.service", "lib/systemd/system/run-podspan-spool.mount",
    "lib/sysusers.d/podspan.conf", "lib/tmpfiles.d/podspan.conf", "share/podspan/crio.conf.d/90-podspan.conf",
    "share/podspan/crio.conf.d/91-podspan-monitor.conf", "libexec/podspan/podspan-conmon",
    "share/podspan/containerd/config-v2.toml", "share/podspan/containerd/config-v3.toml",
    "share/podspan/kubelet/90-podspan.conf", *(f"share/podspan/hooks.d/podspan-{stage}.json" for stage in STAGES),
    "/etc/podspan/podspan.conf", "lib/systemd/system/podspan-cri@.socket",
    "sbin/podspan-watch", "lib/systemd/system/podspan-watch.service",
]


def run(*command, **kwargs):
    """Runs a program that has to succeed; returns what it printed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False,
                          stdin=subprocess.DEVNULL, **kwargs)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Tree:
    """An installation below a folder."""

    def __init__(self, root):
        options = json.loads(run("meson", "introspect", "--buildoptions", BUILD))
        self.root, self.prefix = root, next(o["value"] for o in options if o["name"] == "prefix")

    def __truediv__(self, path):
        return self.root / (path[1:] if path.startswith("/") else f"{self.prefix[1:]}/{path}")


@pytest.fixture(name="tree", scope="session")
def fixture_tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    run("meson", "install", "-C", BUILD, "--no-rebuild", env={**os.environ, "DESTDIR": str(root)})
    return Tree(root)


@pytest.fixture(name="config_of", scope="session")
def fixture_config_of(tree):
    """The effective configuration of a file, as {key: (value, origin)}."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PODSPAN_"))}

    def config_of(path):
        text = run(tree / "bin/podspan", "config", "--json", "--config", path, env=environment)
        return {row["key"]: (row["value"], row["origin"]) for row in json.loads(text)["config"]}

    return config_of


@pytest.mark.parametrize("path", INSTALLED)
def test_installed(tree, path):
    assert (tree / path).is_file()


def test_shipped_configuration_changes_nothing(tree, config_of, tmp_path):
    empty = tmp_path / "empty.conf"
    empty.touch()
    assert config_of(tree / "/etc/podspan/podspan.conf") == config_of(empty)


def test_shipped_configuration_has_every_key_at_its_default(tree, config_of, tmp_path):
    """With all keys uncommented nothing is different but where the values come from."""
    shipped = (tree / "/etc/podspan/podspan.conf").read_text(encoding="utf-8")
    uncommented = tmp_path / "uncommented.conf"
    uncommented.write_text(re.sub(r"^#(?=[a-z_]+ = )", "", shipped, flags=re.MULTILINE), encoding="utf-8")
    defaults, values = config_of(tree / "/etc/podspan/podspan.conf"), config_of(uncommented)
    assert {key: value for key, (value, _) in values.items()} == {key: value for key, (value, _) in defaults.items()}
    assert [key for key, (_, origin) in values.items() if origin == "default"] == []
    assert len(values) >= 27


def test_crio_lines_paste_in(tree, config_of, tmp_path):
    """The [crio.tracing] table of the CRI-O drop-in is configuration of ours too."""
    text = (tree / "share/podspan/crio.conf.d/90-podspan.conf").read_text(encoding="utf-8")
    pasted = tmp_path / "pasted.conf"
    pasted.write_text(text[text.index("[crio.tracing]"):], encoding="utf-8")
    assert config_of(pasted)["tracing_endpoint"][0] == "127.0.0.1:4317"


@pytest.mark.parametrize("stage", STAGES)
def test_hooks_d(tree, stage):
    hook = json.loads((tree / f"share/podspan/hooks.d/podspan-{stage}.json").read_text(encoding="utf-8"))
    assert (hook["version"], hook["stages"], hook["when"]) == ("1.0.0", [stage], {"always": True})
    assert hook["hook"]["path"] == f"{tree.prefix}/libexec/podspan/podspan-hook"
    assert hook["hook"]["args"][1:] == ["--stage", stage]


def test_no_other_stage(tree):
    """startContainer would be looked up inside the container and break it."""
    assert len(list((tree / "share/podspan/hooks.d").iterdir())) == len(STAGES)


def test_installed_hook_runs(tree):
    for stage in STAGES:
        run(tree / "libexec/podspan/podspan-hook", "--stage", stage, "--state-dir", "/nonexistent")


@pytest.mark.skipif(not (shutil.which("ctr") and shutil.which("jq")), reason="containerd's ctr and jq are not installed")
def test_containerd_base_spec(tree):
    """containerd's own default with hooks and nothing that a pod would inherit from it by accident."""
    ours = json.loads(run(tree / "libexec/podspan/containerd-base-spec", "--hook", "/h", "--state-dir", "/s"))
    default = json.loads(run("ctr", "oci", "spec"))
    for stage in STAGES:
        assert ours["hooks"][stage] == [
            {"path": "/h", "args": ["podspan-hook", "--stage", stage, "--state-dir", "/s"], "timeout": 5}]
    assert list(ours["hooks"]) == STAGES
    assert "rlimits" not in ours["process"] and "seccomp" not in ours["linux"]
    del ours["hooks"]
    default["process"].pop("rlimits", None)
    default["process"].pop("apparmorProfile", None)
    default["linux"].pop("seccomp", None)
    assert ours == default


def test_base_spec_help(tree):
    text = run(tree / "libexec/podspan/containerd-base-spec", "--help")
    assert "--hook" in text and "set -eu" not in text


def test_documentation_is_installed(tree):
    """What the units name as their documentation is there, and what these pages link to beside them."""
    named = set()
    for unit in (tree / "lib/systemd/system").iterdir():
        named |= set(re.findall(r"\bfile:(\S+)", unit.read_text(encoding="utf-8")))
    assert len(named) >= 4
    for path in named:
        assert (tree / path).is_file(), path


@pytest.mark.parametrize("name", [
    "podspand.service", "podspan-cri@containerd.service", "podspan-cri@crio.service", "podspan-cri@containerd.socket",
    "podspan-cri@crio.socket", "run-podspan-spool.mount", "podspan-watch.service"])
def test_units_verify(tree, name, tmp_path):
    """systemd accepts the units, with programs and the dependencies of the host at hand."""
    units = tree / "lib/systemd/system"
    root = tmp_path / "root"
    shutil.copytree(tree.root, root, symlinks=True)
    folder = root / f"{tree.prefix[1:]}/lib/systemd/system"
    for kind in ("service", "socket") if "@" in name else ():
        shutil.copy(units / f"podspan-cri@.{kind}", folder / f"{name.split('.')[0]}.{kind}")
    # What every system has; without it each unit's implicit dependencies would be reported.
    for unit in ("sysinit.target", "basic.target", "shutdown.target", "umount.target", "network.target",
                 "multi-user.target", "system.slice", "-.slice", "-.mount", "tmp.mount", "systemd-sysusers.service",
                 "systemd-tmpfiles-setup.service"):
        stock = Path("/lib/systemd/system") / unit
        if stock.exists() and not (folder / unit).exists():
            (root / "lib/systemd/system").mkdir(parents=True, exist_ok=True)
            shutil.copy(stock, root / "lib/systemd/system" / unit)
    (root / "bin").mkdir(exist_ok=True)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={root}", name],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and not done.stderr, f"{done.returncode}: {done.stdout}{done.stderr}"


def exposure(unit):
    """What `systemd-analyze security` calls a unit's exposure: 0 to 10."""
    text = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    return float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", text)[1])


def unit_files():
    """The names of all units that are installed."""
    return sorted(path.name.removesuffix(".in") for path in (REPO / "conf.d/systemd").iterdir()
                  if path.name.removesuffix(".in").endswith((".service", ".socket", ".mount")))


@pytest.mark.parametrize("name", unit_files())
def test_units_exposure(tree, name):
    """At most 2.0, and the number stands in the unit, in docs/install.md and in SECURITY.md; what is above has its reason there."""
    unit = tree / "lib/systemd/system" / name
    level = exposure(unit)
    said = re.search(r"^# systemd-analyze security(?: says |: )([0-9.]+)[.,:] (.{40})", unit.read_text(encoding="utf-8"),
                     re.MULTILINE)
    # The weights are systemd's, and differ between versions; the numbers are those of Debian 12's.
    slack = 0 if run("systemctl", "--version").startswith("systemd 252 ") else 0.3
    assert said and abs(float(said[1]) - level) <= slack, f"{level}, in the unit {said and said[1]}"
    assert level <= 2.0 or not name.endswith(".service")
    row = re.search(rf"^\| `{re.escape(name)}` \| ([0-9.]+) \| (.{{20}})",
                    (REPO / "docs/install.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert row and row[1] == said[1], "docs/install.md says something else"
    if name.endswith(".service"):
        program = re.sub(r"@?\.service$", "", name)
        about = re.search(rf"^\* \*\*{program}\*\* \(exposure ([0-9.]+)\)", (REPO / "SECURITY.md").read_text(encoding="utf-8"),
                          re.MULTILINE)
        assert about and about[1] == said[1], "SECURITY.md says something else"


@pytest.mark.parametrize("name", [name for name in unit_files() if name.endswith(".service")])
def test_units_capabilities(tree, name):
    """SECURITY.md and docs/install.md name the capabilities that a unit leaves its program, these and no others."""
    unit = (tree / "lib/systemd/system" / name).read_text(encoding="utf-8")
    lines = re.findall(r"^(CapabilityBoundingSet|AmbientCapabilities)=(.*)$", unit, re.MULTILINE)
    assert sorted(key for key, _ in lines) == ["AmbientCapabilities", "CapabilityBoundingSet"]
    held = {name for _, value in lines for name in value.split()}
    assert all(name.startswith("CAP_") for name in held)
    program = re.sub(r"@?\.service$", "", name)
    security = (REPO / "SECURITY.md").read_text(encoding="utf-8")
    rights = security[security.index("## What runs with which rights"):].partition("\n## ")[0]
    about = re.search(rf"^\* \*\*{program}\*\*.*?(?=^\* |\Z)", rights, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"CAP_[A-Z_]+", about[0])) == held
    row = re.search(rf"^\| `{re.escape(name)}` \|.*$", (REPO / "docs/install.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"CAP_[A-Z_]+", row[0])) == held
    comments = "".join(line for line in unit.splitlines() if line.startswith("#"))
    assert set(re.findall(r"CAP_[A-Z_]+", comments)) - {"CAP_FSETID"} <= held


def system_calls(groups):
    """The names in groups of system calls, as systemd defines them."""
    found, queue = set(), list(groups)
    while queue:
        name = queue.pop()
        if not name.startswith("@"):
            found.add(name)
            continue
        queue += [line.strip() for line in run("systemd-analyze", "syscall-filter", name).splitlines()[1:]
                  if line.strip() and not line.strip().startswith("#")]
    return found


# Calls that a program makes as uid 0 only, as the tests run it.
ROOT_ONLY = {"podspand.service": {"fchown", "mbind"}}


@pytest.mark.parametrize("name,source,also", [
    ("podspan-cri@.service", "cri-hooks/serve/confine.c", ["prctl", "capget", "seccomp", "execve"]),
    ("podspan-watch.service", "proc-watch/kernel/privilege.c", [
        "prctl", "seccomp", "execve", "bpf", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"]),
    ("podspand.service", "agent/collect/seccompf.c", ["prctl", "seccomp", "execve"])])
def test_unit_allows_what_the_program_needs(tree, name, source, also):
    """The unit's filter of system calls is not narrower than the program's own, of which the tests know that it is enough."""
    allowed = set()
    for line in (tree / "lib/systemd/system" / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("SystemCallFilter="):
            words = line.partition("=")[2].split()
            if words[0].startswith("~"):
                allowed -= system_calls([words[0][1:], *words[1:]])
            else:
                allowed |= system_calls(words)
    text = (REPO / source).read_text(encoding="utf-8")
    table = text[text.index("allowed[] = {"):text.index("};", text.index("allowed[] = {"))]
    needed = set(re.findall(r'"([a-z0-9_]+)"', table)) | set(also)
    assert len(needed) > 40
    # What only other architectures have, systemd does not list for this one.
    known = system_calls(["@known"])
    assert sorted((needed & known) - allowed - ROOT_ONLY.get(name, set())) == []


def test_units_stay_in_the_path(tree):
    """podspan-cri is before kubelet, comes back at once for ever, and is the last to be killed."""
    text = (tree / "lib/systemd/system/podspan-cri@.service").read_text(encoding="utf-8")
    for line in ("Before=kubelet.service", "Restart=always", "RestartSec=50ms", "StartLimitIntervalSec=0",
                 "OOMScoreAdjust=-999", "NoNewPrivileges=yes", "CapabilityBoundingSet="):
        assert re.search(rf"^{re.escape(line)}$", text, re.MULTILINE), line
    assert int(re.search(r"^WatchdogSec=(\d+)s$", text, re.MULTILINE)[1]) < 5
    started = re.search(r"^ExecStart=(\S+) --listen (\S+) ", text, re.MULTILINE)
    assert re.search(rf"^ExecReload={re.escape(started[1])} --upgrade --listen {re.escape(started[2])}$", text, re.MULTILINE)
    assert int(re.search(r"^LimitDATA=(\d+)M$", text, re.MULTILINE)[1]) < int(
        re.search(r"^MemoryMax=(\d+)M$", text, re.MULTILINE)[1])
    socket = (tree / "lib/systemd/system/podspan-cri@.socket").read_text(encoding="utf-8")
    for line in ("Before=kubelet.service", "SocketMode=0600", "WantedBy=sockets.target"):
        assert re.search(rf"^{re.escape(line)}$", socket, re.MULTILINE), line


def exec_lines(text, key):
    """The commands of a unit's Exec…= lines, as lists, in order; a failure of one ends the rest, as without a "-"."""
    return [shlex.split(line) for line in re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)]


def reload_unit(tree, name, config, **environment):
    """Does what `systemctl reload` does for a unit of Type=notify: its ExecReload= in order, until one fails. Returns
    (exit code, what was printed, did the daemon's stand-in get SIGHUP)."""
    text = (tree / "lib/systemd/system" / name).read_text(encoding="utf-8")
    script = "trap 'echo hangup; exit' HUP; echo ready; while :; do read -t 0.05 <> <(:); done"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PODSPAN_"))}
    output, code = "", 0
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stdout.readline() == "ready\n"
            commands = exec_lines(text, "ExecReload")
            assert commands
            for command in commands:
                assert not command[0].startswith("-"), "a failure has to be seen"
                command = [part.replace("$MAINPID", str(daemon.pid)) for part in command]
                if not command[0].startswith("/bin/"):
                    command[0] = str(tree / command[0].removeprefix(tree.prefix + "/"))
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False,
                                      env={**clean, "PODSPAN_CONFIG": str(config), **environment})
                output, code = output + done.stdout + done.stderr, done.returncode
                if code != 0:
                    break
            hung_up = bool(select.select([daemon.stdout], [], [], 10 if code == 0 else 0.3)[0])
        finally:
            daemon.kill()
    return code, output, hung_up


RELOADED = ["podspand.service", "podspan-watch.service"]


@pytest.mark.parametrize("name", RELOADED)
def test_units_reload(tree, name, tmp_path):
    """`systemctl reload` sends the signal on which the program reads its configuration again; one that is wrong fails the
    reload with the file and line, and the program is not bothered."""
    text = (tree / "lib/systemd/system" / name).read_text(encoding="utf-8")
    assert re.search(r"^Type=notify$", text, re.MULTILINE)
    config = tmp_path / "podspan.conf"
    config.write_text("tracing_endpoint = localhost:4317\n", encoding="utf-8")
    assert reload_unit(tree, name, config) == (0, "", True)
    config.write_text("# one\ntracing_sampling_rate_per_million = many\n", encoding="utf-8")
    code, output, hung_up = reload_unit(tree, name, config)
    assert code == 1 and f"{config}:2: tracing_sampling_rate_per_million" in output and not hung_up
    config.unlink()
    code, output, hung_up = reload_unit(tree, name, config)
    assert code == 1 and str(config) in output and not hung_up


def test_podspand_reload_reads_certificates(tree, tmp_path):
    """What it would refuse of a configuration that has no wrong line."""
    config = tmp_path / "podspan.conf"
    config.write_text(f"tracing_endpoint = https://collector:4317\ntracing_certificate = {tmp_path}/ca.pem\n",
                      encoding="utf-8")
    code, output, hung_up = reload_unit(tree, "podspand.service", config)
    assert code == 1 and f"{tmp_path}/ca.pem: No such file" in output and not hung_up
    (tmp_path / "ca.pem").touch()
    assert reload_unit(tree, "podspand.service", config)[0] == 0
    # Without TLS nobody looks for it.
    config.write_text("tracing_endpoint = http://collector:4317\ntracing_certificate = /nowhere.pem\n", encoding="utf-8")
    assert reload_unit(tree, "podspand.service", config)[0] == 0


def test_watch_ends_for_good(tree):
    """Where podspan-watch cannot run, its unit has failed and says so: it is neither started again nor skipped in silence."""
    text = (tree / "lib/systemd/system/podspan-watch.service").read_text(encoding="utf-8")
    code = re.search(r"^#define WATCHSTATE_EXIT_REFUSED (\d+)$", (REPO / "lib/node/watchstate.h").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert code in re.search(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE)[1].split()
    assert not re.search(r"^Condition", text, re.MULTILINE)
    # Of kernels before 5.11: what it maps is charged to it, and it may not raise the limit.
    assert re.search(r"^LimitMEMLOCK=infinity$", text, re.MULTILINE)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_spool_is_resized_by_a_reload(tree, tmp_path):
    """What systemd does on `systemctl reload` of the mount (mount -o remount), with the spool in use: another size, the same
    files. A restart's umount is refused as docs/spool.md says."""
    text = (tree / "lib/systemd/system/run-podspan-spool.mount").read_text(encoding="utf-8")
    options = re.search(r"^Options=(.*)$", text, re.MULTILINE)[1].replace("gid=podspan", "gid=0")
    assert "size=64M" in options
    script = r"""set -e
        mount -t tmpfs -o "$2" podspan-spool "$1"
        touch "$1/1-span.otlp"
        exec 9< "$1"
        LC_ALL=C umount "$1" 2>&1 | grep -q busy
        mount -t tmpfs -o "remount,${2/size=64M/size=128M}" podspan-spool "$1"
        ls "$1"
        stat -f -c '%b %S %c' "$1"
        grep " $1 " /proc/mounts"""
    printed = run("unshare", "--mount", "--propagation", "private", "bash", "-c", script, "bash", tmp_path, options).splitlines()
    blocks, size, inodes = map(int, printed[1].split())
    assert printed[0] == "1-span.otlp" and blocks * size == 128 << 20 and inodes == 16 << 10
    assert {"nosuid", "nodev", "noexec"} <= set(printed[2].split()[3].split(","))
    page = (REPO / "docs/spool.md").read_text(encoding="utf-8")
    assert "systemctl reload run-podspan-spool.mount" in page and "target is busy" in page


def test_crio_socket_name(tree):
    """kubelet knows CRI-O by this suffix (ARCHITECTURE.md, decision 12)."""
    text = (tree / "lib/systemd/system/podspan-cri@.socket").read_text(encoding="utf-8").replace("%i", "crio")
    assert re.search(r"^ListenStream=.*/run/crio/crio\.sock$", text, re.MULTILINE)


# What a page or a message may do with a unit; the others work on none.
ON_UNITS = {"start", "stop", "restart", "try-restart", "reload", "reload-or-restart", "try-reload-or-restart", "enable", "disable",
            "edit", "status", "kill", "mask", "unmask", "reset-failed", "show", "cat", "is-active"}
ON_NONE = {"daemon-reload", "daemon-reexec"}
TYPED = re.compile(r"[\w.%@*?\[\]-]+\.(service|socket|mount|target|timer|path|slice|scope)$")


def systemctl_lines(text, code=False):
    """Each `systemctl …` in a text, as the list of its words; in C its literals are put together first."""
    if code:
        text = re.sub(r'"\s*\n\s*"', "", text).replace("\\n", "\n").replace('\\"', "'")
    lines = [re.split(r'[`"#;|()\n,]|&&|: |\. |, ', found)[0] for found in re.findall(r"systemctl +((?:(?!systemctl )[^\n])*)", text)]
    return [[word.strip("'").rstrip(".:") for word in line.split() if word != "…"] for line in lines]


def untyped(words):
    """What is wrong with the words of a systemctl line; nothing, if all is well."""
    verb, *units = [word for word in words if not word.startswith("-")] or [""]
    if verb in ON_NONE or verb == "":
        return units
    if verb not in ON_UNITS:
        return [verb]
    return [unit for unit in units if not TYPED.match(unit)]


def documents():
    """Every page, unit, help text and source of ours, with what it says of systemctl."""
    folders = ("docs", "conf.d", "lib", "agent", "cli", "cri-hooks", "oci-hooks", "proc-watch", "shim")
    files = [path for folder in folders for path in (REPO / folder).rglob("*") if path.is_file()]
    files += [*REPO.glob("*.md"), REPO / "demo", REPO / "check"]
    return {path: path.read_text(encoding="utf-8", errors="replace") for path in files}


def test_systemctl_names_units_by_type():
    """Without its type, a pattern as podspan-cri@* also means the socket unit, whose restart fails calls and ends a bypass."""
    assert untyped(["restart", "podspan-watch"]) == ["podspan-watch"]
    assert untyped(["try-reload-or-restart", "podspan-cri@*"]) == ["podspan-cri@*"]
    assert untyped(["enable", "--now", "run-podspan-spool.mount", "podspand"]) == ["podspand"]
    assert untyped(["restrat", "podspand.service"]) == ["restrat"]
    assert not untyped(["reload", "podspan-cri@*.service"]) and not untyped(["daemon-reload"])
    assert systemctl_lines('"then: systemctl restart "\n   "kubelet\\nmore"', code=True) == [["restart", "kubelet"]]
    assert systemctl_lines("x `systemctl reload 'a@*.service'`: no (systemctl stop b)") == [["reload", "a@*.service"], ["stop", "b"]]
    found, wrong = 0, []
    for path, text in documents().items():
        for words in systemctl_lines(text, code=path.suffix in (".c", ".h")):
            found += 1
            if untyped(words):
                wrong.append(f"{path.relative_to(REPO)}: systemctl {' '.join(words)}")
    assert not wrong, "\n".join(wrong)
    assert found >= 25


def test_the_documented_upgrade_leaves_the_socket_alone():
    """By systemd's own rule for patterns, fnmatch(3), what the pages say of the running podspan-cri names no socket unit."""
    patterns = {word for path, text in documents().items() for words in systemctl_lines(text, path.suffix in (".c", ".h"))
                for word in words if "*" in word}
    assert patterns
    for pattern in patterns:
        assert fnmatch.fnmatchcase("podspan-cri@containerd.service", pattern), pattern
        assert not fnmatch.fnmatchcase("podspan-cri@containerd.socket", pattern), pattern


def pages():
    """The names of all pages in docs/, without the index."""
    return sorted(path.name for path in (REPO / "docs").glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("page", pages())
def test_page_is_in_the_index_and_installed(tree, page):
    index = (REPO / "docs/README.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| \[{re.escape(page)}\]\({re.escape(page)}\) \| .{{10}}", index, re.MULTILINE)
    installed = tree / "share/doc/podspan" / page
    assert installed.read_bytes() == (REPO / "docs" / page).read_bytes()


def test_pages_that_are_named_exist():
    """Each docs/NAME.md that a page, a unit, a comment or a message names is there, and so is what pages link to."""
    named = {}
    for path, text in documents().items():
        for page in re.findall(r"docs/([\w-]+\.md)", text):
            named.setdefault(page, []).append(path)
        if path.parent == REPO / "docs":
            for link in re.findall(r"\]\(([\w./-]+)(?:#[^)]*)?\)", text):
                assert (path.parent / link).exists(), f"{path}: {link}"
    assert len(named) >= 8
    wrong = {page: where for page, where in named.items() if not (REPO / "docs" / page).is_file()}
    assert not wrong


def test_numbers_of_the_pages():
    """A number that stands in two places is the same in both."""
    page, header = ((REPO / name).read_text(encoding="utf-8") for name in ("docs/agent.md", "agent/agent.h"))
    assert re.search(r"taken in within (\d+) ms", page)[1] == re.search(r"AGENT_TURN_DELAY_NS \((\d+) \* NSEC_PER_MSEC\)", header)[1]
    # What is lost of a burst, by nice value.
    measured = re.search(r"(\d+) % were lost at nice 0, .*?at nice 19 (\d+) %", (REPO / "docs/watch.md").read_text(encoding="utf-8"))
    said = re.search(r"At nice 0 it lost (\d+) % of them, at nice 19 (\d+) %",
                     (REPO / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    assert said and measured.groups() == said.groups()
    unit = (REPO / "conf.d/systemd/podspan-watch.service.in").read_text(encoding="utf-8")
    nice = re.search(r"^Nice=-(\d+)$", unit, re.MULTILINE)[1]
    assert f"nice −{nice}" in (REPO / "ARCHITECTURE.md").read_text(encoding="utf-8")


def attacks():
    """The rows of SECURITY.md's table: (attack, cases, what held, tests)."""
    text = (REPO / "SECURITY.md").read_text(encoding="utf-8")
    rows = [line for line in text[text.index("## What was attacked"):].splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows[1:] if not set(row) <= set("|- ")]


@pytest.fixture(name="collected", scope="module")
def fixture_collected():
    """How many cases each integration test has: {"test_x.py::test_y": 3}."""
    text = run("/usr/bin/python3", "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", REPO / "tests/integration",
               env={**os.environ, "PODSPAN_BUILD": str(BUILD), "PYTHONDONTWRITEBYTECODE": "1"}, cwd=REPO)
    return collections.Counter(line.partition("[")[0].rpartition("/")[2] for line in text.splitlines() if "::" in line)


@pytest.mark.skipif(os.geteuid() != 0, reason="integration tests collect as root only")
@pytest.mark.parametrize("row", attacks(), ids=lambda row: re.sub(r"\W+", "-", row[0])[:50])
def test_attack_is_made_by_tests(collected, row):
    """SECURITY.md: a row names tests that exist, and says how many they are."""
    assert len(row) == 4 and all(row), row
    names = re.findall(r"`([^`]+)`", row[3])
    assert names and not re.sub(r"`[^`]+`", "", row[3]).strip(), "only tests stand in the last column"
    count = 0
    for name in names:
        if name == "tests/fuzz":
            targets = [path.stem.removeprefix("fuzz-") for path in (REPO / name).rglob("fuzz-*.c")]
            assert len(targets) > 30
            assert [target for target in targets if not any((REPO / "tests/fuzz/corpus" / target).glob("*"))] == []
            return
        file, _, test = name.partition("::")
        if file.endswith(".c"):
            (path,) = (REPO / "tests/unit").rglob(file)
            assert re.search(rf"cmocka_unit_test\w*\({re.escape(test)}\b", path.read_text(encoding="utf-8")), name
            count += 1
        else:
            cases = collected.get(name, 0)
            assert cases, f"{name} is not there"
            count += cases
    assert re.match(r"\d+(, |$)", row[1]) and int(re.match(r"\d+", row[1])[0]) == count, f"{count} cases"


def test_attacks_are_many():
    assert len(attacks()) >= 20
