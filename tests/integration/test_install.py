"""podspan install, uninstall on trees as kubeadm, containerd and CRI-O leave them: back to the byte, checked by the
runtimes themselves. Nothing of this machine's own configuration takes part: --root."""

import contextlib
import fcntl
import glob
import json
import os
import pathlib
import pty
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PODSPAN_BUILD", ROOT / "build"))
PODSPAN = BUILD / "cli" / "podspan"
CONF_D = ROOT / "conf.d"
# LeakSanitizer cannot work below strace.
NO_LEAKS = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
OURS = "unix:///run/podspan/run/containerd/containerd.sock"
OURS_CRIO = "unix:///run/podspan/run/crio/crio.sock"

KUBEADM_CONFIG = """\
apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  anonymous:
    enabled: false
  x509:
    clientCAFile: /etc/kubernetes/pki/ca.crt
cgroupDriver: systemd
clusterDNS:
- 10.96.0.10
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock
cpuManagerReconcilePeriod: 0s
imageMaximumGCAge: 0s
kind: KubeletConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
rotateCertificates: true
staticPodPath: /etc/kubernetes/manifests
"""
KUBEADM_FLAGS = ('KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///var/run/containerd/containerd.sock '
                 '--pod-infra-container-image=registry.k8s.io/pause:3.10"\n')
KUBEADM_DROP_IN = """\
# Note: This dropin only works with kubeadm and kubelet v1.11+
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
# This is a file that "kubeadm init" and "kubeadm join" generates at runtime
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""
KUBELET_UNIT = "[Unit]\nDescription=kubelet\n\n[Service]\nExecStart=/usr/bin/kubelet\nRestart=always\n"


def peer(pattern):
    found = sorted(glob.glob(f"/var/cache/podspan/peers/{pattern}"))
    assert found, f"no {pattern} among the built peers: tests/peers/build makes it"
    return found[-1]


class Node:
    """A node's tree, and podspan's own files as a package would have put them there."""

    def __init__(self, top):
        self.top = top
        self.root = top / "root"
        self.libexec = top / "libexec"
        self.data = top / "share"
        for folder in ("etc", "proc", "run", "var/lib"):
            (self.root / folder).mkdir(parents=True)
        self.libexec.mkdir()
        values = {"@libexecdir@": str(self.libexec), "@pkgdatadir@": str(self.data)}
        for source, target in [(p, self.data / p.relative_to(CONF_D)) for p in CONF_D.rglob("*") if p.is_file()]:
            if target.parts[len(self.data.parts)] not in ("hooks.d", "crio.conf.d", "containerd"):
                continue
            text = source.read_text()
            for key, value in values.items():
                text = text.replace(key, value)
            if target.name.startswith("containerd-base-spec"):
                target = self.libexec / "containerd-base-spec"
            elif target.suffix == ".in":
                target = target.with_suffix("")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        (self.libexec / "containerd-base-spec").chmod(0o755)
        self.hook = self.write(f"{self.libexec}/podspan-hook", "#!/bin/sh\n", 0o755)

    def path(self, name):
        return self.root / str(name).lstrip("/")

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def process(self, pid, *argv, exe="/usr/bin/kubelet", uid=0, nspid=None, parent=1, mnt="mnt:[4026531841]",
                cgroup="0::/system.slice/kubelet.service\n", mode=0o755, without=()):
        """What a tree has to show of a process for it to be believed; PID 1 comes with it."""
        if not self.path("/proc/1").exists():
            self.write("/proc/1/cgroup", "0::/init.scope\n")
            self.path("/proc/1/ns").mkdir()
            self.path("/proc/1/ns/mnt").symlink_to("mnt:[4026531841]")
        folder = f"/proc/{pid}"
        shutil.rmtree(self.path(folder), ignore_errors=True)
        self.write(f"{folder}/cmdline", b"".join(a.encode() + b"\0" for a in argv))
        self.write(f"{folder}/status", f"Name:\tkubelet\nUmask:\t0022\nPid:\t{pid}\nPPid:\t{parent}\n"
                   f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t{nspid or pid}\n")
        self.write(f"{folder}/cgroup", cgroup)
        self.path(f"{folder}/ns").mkdir()
        self.path(f"{folder}/ns/mnt").symlink_to(mnt)
        self.path(f"{folder}/exe").symlink_to(exe)
        self.write(exe, "", mode)
        for name in without:
            self.path(f"{folder}/{name}").unlink()

    def read(self, name):
        return self.path(name).read_text()

    def run(self, *args, code=0, stdin=None):
        done = subprocess.run([PODSPAN, args[0], "--root", self.root, *args[1:]], capture_output=True, text=True,
                              input=stdin, timeout=60, env={**os.environ, "NO_COLOR": "1", "LC_ALL": "C.UTF-8"})
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def install(self, target, *args, code=0):
        return self.run("install", target, "--yes", "--data-dir", self.data, "--libexec-dir", self.libexec, *args,
                        code=code)

    def uninstall(self, target, *args, code=0):
        return self.run("uninstall", target, "--yes", *args, code=code)

    def snapshot(self):
        """Everything there is below the root: type, mode, owner, contents."""
        out = {}
        for path in sorted(self.root.rglob("*")):
            st = path.lstat()
            what = (os.readlink(path) if path.is_symlink() else path.read_bytes() if stat.S_ISREG(st.st_mode) else None)
            out[str(path.relative_to(self.root))] = (stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid,
                                                     st.st_gid, what)
        return out


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@pytest.fixture
def kubeadm(node):
    node.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG, 0o600)
    node.write("/var/lib/kubelet/kubeadm-flags.env", KUBEADM_FLAGS)
    node.write("/usr/lib/systemd/system/kubelet.service", KUBELET_UNIT)
    node.write("/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", KUBEADM_DROP_IN)
    return node


def changed_lines(before, after):
    a, b = before.splitlines(), after.splitlines()
    assert len(a) == len(b)
    return [(x, y) for x, y in zip(a, b) if x != y]


# kubelet


def test_kubeadm_there_and_back(kubeadm):
    before = kubeadm.snapshot()
    done = kubeadm.install("kubelet")
    assert changed_lines(KUBEADM_CONFIG, kubeadm.read("/var/lib/kubelet/config.yaml")) == [
        ("containerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock", f"containerRuntimeEndpoint: {OURS}")]
    assert kubeadm.read("/var/lib/kubelet/kubeadm-flags.env") == KUBEADM_FLAGS.replace(
        "unix:///var/run/containerd/containerd.sock", OURS)
    assert stat.S_IMODE(kubeadm.path("/var/lib/kubelet/config.yaml").stat().st_mode) == 0o600
    assert "--- /var/lib/kubelet/config.yaml\n+++ /var/lib/kubelet/config.yaml\n@@ " in done.stdout
    assert f"+containerRuntimeEndpoint: {OURS}\n" in done.stdout
    assert "systemctl restart kubelet.service" in done.stdout
    backup = kubeadm.path("/etc/podspan/backup/kubelet")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700
    assert any(p.read_text() == KUBEADM_CONFIG for p in backup.iterdir())

    kubeadm.uninstall("kubelet")
    assert kubeadm.snapshot() == before


def test_dry_run_changes_nothing(kubeadm):
    before = kubeadm.snapshot()
    done = kubeadm.run("install", "kubelet", "--dry-run", "--data-dir", kubeadm.data)
    assert f"+containerRuntimeEndpoint: {OURS}" in done.stdout
    assert kubeadm.snapshot() == before
    document = json.loads(kubeadm.run("install", "kubelet", "--dry-run", "--json").stdout)
    assert document["changed"] is False and document["dry_run"] is True
    assert {f["path"]: f["change"] for f in document["files"]} == {
        "/var/lib/kubelet/config.yaml": "edit", "/var/lib/kubelet/kubeadm-flags.env": "edit",
        "/etc/tmpfiles.d/podspan-bypass.conf": "create"}
    kubeadm.install("kubelet")
    after = kubeadm.snapshot()
    kubeadm.run("uninstall", "kubelet", "--dry-run")
    assert kubeadm.snapshot() == after


def test_asks_on_a_terminal_only(kubeadm):
    before = kubeadm.snapshot()
    kubeadm.run("install", "kubelet", code=2, stdin="y\n")
    assert kubeadm.snapshot() == before
    for answer, code in ((b"n\n", 3), (b"y\n", 0)):
        master, slave = pty.openpty()
        process = subprocess.Popen([PODSPAN, "install", "--root", kubeadm.root, "kubelet"], stdin=slave,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(slave)
        os.write(master, answer)
        out, err = process.communicate(timeout=20)
        os.close(master)
        assert process.returncode == code, err
        assert b"--- /var/lib/kubelet/config.yaml" in out and b"[y/N]" in err
        assert (kubeadm.snapshot() == before) == (code == 3)


def test_crio_keeps_its_suffix_and_kubelets_choice_of_statistics(node):
    """kubelet: cadvisor.UsingLegacyCadvisorStats() is a test of the endpoint's suffix."""
    config = KUBEADM_CONFIG.replace("unix:///var/run/containerd/containerd.sock", "unix:///var/run/crio/crio.sock")
    node.write("/var/lib/kubelet/config.yaml", config)
    before = node.snapshot()
    done = node.install("kubelet")
    endpoint = [line for line in node.read("/var/lib/kubelet/config.yaml").splitlines() if "Endpoint" in line]
    assert endpoint == [f"containerRuntimeEndpoint: {OURS_CRIO}"]
    assert OURS_CRIO.endswith("run/crio/crio.sock")
    assert "statistics" not in done.stdout
    node.uninstall("kubelet")
    assert node.snapshot() == before


def test_flags_in_units_a_vendors_unit_is_overridden(node):
    node.write("/lib/systemd/system/kubelet.service",
               "[Service]\nExecStart=/usr/bin/kubelet \\\n  --config /etc/kubernetes/kubelet.yaml \\\n"
               "  --container-runtime-endpoint unix:///run/containerd/containerd.sock \\\n"
               "  --image-service-endpoint='/run/containerd/containerd.sock' \\\n  --v=2 $X\n"
               "# --container-runtime-endpoint=unix:///run/containerd/containerd.sock\n")
    node.write("/etc/systemd/system/kubelet.service.d/20-more.conf",
               '[Service]\nEnvironment="X=--container-runtime-endpoint=unix:///run/containerd/containerd.sock"\n')
    before = node.snapshot()
    node.install("kubelet")
    assert node.read("/lib/systemd/system/kubelet.service") == before["lib/systemd/system/kubelet.service"][4].decode()
    assert node.read("/etc/systemd/system/kubelet.service") == (
        f"[Service]\nExecStart=/usr/bin/kubelet \\\n  --config /etc/kubernetes/kubelet.yaml \\\n"
        f"  --container-runtime-endpoint {OURS} \\\n  --image-service-endpoint='{OURS}' \\\n  --v=2 $X\n"
        f"# --container-runtime-endpoint=unix:///run/containerd/containerd.sock\n")
    assert node.read("/etc/systemd/system/kubelet.service.d/20-more.conf") == (
        f'[Service]\nEnvironment="X=--container-runtime-endpoint={OURS}"\n')
    node.uninstall("kubelet")
    assert node.snapshot() == before


def test_json_config_and_drop_ins_and_image_service(node):
    config = '{"kind":"KubeletConfiguration","apiVersion":"kubelet.config.k8s.io/v1beta1",\n' \
             ' "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock","maxPods":58}'
    node.write("/etc/kubernetes/kubelet/config.json", config)
    node.write("/etc/kubernetes/kubelet/config.json.d/40-x.conf",
               "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
               "imageServiceEndpoint: 'unix:///run/containerd/containerd.sock' # lazily\n")
    node.write("/etc/systemd/system/kubelet.service",
               "[Service]\nExecStart=/usr/bin/kubelet --config /etc/kubernetes/kubelet/config.json "
               "--config-dir /etc/kubernetes/kubelet/config.json.d\n")
    before = node.snapshot()
    node.install("kubelet")
    assert node.read("/etc/kubernetes/kubelet/config.json") == config.replace(
        "unix:///run/containerd/containerd.sock", OURS)
    assert f"imageServiceEndpoint: '{OURS}' # lazily\n" in node.read("/etc/kubernetes/kubelet/config.json.d/40-x.conf")
    node.uninstall("kubelet")
    assert node.snapshot() == before


SHORT_CONFIG = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 10"


def test_the_running_kubelets_command_line_counts(node):
    node.write("/srv/kubelet.yaml", SHORT_CONFIG)
    node.process(4711, "/usr/bin/kubelet", "--config", "/srv/kubelet.yaml")
    before = node.snapshot()
    node.install("kubelet")
    assert node.read("/srv/kubelet.yaml") == f"{SHORT_CONFIG}\ncontainerRuntimeEndpoint: {OURS}\n"
    node.uninstall("kubelet")
    assert node.snapshot() == before
    # A flag that stands in no file wins over every file.
    node.process(4711, "/usr/bin/kubelet", "--config=/srv/kubelet.yaml",
                 "--container-runtime-endpoint=unix:///run/containerd/containerd.sock")
    before = node.snapshot()
    done = node.install("kubelet", code=1)
    assert "pid 4711" in done.stderr and node.snapshot() == before


POD = "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2f1e6a1c_1111_4222_8333_0123456789ab.slice/x.scope\n"
CONTAINER = f"1:name=systemd:/docker/{'0123456789abcdef' * 4}\n"


@pytest.mark.parametrize("why,change", [
    ("its user is 33", {"uid": 33}),
    ("pid namespace of its own", {"nspid": "4711\t1"}),
    ("it executes /usr/bin/sleep", {"exe": "/usr/bin/sleep"}),
    ("it executes /usr/bin/kubelet-wrapper", {"exe": "/usr/bin/kubelet-wrapper"}),
    ("others than root can write its program", {"mode": 0o775}),
    ("in a pod or container", {"cgroup": POD}),
    ("in a pod or container", {"cgroup": CONTAINER}),
    ("not the main process of its unit", {"parent": 812}),
    ("its cgroup cannot be read", {"without": ["cgroup"]}),
    ("its program cannot be seen", {"without": ["exe"]}),
    ("its status cannot be read", {"without": ["status"]}),
    ("its mount namespace cannot be seen", {"without": ["ns/mnt"]}),
])
def test_a_name_that_a_process_gives_itself_proves_nothing(node, why, change):
    """The file that such a process names is not looked at; with all that a kubelet has it is."""
    node.write("/srv/kubelet.yaml", SHORT_CONFIG)
    node.process(4711, "/usr/bin/kubelet", "--config=/srv/kubelet.yaml", **change)
    before = node.snapshot()
    done = node.install("kubelet", code=1)
    assert "no KubeletConfiguration" in done.stderr and node.snapshot() == before
    found = doctor(node)
    assert why in found["kubelet.process"]["evidence"] and "pid 4711" in found["kubelet.process"]["evidence"]
    assert found["kubelet.process"]["severity"] == "note" and "kubelet.found" in found
    # It does not stand in the way of the files that are there, and is named.
    node.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG)
    assert why in node.install("kubelet").stdout
    assert node.read("/srv/kubelet.yaml") == SHORT_CONFIG


@pytest.mark.parametrize("cgroup", [f"0::/docker/{'0123456789abcdef' * 4}/kubelet.slice/kubelet.service\n",
                                    f"0::/docker/{'0123456789abcdef' * 4}/init\n"])
def test_the_node_may_be_a_container_itself(node, cgroup):
    """kind, minikube: the node is what PID 1 is in."""
    node.write("/srv/kubelet.yaml", SHORT_CONFIG)
    node.process(4711, "/usr/bin/kubelet", "--config=/srv/kubelet.yaml", cgroup=cgroup)
    assert "kubelet.found" in doctor(node)
    node.write("/proc/1/cgroup", f"0::/docker/{'0123456789abcdef' * 4}/init.scope\n")
    assert doctor(node)["kubelet.process"]["severity"] == "ok"
    node.install("kubelet")
    assert OURS in node.read("/srv/kubelet.yaml")


def test_of_two_kubelets_none_is_believed(kubeadm):
    for pid in (4711, 4712):
        kubeadm.process(pid, "/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml")
    before = kubeadm.snapshot()
    done = kubeadm.install("kubelet", code=1)
    assert "pid 4711" in done.stderr and "pid 4712" in done.stderr and kubeadm.snapshot() == before
    found = doctor(kubeadm)["kubelet.process"]
    assert found["severity"] == "warning" and "4711" in found["evidence"] and "4712" in found["evidence"]


def test_a_crowd_of_that_name_hides_nothing(kubeadm):
    for pid in range(100, 140):
        kubeadm.process(pid, "/tmp/kubelet", uid=33)
    kubeadm.process(4711, "/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml")
    assert doctor(kubeadm)["kubelet.process"]["evidence"] == "/proc/4711"
    kubeadm.install("kubelet")


def test_a_kubelet_in_another_mount_namespace_is_told_and_never_edited(kubeadm):
    """Talos: init starts kubelet in a container of the host's pid namespace."""
    kubeadm.process(4711, "/usr/local/bin/kubelet", "--config=/etc/kubernetes/kubelet.yaml",
                    "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
                    exe="/usr/local/bin/kubelet", mnt="mnt:[4026532999]", cgroup="0::/podruntime/kubelet\n", parent=600)
    kubeadm.write("/etc/kubernetes/kubelet.yaml", SHORT_CONFIG)
    before = kubeadm.snapshot()
    done = kubeadm.install("kubelet", code=1)
    assert "pid 4711" in done.stderr and "mount namespace" in done.stderr and kubeadm.snapshot() == before
    found = doctor(kubeadm)["kubelet.process"]
    assert found["severity"] == "warning" and found["evidence"] == "/proc/4711" and "never edited" in found["text"]


SSHD_CONFIG = "# sshd\nPermitRootLogin: no\nUsePAM: yes\n"


@pytest.mark.parametrize("text", [SSHD_CONFIG, "apiVersion: v1\nkind: KubeletConfiguration\n",
                                  "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: Other\n", "kind: KubeletConfiguration\n"])
def test_only_a_kubelet_configuration_is_edited(node, text):
    node.write("/etc/ssh/sshd_config", text)
    node.process(4711, "/usr/bin/kubelet", "--config=/etc/ssh/sshd_config")
    before = node.snapshot()
    done = node.install("kubelet", code=1)
    assert "/etc/ssh/sshd_config: not edited: it is no KubeletConfiguration" in done.stderr
    assert node.snapshot() == before


def test_only_a_file_of_roots_is_edited(kubeadm):
    for change in (lambda path: os.chown(path, 33, 33), lambda path: path.chmod(0o666),
                   lambda path: os.chown(path.parent, 33, 33), lambda path: path.parent.chmod(0o777)):
        for name in ("config.yaml", "kubeadm-flags.env"):
            path = kubeadm.path(f"/var/lib/kubelet/{name}")
            change(path)
            before = kubeadm.snapshot()
            done = kubeadm.install("kubelet", code=1)
            assert "not edited: others than root can write it" in done.stderr and kubeadm.snapshot() == before
            for one in (path, path.parent):
                os.chown(one, 0, 0)
            path.parent.chmod(0o755)
            path.chmod(0o644)
    kubeadm.install("kubelet")


def test_kubeadms_patch_has_no_kind(kubeadm):
    """kubeadm 1.34 writes instance-config.yaml with this one line."""
    kubeadm.write("/var/lib/kubelet/instance-config.yaml",
                  'containerRuntimeEndpoint: "unix:///var/run/containerd/containerd.sock"\n')
    kubeadm.install("kubelet")
    assert kubeadm.read("/var/lib/kubelet/instance-config.yaml") == f'containerRuntimeEndpoint: "{OURS}"\n'


@pytest.mark.parametrize("path", ["/run/podspan/../../home/x/containerd.sock", "/run/podspan/run/../../../home/x/containerd.sock",
                                  "/run/podspan/run/link/containerd.sock", "/run/podspan/../home/x/containerd.sock"])
def test_ours_is_what_lies_in_our_folder(node, path):
    """Opened beneath it: not a path that begins with its name."""
    for folder in ("/run/podspan/run/containerd", "/home/x"):
        node.path(folder).mkdir(parents=True)
    node.path("/run/podspan/run/link").symlink_to("/home/x")
    (node.path("/home/x/containerd.sock")).touch()
    node.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG.replace("/var/run/containerd/containerd.sock", path))
    assert doctor(node)["kubelet.endpoint"]["severity"] == "error"
    node.install("kubelet")
    assert f"containerRuntimeEndpoint: {OURS}\n" in node.read("/var/lib/kubelet/config.yaml")
    assert doctor(node)["kubelet.endpoint"]["severity"] == "ok"


def test_another_socket_of_the_runtime(node):
    node.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG.replace("/var/run/containerd", "/run/k3s/containerd"))
    before = node.snapshot()
    node.install("kubelet")
    unit = node.read("/etc/systemd/system/podspan-cri@containerd.service.d/10-runtime.conf")
    assert "--runtime /run/k3s/containerd/containerd.sock\n" in unit
    node.uninstall("kubelet")
    assert node.snapshot() == before
    node.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG.replace("containerd.sock", "dockerd.sock"))
    assert "--runtime" in node.install("kubelet", code=1).stderr


def test_what_others_edit_meanwhile_stays(kubeadm):
    """Another flag on the line that has ours, lines before and after, and our own line moved."""
    kubeadm.install("kubelet")
    flags = kubeadm.path("/var/lib/kubelet/kubeadm-flags.env")
    flags.write_text(flags.read_text().replace('3.10"', '3.10 --node-ip=10.0.0.7"'))
    config = kubeadm.path("/var/lib/kubelet/config.yaml")
    config.write_text("# mine\n" + config.read_text().replace("cgroupDriver: systemd", "cgroupDriver: cgroupfs") +
                      "maxPods: 250\n")
    done = kubeadm.uninstall("kubelet")
    assert "only our change is taken out" in done.stdout
    assert flags.read_text() == KUBEADM_FLAGS.replace('3.10"', '3.10 --node-ip=10.0.0.7"')
    assert config.read_text() == "# mine\n" + KUBEADM_CONFIG.replace("cgroupDriver: systemd", "cgroupDriver: cgroupfs") + \
        "maxPods: 250\n"
    assert not kubeadm.path("/etc/podspan/backup/kubelet").exists()
    assert list(kubeadm.path("/etc/podspan/backup").glob("kubelet.removed-*"))


def test_ours_taken_out_by_hand_before(kubeadm):
    kubeadm.install("kubelet")
    config = kubeadm.path("/var/lib/kubelet/config.yaml")
    mine = KUBEADM_CONFIG.replace("unix:///var/run/containerd", "unix:///run/containerd") + "maxPods: 3\n"
    config.write_text(mine)
    kubeadm.uninstall("kubelet")
    assert config.read_text() == mine


def test_a_file_that_would_still_lead_to_us_is_not_left_so(kubeadm):
    kubeadm.install("kubelet")
    config = kubeadm.path("/var/lib/kubelet/config.yaml")
    config.write_text(config.read_text().replace("containerd.sock", "containerd.sock?x"))
    edited = kubeadm.snapshot()
    done = kubeadm.uninstall("kubelet", code=1)
    assert "/var/lib/kubelet/config.yaml" in done.stderr and "by hand" in done.stderr
    assert kubeadm.snapshot() == edited
    config.write_text(KUBEADM_CONFIG)
    kubeadm.uninstall("kubelet")
    assert kubeadm.read("/var/lib/kubelet/kubeadm-flags.env") == KUBEADM_FLAGS


def test_twice_and_after_an_upgrade_of_kubeadm(kubeadm):
    before = kubeadm.snapshot()
    kubeadm.install("kubelet")
    after = kubeadm.snapshot()
    assert "nothing to change" in kubeadm.install("kubelet").stdout
    assert kubeadm.snapshot() == after
    # kubeadm writes its file anew, with a new line in it.
    new = KUBEADM_CONFIG.replace("/var/run/", "/run/") + "failSwapOn: false\n"
    kubeadm.write("/var/lib/kubelet/config.yaml", new, 0o600)
    kubeadm.install("kubelet")
    assert f"containerRuntimeEndpoint: {OURS}\n" in kubeadm.read("/var/lib/kubelet/config.yaml")
    kubeadm.uninstall("kubelet")
    assert kubeadm.read("/var/lib/kubelet/config.yaml") == new
    assert kubeadm.read("/var/lib/kubelet/kubeadm-flags.env") == KUBEADM_FLAGS
    kubeadm.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG, 0o600)
    left = {k: v for k, v in kubeadm.snapshot().items() if not k.startswith("etc/podspan")}
    assert left == before
    assert "not installed" in kubeadm.uninstall("kubelet", code=3).stderr


def strace(node, inject, *args):
    return subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat,fsync", "-e", f"inject={inject}",
                           PODSPAN, args[0], "--root", node.root, *args[1:]], capture_output=True, text=True, timeout=60,
                          env=NO_LEAKS)


@pytest.mark.parametrize("call", ["renameat:error=EIO", "fsync:error=ENOSPC"])
def test_never_half_a_change(kubeadm, call):
    """Each of its writes fails in turn: nothing was changed, the files before it are put back."""
    before = kubeadm.snapshot()
    for n in range(1, 200):
        done = strace(kubeadm, f"{call}:when={n}", "install", "kubelet", "--yes")
        if done.returncode == 0:
            break
        assert done.returncode == 1, done.stderr
        left = {k: v for k, v in kubeadm.snapshot().items() if not k.startswith("etc/podspan")}
        # What fails last is to note that all is done; that is taken back by the next run.
        kubeadm.run("uninstall", "kubelet", "--yes", code=3)
        again = {k: v for k, v in kubeadm.snapshot().items() if not k.startswith("etc/podspan")}
        assert again == before and (left == before or "backup" in done.stderr), (n, done.stderr)
    assert 5 < n < 199
    kubeadm.uninstall("kubelet")
    assert {k: v for k, v in kubeadm.snapshot().items() if not k.startswith("etc/podspan")} == before


def killed(node, inject, *args):
    return subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={inject.split(':')[0]}", "-e",
                           f"inject={inject}", PODSPAN, args[0], "--root", node.root, *args[1:]], capture_output=True,
                          text=True, timeout=60, env=NO_LEAKS)


@pytest.mark.parametrize("change", [f"{call}:signal=KILL" for call in ("mkdirat", "linkat", "renameat", "unlinkat", "fsync")])
def test_killed_anywhere_it_recovers(kubeadm, change):
    """SIGKILL at each of its system calls that change something: the next run puts all back, and nothing of it stays."""
    before = kubeadm.snapshot()
    for n in range(1, 200):
        done = killed(kubeadm, f"{change}:when={n}", "install", "kubelet", "--yes")
        if done.returncode == 0:
            break
        # Killed while it was tidying up, it was installed already.
        manifest = kubeadm.path("/etc/podspan/backup/kubelet/manifest.json")
        installed = manifest.exists() and not json.loads(manifest.read_text())["pending"]
        kubeadm.run("uninstall", "kubelet", "--yes", code=0 if installed else 3)
        assert kubeadm.snapshot() == before, n
    assert 3 < n < 199
    after = kubeadm.snapshot()
    # And so does an uninstall that was killed.
    for n in range(1, 200):
        done = killed(kubeadm, f"{change}:when={n}", "uninstall", "kubelet", "--yes")
        if done.returncode == 0:
            break
        installed = kubeadm.path("/etc/podspan/backup/kubelet/manifest.json").exists()
        kubeadm.run("uninstall", "kubelet", "--yes", code=0 if installed else 3)
        assert kubeadm.snapshot() == before, n
        kubeadm.install("kubelet")
        assert {k: v for k, v in kubeadm.snapshot().items() if "/backup/" not in k} == {
            k: v for k, v in after.items() if "/backup/" not in k}
    assert kubeadm.snapshot() == before


def test_killed_between_two_targets(kubeadm):
    """What a killed install of one target left is removed by the next run of another."""
    kubeadm.install("hooks")
    before = kubeadm.snapshot()
    done = killed(kubeadm, "renameat:signal=KILL:when=3", "install", "kubelet", "--yes")
    assert done.returncode != 0 and kubeadm.snapshot() != before
    assert "install.unfinished" not in doctor(kubeadm)
    kubeadm.install("hooks")
    assert kubeadm.snapshot() == before
    # Half of the files are changed: doctor tells until that is done.
    done = killed(kubeadm, "renameat:signal=KILL:when=10", "install", "kubelet", "--yes")
    found = doctor(kubeadm)["install.unfinished"]
    assert found["severity"] == "warning" and found["fix"] == "podspan uninstall kubelet"
    kubeadm.install("hooks")
    assert kubeadm.snapshot() == before


STAGES = pathlib.Path("/run/podspan-install")


def test_a_killed_install_leaves_no_folder_for_ever(node):
    """Killed while the runtime checks: the folder goes with the next install."""
    program = node.write("/slow", "#!/bin/sh\ncase $* in *--version*) echo 'containerd x 1.6.20';; *) echo in >>$0.log; sleep 60;; "
                         "esac\n", 0o755)
    left = set(pathlib.Path("/tmp").glob("podspan-install-*"))
    process = subprocess.Popen([PODSPAN, "install", "--root", node.root, "containerd", "--yes", "--data-dir", node.data,
                                "--libexec-dir", node.libexec, "--program", program, "--ctr", "/usr/bin/ctr"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 20
    try:
        while not (node.root / "slow.log").exists():
            assert time.monotonic() < deadline and process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        assert (STAGES / "stage" / "config.toml").exists()
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        process.stderr.close()
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-process.pid, 0)
    node.install("containerd", "--program", "/usr/bin/containerd")
    assert not (STAGES / "stage").exists()
    assert set(pathlib.Path("/tmp").glob("podspan-install-*")) <= left


def test_links_stay_links_and_nothing_outside_is_touched(kubeadm, tmp_path):
    outside = tmp_path / "outside.yaml"
    outside.write_text(KUBEADM_CONFIG)
    config = kubeadm.path("/var/lib/kubelet/config.yaml")
    kubeadm.write("/srv/real.yaml", KUBEADM_CONFIG)
    config.unlink()
    config.symlink_to("/srv/real.yaml")
    before = kubeadm.snapshot()
    kubeadm.install("kubelet")
    assert config.is_symlink() and OURS in kubeadm.read("/srv/real.yaml")
    kubeadm.uninstall("kubelet")
    assert kubeadm.snapshot() == before
    config.unlink()
    config.symlink_to("../../../../" * 8 + str(outside).lstrip("/"))
    kubeadm.install("kubelet")
    assert outside.read_text() == KUBEADM_CONFIG


# containerd


def containerd_default(program):
    return subprocess.run([program, "config", "default"], capture_output=True, check=True).stdout.decode()


def dump(program, config):
    return subprocess.run([program, "--config", config, "config", "dump"], capture_output=True, check=True).stdout.decode()


def test_containerd_1_6(node):
    program = "/usr/bin/containerd"
    config = containerd_default(program)
    assert 'runtimes.runc]' in config
    node.write("/etc/containerd/config.toml", config.replace("SystemdCgroup = false", "SystemdCgroup = true"))
    before = node.snapshot()
    node.install("containerd", "--program", program)
    spec = json.loads(node.read("/etc/containerd/podspan-base-spec.json"))
    assert spec["hooks"]["createRuntime"][0]["path"] == f"{node.libexec}/podspan-hook"
    effective = dump(program, node.path("/etc/containerd/config.toml"))
    assert 'base_runtime_spec = "/etc/containerd/podspan-base-spec.json"' in effective
    assert "SystemdCgroup = true" in effective
    now = node.read("/etc/containerd/config.toml").splitlines()
    assert sum(a != b for a, b in zip(now, before["etc/containerd/config.toml"][4].decode().splitlines())) == 1
    node.uninstall("containerd")
    assert node.snapshot() == before


def test_containerd_1_6_short_config_and_none(node):
    program = "/usr/bin/containerd"
    config = 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "pause:3.9"'
    for text in (config, None):
        if text is None:
            node.path("/etc/containerd/config.toml").unlink()
            node.path("/etc/containerd").rmdir()
        else:
            node.write("/etc/containerd/config.toml", text)
        before = node.snapshot()
        node.install("containerd", "--program", program)
        effective = dump(program, node.path("/etc/containerd/config.toml"))
        assert "podspan-base-spec.json" in effective and 'runtime_type = "io.containerd.runc.v2"' in effective
        node.uninstall("containerd")
        assert node.snapshot() == before


def test_containerd_1_6_someone_elses_base_spec_stays(node):
    node.write("/etc/containerd/config.toml", 'version = 2\n'
               '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\n'
               'runtime_type = "io.containerd.runc.v2"\nbase_runtime_spec = "/etc/containerd/cri-base.json"\n')
    before = node.snapshot()
    assert "runtime handler" in node.install("containerd", "--program", "/usr/bin/containerd", code=1).stderr
    assert node.snapshot() == before


@pytest.mark.parametrize("how", ["default", "v3", "v2", "none"])
def test_containerd_2(node, how):
    program = peer("containerd-2.*/containerd")
    handler = {"v3": 'plugins."io.containerd.cri.v1.runtime".containerd.runtimes',
               "v2": 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes'}.get(how)
    if how == "default":
        text = containerd_default(program).replace("SystemdCgroup = false", "SystemdCgroup = true")
    elif handler:
        text = (f"# by hand\nversion = {how[1]}\n\n[{handler}.runc]\n  runtime_type = 'io.containerd.runc.v2'\n"
                f"  [{handler}.runc.options]\n    SystemdCgroup = true\n[{handler}.crun]\n"
                f"  runtime_type = 'io.containerd.runc.v2'\n  [{handler}.crun.options]\n    BinaryName = '/usr/bin/crun'\n")
    if how != "none":
        node.write("/etc/containerd/config.toml", text)
    before = node.snapshot()
    node.install("containerd", "--program", program)
    assert "OTEL_TRACES_SAMPLER" in node.read("/etc/systemd/system/containerd.service.d/10-podspan-tracing.conf")
    # containerd's own view, of the tree's files in their place.
    main = node.path("/etc/containerd/config.toml")
    text = main.read_text()
    main.write_text(text.replace("/etc/containerd/conf.d", str(node.path("/etc/containerd/conf.d"))))
    effective = dump(program, main)
    main.write_text(text)
    assert effective.count("base_runtime_spec = '/etc/containerd/podspan-base-spec.json'") == (2 if handler else 1)
    if how != "none":
        assert "SystemdCgroup = true" in effective
    if handler:
        assert "BinaryName = '/usr/bin/crun'" in effective
    node.uninstall("containerd")
    assert node.snapshot() == before


def test_containerd_2_imports_of_another_folder(node):
    """A folder whose path ends as ours does is another."""
    program = peer("containerd-2.*/containerd")
    node.write("/etc/containerd/config.toml", 'version = 3\nimports = ["/opt/other/conf.d/*.toml"]\n')
    node.install("containerd", "--program", program)
    assert '"/etc/containerd/conf.d/*.toml"' in node.read("/etc/containerd/config.toml")
    assert '"/opt/other/conf.d/*.toml"' in node.read("/etc/containerd/config.toml")


def test_containerd_refuses_what_it_cannot_read(node):
    node.write("/etc/containerd/config.toml", 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = 7\n')
    before = node.snapshot()
    node.write("/etc/containerd/config.toml", "version = 2\n[plugins\n")
    broken = node.snapshot()
    assert "nothing was changed" in node.install("containerd", "--program", "/usr/bin/containerd", code=1).stderr
    assert node.snapshot() == broken != before


# CRI-O and hooks


def test_crio(node):
    program = peer("crio-*/crio")
    config = subprocess.run([program, "config", "--default"], capture_output=True, check=True).stdout.decode()
    node.write("/etc/crio/crio.conf", config)
    before = node.snapshot()
    node.install("crio", "--program", program)
    out = subprocess.run([program, "--config", node.path("/etc/crio/crio.conf"), "--config-dir",
                          node.path("/etc/crio/crio.conf.d"), "config"], capture_output=True, check=True).stdout.decode()
    assert "\nenable_tracing = true\n" in out and f'"{node.data}/hooks.d"' in out
    node.uninstall("crio")
    assert node.snapshot() == before


def test_crio_that_refuses_its_configuration(node):
    program = peer("crio-*/crio")
    node.write("/etc/crio/crio.conf", "[crio.runtime]\n")
    node.write("/etc/crio/crio.conf.d/10-bad.conf", "[crio.runtime\n")
    before = node.snapshot()
    done = node.install("crio", "--program", program, code=1)
    assert "CRI-O refuses" in done.stderr and node.snapshot() == before
    node.write("/etc/crio/crio.conf.d/10-bad.conf", "[crio.runtime]\n")
    node.write("/etc/crio/crio.conf.d/99-off.conf", "[crio.tracing]\nenable_tracing = false\n")
    assert "enable_tracing" in node.install("crio", "--program", program, code=1).stderr


def test_a_hook_is_a_program_of_roots(node):
    """The runtime executes it as root for every container."""
    for change, back in ((lambda: node.hook.chmod(0o777), lambda: node.hook.chmod(0o755)),
                         (lambda: os.chown(node.hook, 33, 33), lambda: os.chown(node.hook, 0, 0)),
                         (lambda: node.hook.parent.chmod(0o777), lambda: node.hook.parent.chmod(0o755))):
        change()
        before = node.snapshot()
        for target in ("hooks", "crio", "containerd"):
            assert "others than root can write" in node.install(target, code=1).stderr
        assert node.snapshot() == before
        back()
        node.install("hooks")
        change()
        found = doctor(node)["hooks.program"]
        assert found["severity"] == "error" and "others than root" in found["text"]
        back()
        assert "hooks.program" not in doctor(node)
        node.uninstall("hooks")


def test_a_manifest_of_others_is_not_believed(node):
    node.install("hooks")
    manifest = node.path("/etc/podspan/backup/hooks/manifest.json")
    document = json.loads(manifest.read_text())
    document["files"][0]["path"] = "/etc/shadow"
    node.write("/etc/shadow", "x")
    manifest.write_text(json.dumps(document))
    os.chown(manifest, 33, 33)
    before = node.snapshot()
    node.uninstall("hooks", code=1)
    assert node.snapshot() == before


def test_the_hooks_binary_is_there_before_its_json(node):
    node.hook.unlink()
    before = node.snapshot()
    for target in ("hooks", "crio", "containerd"):
        done = node.install(target, code=1)
        assert "podspan-hook" in done.stderr and "there first" in done.stderr
    assert node.snapshot() == before
    node.write(f"{node.libexec}/podspan-hook", "#!/bin/sh\n", 0o755)
    before = node.snapshot()
    node.install("hooks")
    folder = node.path("/etc/containers/oci/hooks.d")
    assert sorted(p.name for p in folder.iterdir()) == ["podspan-createRuntime.json", "podspan-poststart.json",
                                                        "podspan-poststop.json"]
    assert all(json.loads(p.read_text())["hook"]["path"] == f"{node.libexec}/podspan-hook" for p in folder.iterdir())
    node.uninstall("hooks")
    assert node.snapshot() == before


def test_all_of_a_node_there_and_back(kubeadm):
    program = "/usr/bin/containerd"
    kubeadm.write("/etc/containerd/config.toml", containerd_default(program))
    before = kubeadm.snapshot()
    kubeadm.install("hooks")
    kubeadm.install("containerd", "--program", program)
    kubeadm.install("kubelet")
    assert kubeadm.snapshot() != before
    kubeadm.uninstall("hooks")
    kubeadm.uninstall("kubelet")
    kubeadm.uninstall("containerd")
    assert kubeadm.snapshot() == before


# uninstall --all

UNIX_HEADER = "Num       RefCount Protocol Flags    Type St Inode Path\n"
UNITS = ["podspan-cri@containerd.socket", "podspan-cri@containerd.service", "podspand.service", "podspan-watch.service",
         "run-podspan-spool.mount"]


def run_it(node):
    """What a node has once podspan was installed, enabled and started: sockets, links, state, a store."""
    for folder in ("context/live", "spool", "run/containerd", "run/crio"):
        node.path(f"/run/podspan/{folder}").mkdir(parents=True)
    for name in ("counters", "counters-995", ".counters-7-0123456789abcdef", "tally", "watch-state", ".watch-state",
                 "context/live/a", "spool/1.otlp"):
        node.write(f"/run/podspan/{name}", "x")
    node.path("/run/podspan/run/containerd/containerd.sock.bypass").symlink_to("/run/containerd/gone.sock")
    node.path("/run/podspan/run/crio/crio.sock").symlink_to("/nowhere")
    for name in ("podspan.db", "podspan.db-wal", "podspan.db.corrupt-1", "podspand.lock", "podspand.reading"):
        node.write(f"/var/lib/podspan/{name}", "x")
    for unit in UNITS:
        wants = node.path("/etc/systemd/system/multi-user.target.wants")
        wants.mkdir(parents=True, exist_ok=True)
        (wants / unit).symlink_to(f"/usr/local/lib/systemd/system/{unit}")


def test_uninstall_all(kubeadm):
    kubeadm.write("/etc/containerd/config.toml", containerd_default("/usr/bin/containerd"))
    kubeadm.path("/etc/systemd/system/multi-user.target.wants").mkdir(parents=True)
    kubeadm.path("/etc/systemd/system/multi-user.target.wants/other.service").symlink_to("/nowhere")
    kubeadm.write("/etc/podspan/podspan.conf", "# mine\n")
    kubeadm.process(4711, "/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml")
    kubeadm.write("/proc/net/unix", UNIX_HEADER)
    before = kubeadm.snapshot()
    assert "nothing of podspan is left" in kubeadm.run("uninstall", "--all", "--yes").stdout
    kubeadm.install("hooks")
    kubeadm.install("containerd", "--program", "/usr/bin/containerd")
    kubeadm.install("kubelet")
    run_it(kubeadm)
    there = kubeadm.snapshot()

    kubeadm.run("uninstall", "--all", code=2, stdin="y\n")
    assert "/var/lib/podspan/podspan.db" in kubeadm.run("uninstall", "--all", "--dry-run").stdout
    assert kubeadm.snapshot() == there

    # The files are given back; what kubelet still uses stays, with the commands that end it.
    done = kubeadm.run("uninstall", "--all", "--yes", code=3)
    after = kubeadm.snapshot()
    assert {k: v for k, v in after.items() if not k.startswith(("run/podspan", "var/lib/podspan")) and
            k.split("/")[-1] not in UNITS} == before
    assert all(name in after for name in there if name.startswith(("run/podspan", "var/lib/podspan")))
    commands = done.stdout.split("Done. Now run\n")[1].splitlines()
    assert [c.split("  ")[0] for c in commands] == [
        "systemctl daemon-reload", "systemctl restart kubelet.service", "systemctl restart containerd.service",
        "systemctl disable --now " + " ".join(sorted(UNITS)), "podspan uninstall --all"]

    # As long as anything uses it, it stays.
    socket_path = "/run/podspan/run/containerd/containerd.sock"
    kubeadm.write("/proc/net/unix", UNIX_HEADER + f"0: 00000003 00000000 00000000 0001 03 4712 {socket_path}\n")
    done = json.loads(kubeadm.run("uninstall", "--all", "--yes", "--json", code=3).stdout)
    assert done["in_use"] == [f"1 connections are open through {socket_path}"] and not done["changed"]
    kubeadm.write("/proc/net/unix", UNIX_HEADER + f"0: 00000003 00000000 00010000 0001 01 4712 {socket_path}\n")
    assert "somebody listens on" in kubeadm.run("uninstall", "--all", "--yes", code=3).stdout
    kubeadm.write("/proc/net/unix", UNIX_HEADER)
    with open(kubeadm.path("/var/lib/podspan/podspand.lock"), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "podspand runs" in kubeadm.run("uninstall", "--all", "--yes", code=3).stdout
    for name, unit in (("podspan-watch", "podspan-watch.service"), ("podspan-cri", "podspan-cri@containerd.socket")):
        kubeadm.process(500, f"/usr/local/sbin/{name}", f"--listen={socket_path}", exe=f"/usr/local/sbin/{name}",
                        cgroup=f"0::/system.slice/{unit}\n", mnt="mnt:[4026532777]")
        done = kubeadm.run("uninstall", "--all", "--yes", code=3).stdout
        assert f"{name} runs (pid 500)" in done and unit in done
        shutil.rmtree(kubeadm.path("/proc/500"))
    shutil.rmtree(kubeadm.path("/usr/local"))
    assert kubeadm.snapshot() == after

    done = json.loads(kubeadm.run("uninstall", "--all", "--yes", "--json").stdout)
    assert done["changed"] and "/run/podspan" in done["removed"] and done["in_use"] == []
    assert kubeadm.snapshot() == before
    assert "nothing of podspan is left" in kubeadm.run("uninstall", "--all", "--yes").stdout


def test_uninstall_all_removes_only_our_names_and_enters_no_mount(node):
    node.write("/proc/net/unix", UNIX_HEADER)
    run_it(node)
    node.write("/run/podspan/theirs", "x")
    node.write("/var/lib/podspan/theirs", "x")
    node.write("/home/x/file", "x")
    node.path("/run/podspan/context/link").symlink_to("/home/x")
    node.path("/run/podspan/context/file").symlink_to("/home/x/file")
    node.write("/etc/systemd/system/podspan-cri@crio.service.d/10-runtime.conf",
               "# Written by `podspan install kubelet`: where this node's runtime listens.\n")
    node.write("/etc/systemd/system/podspan-cri@containerd.service.d/10-runtime.conf", "# by hand\n")
    # The spool is a file system of its own while its unit is up: what is in it is not touched.
    script = (f"mount -t tmpfs tmpfs {node.path('/run/podspan/spool')} && echo x >{node.path('/run/podspan/spool/kept')} && "
              f"{PODSPAN} uninstall --root {node.root} --all --yes; echo code $?; cat {node.path('/run/podspan/spool/kept')}")
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert "the spool is mounted on /run/podspan/spool" in done.stdout and done.stdout.endswith("code 3\nx\n"), done
    assert "run-podspan-spool.mount" in done.stdout
    # A mount that is not known of.
    script = (f"mount -t tmpfs tmpfs {node.path('/run/podspan/run/crio')} && echo x >{node.path('/run/podspan/run/crio/kept')} && "
              f"{PODSPAN} uninstall --root {node.root} --all --yes; echo code $?; cat {node.path('/run/podspan/run/crio/kept')}")
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert "/run/podspan/run: " in done.stderr and done.stdout.endswith("code 1\nx\n"), done
    node.run("uninstall", "--all", "--yes")
    left = [k for k, v in node.snapshot().items() if v[4] is not None and "podspan" in k and not k.startswith("tmp/")]
    assert left == ["etc/systemd/system/podspan-cri@containerd.service.d/10-runtime.conf", "run/podspan/theirs",
                    "var/lib/podspan/theirs"]
    assert node.read("/home/x/file") == "x"


def test_uninstall_all_is_all_or_told(kubeadm):
    """One target that cannot be taken out: none is."""
    kubeadm.install("hooks")
    kubeadm.install("kubelet")
    config = kubeadm.path("/var/lib/kubelet/config.yaml")
    config.write_text(config.read_text().replace("containerd.sock", "containerd.sock?x"))
    before = kubeadm.snapshot()
    done = kubeadm.run("uninstall", "--all", "--yes", code=1)
    assert "by hand" in done.stderr and "nothing was changed" in done.stderr and kubeadm.snapshot() == before
    assert "takes no target" in kubeadm.run("uninstall", "--all", "kubelet", code=2).stderr
    assert "uninstall only" in kubeadm.run("install", "--all", code=2).stderr


# bypass


class Runtime:
    """Listens on a Unix socket and says its name to who connects."""

    def __init__(self, path, name):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(8)
        self.accepted = []

    def serve(self):
        """Accepts one, and what else waits: podspan itself looks whether somebody listens."""
        self.socket.settimeout(10)
        while True:
            try:
                peer_socket, _ = self.socket.accept()
            except (BlockingIOError, OSError):
                return
            self.socket.setblocking(False)
            self.accepted.append(peer_socket)
            try:
                peer_socket.send(self.name)
            except OSError:
                pass

    def close(self):
        for s in [self.socket, *self.accepted]:
            s.close()


class Path:
    """A state directory with the socket kubelet dials, the interceptor on it, and the runtime."""

    def __init__(self, top, name="crio"):
        self.state = top / "s"
        self.listen = self.state / "run" / name / f"{name}.sock"
        self.runtime_path = top / "rt" / f"{name}.sock"
        self.cri = Runtime(self.listen, b"podspan-cri")
        self.runtime = Runtime(self.runtime_path, b"runtime")
        self.link = self.listen.with_name(self.listen.name + ".bypass")
        self.link.symlink_to(self.runtime_path)

    def dial(self):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        client.connect(str(self.listen))
        for end in (self.cri, self.runtime):
            if end.socket.fileno() >= 0 and select.select([end.socket], [], [], 0)[0]:
                end.serve()
        return client, client.recv(64)

    def run(self, *args, code=0):
        done = subprocess.run([PODSPAN, "bypass", "--state-dir", self.state, *args], capture_output=True, text=True,
                              timeout=20)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def close(self):
        self.cri.close()
        self.runtime.close()


@pytest.fixture
def way():
    top = pathlib.Path(tempfile.mkdtemp(prefix="by-"))
    made = Path(top)
    yield made
    made.close()
    shutil.rmtree(top)


def test_bypass_there_and_back(way):
    first, answer = way.dial()
    assert answer == b"podspan-cri"
    done = way.run("on")
    assert done.stdout.startswith(f"bypass on: {way.listen} leads to {way.runtime_path}\n")
    assert "connections are open through podspan-cri" in done.stdout
    assert way.listen.is_symlink() and way.link.is_socket()
    second, answer = way.dial()
    assert answer == b"runtime"
    # What was open lives on: no call fails for it.
    way.cri.accepted[0].send(b"still")
    assert first.recv(16) == b"still"
    assert "on already" in way.run("on").stdout
    assert json.loads(way.run("status", "--json").stdout)["bypass"] == "on"
    way.run("off")
    assert way.listen.is_socket() and way.link.is_symlink()
    third, answer = way.dial()
    assert answer == b"podspan-cri"
    for client in (first, second, third):
        client.close()


def test_bypass_exchanges_at_once(way):
    """While it goes to and fro, each connect reaches one of the two."""
    toggle = subprocess.Popen([sys.executable, "-c", "import subprocess, sys\nfor _ in range(25):\n"
                               "    for w in ('on', 'off'):\n        subprocess.run([*sys.argv[1:], w], check=True, "
                               "stdout=subprocess.DEVNULL)", str(PODSPAN), "bypass", "--state-dir", str(way.state)])
    reached = set()
    while toggle.poll() is None:
        client, answer = way.dial()
        reached.add(answer)
        for end in [client, *way.cri.accepted, *way.runtime.accepted]:
            end.close()
        way.cri.accepted, way.runtime.accepted = [], []
    assert toggle.returncode == 0
    assert reached == {b"podspan-cri", b"runtime"}


def test_bypass_with_podspan_cri_dead(way):
    way.cri.close()
    way.run("on")
    assert way.dial()[1] == b"runtime"
    done = way.run("off", code=1)
    assert "podspan-cri does not listen" in done.stderr and way.listen.is_symlink()
    way.run("off", "--force")
    way.run("on")
    # Even its socket is gone, the link is what is left.
    way.link.unlink()
    assert way.dial()[1] == b"runtime"
    way.run("off", "--force")
    assert not way.listen.exists() and way.link.is_symlink()
    way.run("on")
    assert way.dial()[1] == b"runtime"


def test_bypass_needs_no_room(way):
    """Every call that could need some fails as on a full disk."""
    full = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=symlinkat,mkdirat,linkat,unlinkat,write",
            "-e", "inject=symlinkat,mkdirat,linkat:error=ENOSPC"]
    for want in ("on", "off"):
        way.link.lstat()
        done = subprocess.run([*full, PODSPAN, "bypass", "--state-dir", way.state, want], capture_output=True, text=True,
                              env=NO_LEAKS)
        # The link is there: that it cannot be made again does not matter.
        assert done.returncode == 0, done.stderr
        assert way.listen.is_symlink() == (want == "on")


def test_bypass_refuses_a_runtime_that_is_not_there(way):
    way.runtime.close()
    assert "does not listen" in way.run("on", code=1).stderr
    assert way.listen.is_socket()
    way.run("on", "--force")
    assert way.listen.is_symlink()


@pytest.fixture
def short():
    """A node whose sockets' paths are short enough to be bound."""
    top = pathlib.Path(tempfile.mkdtemp(prefix="n-"))
    yield Node(top)
    shutil.rmtree(top)


def test_bypass_stays_in_our_folder(short):
    """Neither kubelet's endpoint nor --socket leads out of it, and what others can change is not ours."""
    home = Path(short.path("/home/x"), "containerd")
    short.path("/run/podspan/run/containerd").mkdir(parents=True)
    os.chown(home.listen.parent, 33, 33)
    told = "/run/podspan/../../home/x/s/run/containerd/containerd.sock"
    short.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG.replace("/var/run/containerd/containerd.sock", told))
    before = short.snapshot()
    for args, code in ((["on"], 3), (["on", "--socket", told], 1), (["on", "--force"], 3),
                       (["on", "--force", "--socket", "/home/x/s/run/containerd/containerd.sock"], 1),
                       (["on", "--force", "--socket", told], 1), (["status", "--socket", told], 1)):
        done = short.run("bypass", *args, code=code)
        assert "bypass on" not in done.stdout and short.snapshot() == before, args
    # One that is root's from the top down may be named.
    os.chown(home.listen.parent, 0, 0)
    short.run("bypass", "on", "--force", "--socket", "/home/x/s/run/containerd/containerd.sock")
    home.close()


def test_bypass_believes_no_link_and_no_listener_of_others(way):
    os.lchown(way.link, 33, 33)
    assert "others than root" in way.run("on", code=1).stderr and way.listen.is_socket()
    os.lchown(way.link, 0, 0)
    way.listen.parent.chmod(0o777)
    assert "others than root" in way.run("on", "--force", code=1).stderr and way.listen.is_socket()
    way.listen.parent.chmod(0o755)
    # The runtime's path is listened on by somebody else.
    way.runtime.close()
    os.unlink(way.runtime_path)
    way.runtime_path.parent.chmod(0o777)
    way.state.parent.chmod(0o755)
    with subprocess.Popen([sys.executable, "-c", "import socket, sys\ns = socket.socket(socket.AF_UNIX)\n"
                           "s.bind(sys.argv[1])\ns.listen()\nprint(flush=True)\nsys.stdin.read()", way.runtime_path],
                          user=33, group=33, extra_groups=[], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"\n"
        assert "not root" in way.run("on", "--force", code=1).stderr and way.listen.is_socket()
        other.stdin.close()


def test_bypass_now_ends_no_process_by_its_name(way):
    """Another program or another user's process, with our name and arguments."""
    argv = ["podspan-cri", "-c", "import time; time.sleep(60)", "--listen", str(way.listen)]
    ids = {"user": 33, "group": 33, "extra_groups": []}
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        program = pathlib.Path(folder) / "podspan-cri"
        shutil.copy(sys.executable, program)
        others = [subprocess.Popen(argv, executable=sys.executable), subprocess.Popen(argv, executable=program, **ids)]
        try:
            time.sleep(0.3)
            assert json.loads(way.run("on", "--now", "--json").stdout)["ended"] == 0
            assert all(other.poll() is None for other in others)
        finally:
            for other in others:
                other.kill()
                other.wait()


def test_bypass_now_ends_neither_of_two(way):
    """Two of root's, both with the name and the arguments; one alone is ended."""
    program = way.state.parent / "podspan-cri"
    shutil.copy(sys.executable, program)
    argv = ["podspan-cri", "-c", "import time; print(flush=True); time.sleep(60)", "--listen", str(way.listen)]
    two = [subprocess.Popen(argv, executable=program, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        assert all(process.stdout.readline() == b"\n" for process in two)
        done = way.run("on", "--now", code=1)
        assert all(f"pid {process.pid}" in done.stderr for process in two) and "bypass on, but" in done.stderr
        assert way.listen.is_symlink() and all(process.poll() is None for process in two)
        two[0].kill()
        two[0].wait()
        assert json.loads(way.run("on", "--now", "--json").stdout)["ended"] == 1
        assert two[1].wait(timeout=10) == -15
    finally:
        for process in two:
            process.kill()
            process.wait()
            process.stdout.close()


def test_bypass_says_whether_kubelet_must_restart(node):
    node.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG.replace("unix:///var/run/containerd", "unix:///run/crio")
               .replace("containerd.sock", "crio.sock"))
    node.install("kubelet")
    made = Path(node.path("/tmp"))
    folder = node.path("/run/podspan/run/crio")
    folder.mkdir(parents=True)
    os.rename(made.listen, folder / "crio.sock")
    node.path("/run/crio").mkdir()
    os.rename(made.runtime_path, node.path("/run/crio/crio.sock"))
    # Where nothing was ever bypassed nothing is said of what a bypass leaves.
    assert "opened to the runtime" not in node.run("bypass", "status").stdout + node.run("bypass", "off").stdout
    done = node.run("bypass", "on")
    assert "kubelet need not restart" in done.stdout
    assert os.readlink(folder / "crio.sock") == "/run/crio/crio.sock"
    document = json.loads(node.run("bypass", "off", "--json").stdout)
    assert document["kubelet_dials_it"] is True and document["restart_kubelet"] is False and document["bypass"] == "off"
    assert "opened to the runtime go on" in document["note"]
    made.close()


def test_bypass_now_ends_the_interceptor(way):
    cri = BUILD / "cri-hooks" / "podspan-cri"
    way.cri.close()
    way.listen.unlink()
    server = subprocess.Popen([cri, "--listen", way.listen, "--runtime", way.runtime_path, "--state-dir", way.state],
                              stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not way.listen.is_socket() and time.monotonic() < deadline:
        time.sleep(0.01)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(way.listen))
    way.runtime.serve()
    server.send_signal(19)  # hangs: SIGSTOP
    begin = time.monotonic()
    done = way.run("on", "--now")
    assert time.monotonic() - begin < 3
    assert "podspan-cri was ended" in done.stdout
    assert server.wait(timeout=10) in (-9, 0)
    try:
        while client.recv(64):
            pass
    except ConnectionResetError:
        pass
    assert way.dial()[1] == b"runtime"
    client.close()


# doctor


def doctor(node, *args):
    done = subprocess.run([PODSPAN, "doctor", "--json", "--root", node.root, *args], capture_output=True, text=True,
                          timeout=60, env={**os.environ, "LC_ALL": "C.UTF-8"})
    document = json.loads(done.stdout)
    worst = max((f["severity"] for f in document["findings"]), key=["ok", "note", "warning", "error"].index)
    assert document["worst"] == worst
    assert done.returncode == {"ok": 0, "note": 0, "warning": 10, "error": 20}[worst], done
    assert all(f["fix"] for f in document["findings"] if f["severity"] != "ok")
    return {f["id"]: f for f in document["findings"]}


def test_doctor_on_a_bare_node(kubeadm):
    found = doctor(kubeadm)
    assert found["kubelet.endpoint"]["severity"] == "error"
    assert found["kubelet.endpoint"]["fix"] == "podspan install kubelet"
    assert found["kubelet.endpoint"]["evidence"].startswith("/var/lib/kubelet/kubeadm-flags.env:1: ")
    assert found["kubelet.tracing"]["severity"] == "warning" and "samplingRatePerMillion" in found["kubelet.tracing"]["fix"]
    assert found["podspand.running"]["severity"] == "error"
    assert found["hooks.installed"]["severity"] == "warning"
    text = kubeadm.run("doctor", code=20).stdout
    assert "fix  podspan install kubelet" in text


def test_doctor_changes_nothing(kubeadm):
    before = kubeadm.snapshot()
    doctor(kubeadm)
    assert kubeadm.snapshot() == before


def test_doctor_path_and_suffix(node):
    node.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG.replace(
        "unix:///var/run/containerd/containerd.sock", "unix:///run/podspan/cri.sock"))
    folder = node.path("/run/podspan")
    folder.mkdir(parents=True)
    made = Path(node.path("/t"))
    os.rename(made.listen, folder / "cri.sock")
    (folder / "cri.sock.bypass").symlink_to("/run/crio/crio.sock")
    header = "Num       RefCount Protocol Flags    Type St Inode Path\n"
    listening = "0000000000000000: 00000002 00000000 00010000 0001 01 4711 /run/podspan/cri.sock\n"
    connected = "0000000000000000: 00000003 00000000 00000000 0001 03 4712 /run/podspan/cri.sock\n"
    node.write("/proc/net/unix", header)
    found = doctor(node)
    # D12: before it was CRI-O's own suffix, and so cAdvisor.
    assert found["kubelet.suffix"]["severity"] == "error" and "run/crio/crio.sock" in found["kubelet.suffix"]["fix"]
    assert found["cri.listening"]["severity"] == "error" and found["cri.dialled"]["severity"] == "warning"
    node.write("/proc/net/unix", header + listening + 2 * connected)
    found = doctor(node)
    assert found["cri.listening"]["severity"] == "ok" and found["cri.dialled"]["text"].startswith("2 connections")
    node.run("bypass", "on", "--force")
    assert doctor(node)["cri.bypass"]["fix"] == "podspan bypass off"
    made.close()


TRACING_UNIT = "/etc/systemd/system/containerd.service.d/tracing.conf"
TRACING_ENV = "[Service]\nEnvironment=OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317\n"


def test_doctor_containerds_tracing(node):
    otlp = 'version = 2\n[plugins."io.containerd.tracing.processor.v1.otlp"]\n  endpoint = "http://localhost:4318"\n'
    node.write("/etc/containerd/config.toml", otlp)
    found = doctor(node, "--containerd-version", "v2.1.4")
    assert found["containerd.toml_tracing"]["severity"] == "warning"
    assert "containerd v2.1.4 silently ignores" in found["containerd.toml_tracing"]["text"]
    assert "containerd#9740" in found["containerd.toml_tracing"]["text"]
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in found["containerd.toml_tracing"]["fix"]
    assert doctor(node, "--containerd-version", "1.7.15")["containerd.toml_tracing"]["severity"] == "ok"
    assert doctor(node, "--containerd-version", "1.7.16")["containerd.toml_tracing"]["severity"] == "warning"
    node.write(TRACING_UNIT, TRACING_ENV)
    assert doctor(node)["containerd.tracing"]["severity"] == "warning"
    node.write(TRACING_UNIT, TRACING_ENV + "Environment=OTEL_EXPORTER_OTLP_PROTOCOL=grpc\n")
    assert doctor(node, "--containerd-version", "2.1.4")["containerd.tracing"]["severity"] == "ok"
    node.write(TRACING_UNIT, TRACING_ENV.replace("Env", " \t#Env") + ";Environment=OTEL_EXPORTER_OTLP_ENDPOINT=x:1\n")
    assert "are off" in doctor(node, "--containerd-version", "2.1.4")["containerd.tracing"]["text"]
    node.write(TRACING_UNIT, TRACING_ENV + "Environment=OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
    found = doctor(node, "--containerd-version", "1.6.20~ds1")["containerd.tracing"]
    assert found["severity"] == "warning" and "1.6.20~ds1 takes no tracing from its environment" in found["text"]
    # Unknown is said to be unknown, by each rule that needs it.
    for args in ((), ("--containerd-version", "newest")):
        found = doctor(node, *args)
        assert found["containerd.tracing"]["severity"] == "note" and "unknown" in found["containerd.tracing"]["text"]
        assert "unknown" in found["containerd.toml_tracing"]["text"]


@pytest.mark.parametrize("program,says", [("/usr/bin/containerd", "unknown"), ("containerd-2.*/containerd", "containerd 2")])
def test_containerds_version_by_its_build_information(node, program, says):
    """Go writes the main package's path into each program, and containerd 2 has its version in that path."""
    node.process(600, "/usr/bin/containerd", exe="/usr/bin/containerd", cgroup="0::/system.slice/containerd.service\n")
    shutil.copy(program if program.startswith("/") else peer(program), node.path("/usr/bin/containerd"))
    node.write("/etc/containerd/config.toml",
               'version = 2\n[plugins."io.containerd.tracing.processor.v1.otlp"]\n  endpoint = "http://localhost:4318"\n')
    node.write("/proc/600/environ", b"A=b\0OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317\0"
               b"OTEL_EXPORTER_OTLP_PROTOCOL=grpc\0")
    found = doctor(node)
    assert says in found["containerd.toml_tracing"]["text"]
    assert found["containerd.tracing"]["severity"] == ("ok" if says == "containerd 2" else "note")
    assert found["containerd.tracing"]["evidence"] == "/proc/600/environ"
    # It is configured, but the process that runs was started before.
    node.write("/proc/600/environ", b"A=b\0")
    node.write(TRACING_UNIT, TRACING_ENV + "Environment=OTEL_EXPORTER_OTLP_PROTOCOL=grpc\n")
    found = doctor(node)["containerd.tracing"]
    assert found["severity"] == "warning" and "started without them" in found["text"]
    # The environment of a process that only has the name says nothing, nor does its program.
    node.path("/proc/600/cgroup").write_text(CONTAINER)
    found = doctor(node)
    assert "unknown" in found["containerd.toml_tracing"]["text"]
    assert found["containerd.tracing"]["evidence"] != "/proc/600/environ"
    assert "in a pod or container" in found["containerd.process"]["evidence"]


def test_containerds_version_by_cri(tmp_path):
    """A real containerd at its usual place, in a mount namespace with a /run of its own."""
    config = tmp_path / "config.toml"
    config.write_text(f'version = 2\nroot = "{tmp_path}/root"\nstate = "{tmp_path}/state"\n[grpc]\n'
                      '  address = "/run/containerd/containerd.sock"\n'
                      '[plugins."io.containerd.grpc.v1.cri"]\n  restrict_oom_score_adj = true\n')
    done = subprocess.run(["unshare", "--mount", "sh", "-c", f"""
        set -e
        mount -t tmpfs tmpfs /run
        containerd --config {config} >{tmp_path}/log 2>&1 & pid=$!
        for n in $(seq 300); do [ -S /run/containerd/containerd.sock ] && grep -q 'successfully booted' {tmp_path}/log && break; sleep 0.1; done
        {PODSPAN} doctor --json || true
        kill $pid; wait $pid || true
        """], capture_output=True, text=True, timeout=90)
    found = {f["id"]: f for f in json.loads(done.stdout)["findings"]}
    assert "containerd 1.6.20" in found["containerd.tracing"]["text"], (found["containerd.tracing"], done.stderr)


BOOT = "0123456789abcdef0123456789abcdef"


@pytest.fixture(name="kubelets_line", scope="module")
def fixture_kubelets_line(tmp_path_factory):
    """What a real kubelet writes before it finds that it is given nothing to work with."""
    folder = tmp_path_factory.mktemp("kubelet")
    (folder / "config.yaml").write_text("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n")
    done = subprocess.run([peer("kubelet-1.34.*/kubelet"), f"--config={folder}/config.yaml", f"--root-dir={folder}/root"],
                          capture_output=True, text=True, timeout=60)
    return next(line for line in done.stderr.splitlines() if "Kubelet version" in line)


@pytest.mark.parametrize("change,version", [
    ({}, "1.34"), ({"_PID": "4712"}, None), ({"_UID": "33"}, None), ({"_BOOT_ID": BOOT[::-1]}, None),
    ({"__MONOTONIC_TIMESTAMP": "49000000"}, None), ({"MESSAGE": 'E1130 x] "Kubelet version" kubeletVersion="v1.34.1"'}, None),
])
def test_kubelets_version_is_in_the_journal(kubeadm, kubelets_line, change, version):
    """What the believed process wrote, in this boot, after it had started."""
    kubeadm.process(4711, "/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml")
    kubeadm.write("/proc/4711/stat", "4711 (kube) let) S 1 " + "0 " * 17 + "5000 " + "0 " * 30 + "\n")
    kubeadm.write("/proc/sys/kernel/random/boot_id",
                  "-".join([BOOT[:8], BOOT[8:12], BOOT[12:16], BOOT[16:20], BOOT[20:]]) + "\n")
    entries = [{"MESSAGE": "I1130 something else"}, {"MESSAGE": kubelets_line, **change}]
    text = ""
    for n, entry in enumerate(entries):
        fields = {"__REALTIME_TIMESTAMP": str(1700000000000000 + n), "__MONOTONIC_TIMESTAMP": str(50100000 + n),
                  "_BOOT_ID": BOOT, "_PID": "4711", "_UID": "0", "_MACHINE_ID": BOOT, **entry}
        text += "".join(f"{key}={value}\n" for key, value in fields.items()) + "\n"
    folder = kubeadm.path("/var/log/journal")
    folder.mkdir(parents=True)
    subprocess.run(["/lib/systemd/systemd-journal-remote", "-o", folder / "x.journal", "-"], input=text, text=True, check=True, capture_output=True)
    kubeadm.write("/etc/podspan/podspan.conf", "semconv = rpc\n")
    found = doctor(kubeadm)["kubelet.semconv"]
    if version:
        assert f"kubelet {version} names" in found["text"]
    else:
        assert "unknown" in found["text"] and "pid 4711" in found["evidence"]


def test_doctor_hooks(node):
    node.install("hooks")
    assert doctor(node)["hooks.installed"]["severity"] == "ok"
    assert doctor(node)["hooks.called"]["severity"] == "warning"
    node.hook.unlink()
    found = doctor(node)
    assert found["hooks.program"]["severity"] == "error" and "podspan-createRuntime" in found["hooks.program"]["evidence"] \
        or "podspan-post" in found["hooks.program"]["evidence"]
    node.write("/etc/containerd/config.toml", 'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\n'
               'base_runtime_spec = "/etc/containerd/none.json"\n')
    assert doctor(node)["hooks.base_spec"]["evidence"] == "/etc/containerd/none.json"


def test_doctor_collector_and_tracing(node):
    with socket.socket() as collector:
        collector.bind(("127.0.0.1", 0))
        collector.listen(4)
        port = collector.getsockname()[1]
        node.write("/etc/podspan/podspan.conf", f"tracing_endpoint = 127.0.0.1:{port}\nsemconv = rpc\n")
        node.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG +
                   f"tracing:\n  endpoint: localhost:{port}\n  samplingRatePerMillion: 1000\n")
        found = doctor(node, "--kubelet-version", "v1.34.1")
        # Somebody accepts connections and says nothing: that is no collector.
        for who in ("podspan", "kubelet"):
            assert found[f"{who}.collector"]["severity"] == "error"
            assert f"what {who} exports to accepts connections and says nothing" in found[f"{who}.collector"]["text"]
        assert found["kubelet.tracing"]["severity"] == "ok" and "1000 of a million" in found["kubelet.tracing"]["text"]
        assert found["kubelet.semconv"]["fix"].endswith("semconv = rpc/dup")
        assert doctor(node, "--kubelet-version", "v1.36.0")["kubelet.semconv"]["severity"] == "ok"
    found = doctor(node)
    assert found["podspan.collector"]["severity"] == "error" and "refused" in found["podspan.collector"]["evidence"]
    node.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG + "tracing:\n  samplingRatePerMillion: 0 # later\n")
    assert "rate 0" in doctor(node)["kubelet.tracing"]["text"]
    node.write("/etc/podspan/podspan.conf", "tracing_endpont = x\n")
    found = doctor(node)
    assert found["podspan.config"]["severity"] == "error" and "podspan.conf:1" in found["podspan.config"]["evidence"]


def test_doctor_executes_nothing_of_a_process_that_calls_itself_kubelet(tmp_path):
    """Any user can start a process of that name: run as root, its program would be root."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        program, proof = pathlib.Path(folder) / "kubelet", tmp_path / "executed"
        subprocess.run(["cc", "-o", program, "-x", "c", "-"], check=True, text=True, input="""
            #include <fcntl.h>
            #include <stdio.h>
            #include <unistd.h>
            int main(int argc, char **argv) {
                    if (argc > 1) { close(creat("%s", 0644)); puts("Kubernetes v1.34.1"); return 0; }
                    puts("up"); fflush(stdout); return getchar();
            }
            """ % proof)
        with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=33, group=33,
                              extra_groups=[]) as fake:
            assert fake.stdout.readline() == b"up\n"
            done = subprocess.run([PODSPAN, "doctor", "--json"], capture_output=True, text=True, timeout=60, check=False)
            fake.stdin.close()
    assert done.returncode in (0, 10, 20), done.stderr
    assert not proof.exists()
    # What nobody was asked is said to be unknown.
    found = {f["id"]: f for f in json.loads(done.stdout)["findings"]}
    assert "unknown" in found["kubelet.semconv"]["text"] and "--kubelet-version" in found["kubelet.semconv"]["fix"]


# In a pid and mount namespace with a /proc of its own, as a node has them. Prints what doctor finds of each kubelet.
REAL = """
import json, os, subprocess, sys
podspan, program, writable = sys.argv[1:]

def start(executable, *before, **more):
    process = subprocess.Popen([*before, executable, "--config=/nowhere.yaml"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, **more)
    assert process.stdout.readline() == b"up\\n"
    return process

def look(*processes):
    found = json.loads(subprocess.run([podspan, "doctor", "--json"], capture_output=True, text=True).stdout)["findings"]
    for process in processes:
        process.stdin.close()
        process.wait()
    return next((f for f in found if f["id"] == "kubelet.process"), None)

print(json.dumps({
    "none": look(),
    "one": look(start(program)),
    "user": look(start(program, user=33, group=33, extra_groups=[])),
    "writable": look(start(writable)),
    "elsewhere": look(start(program, "unshare", "--mount")),
    "inner": look(start(program, "unshare", "--pid", "--fork", "--kill-child")),
    "two": look(start(program), start(program)),
    "one of two": look(start(program), start(program, user=33, group=33, extra_groups=[])),
}))
"""


def test_the_same_endpoint_in_other_words(kubeadm):
    """kubelet's command line and its files may spell one socket in two ways."""
    for endpoint, same in (("/run/containerd/containerd.sock", True), ("unix:///var/run/containerd/containerd.sock", True),
                           ("unix:///run//containerd/../containerd/containerd.sock", True), ("unix:///run/k3s/c.sock", False)):
        kubeadm.path("/run/containerd").mkdir(exist_ok=True)
        kubeadm.process(4711, "/usr/bin/kubelet", f"--container-runtime-endpoint={endpoint}")
        found = doctor(kubeadm)["kubelet.endpoint"]
        assert ("was started with another" not in found["text"]) == same, (endpoint, found)


def test_which_process_is_kubelet():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        program = pathlib.Path(folder) / "kubelet"
        subprocess.run(["cc", "-o", program, "-x", "c", "-"], check=True, text=True, input="""
            #include <stdio.h>
            int main(void) { puts("up"); fflush(stdout); return getchar() != EOF; }
            """)
        writable = pathlib.Path(folder) / "w" / "kubelet"
        writable.parent.mkdir(mode=0o755)
        shutil.copy(program, writable)
        writable.chmod(0o777)
        done = subprocess.run(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", REAL,
                               PODSPAN, program, writable], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["none"] is None
    assert found["one"]["severity"] == "ok"
    for case, why in (("user", "its user is 33"), ("writable", "others than root can write"),
                      ("inner", "pid namespace of its own")):
        assert found[case]["severity"] == "note" and why in found[case]["evidence"], (case, found)
    assert found["elsewhere"]["severity"] == "warning" and "mount namespace" in found["elsewhere"]["text"]
    assert found["two"]["severity"] == "warning" and found["two"]["evidence"].count("pid ") == 2
    assert found["one of two"]["severity"] == "ok"


def test_doctor_crio(node):
    node.install("crio", "--program", peer("crio-*/crio"))
    assert doctor(node)["crio.tracing"]["severity"] == "ok"
    node.write("/etc/crio/crio.conf.d/99.conf", "[crio.tracing]\nenable_tracing = false\n")
    assert doctor(node)["crio.tracing"]["evidence"] == "/etc/crio/crio.conf.d/99.conf"


def test_install_doctor_uninstall_with_crio_is_back_to_the_byte(node):
    """The issue's own words: a node with CRI-O, configured, looked at, and as it was."""
    program = peer("crio-*/crio")
    node.write("/etc/crio/crio.conf", subprocess.run([program, "config", "--default"], capture_output=True,
                                                     check=True).stdout)
    node.write("/var/lib/kubelet/config.yaml", KUBEADM_CONFIG.replace(
        "unix:///var/run/containerd/containerd.sock", "unix:///var/run/crio/crio.sock"), 0o600)
    node.write("/var/lib/kubelet/instance-config.yaml", "apiVersion: kubelet.config.k8s.io/v1beta1\n"
               "containerRuntimeEndpoint: unix:///var/run/crio/crio.sock\nkind: KubeletConfiguration\n")
    before = node.snapshot()
    node.install("crio", "--program", program)
    node.install("kubelet")
    assert OURS_CRIO in node.read("/var/lib/kubelet/instance-config.yaml")
    found = doctor(node)
    assert found["kubelet.endpoint"]["severity"] == found["kubelet.suffix"]["severity"] == "ok"
    node.uninstall("kubelet")
    node.uninstall("crio")
    assert node.snapshot() == before
