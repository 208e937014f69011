"""A real kubelet without an API server: it runs the pods whose manifests lie in a folder."""

import json
import shutil
import tempfile
import urllib.request
from pathlib import Path

from . import session
from .paths import peer
from .process import Daemon, Failed, free_port, wait_for

NODE = "psit-node"
# Kernel settings of the whole machine that kubelet insists on and would change: it sees files that say so already.
_KERNEL = {"vm/overcommit_memory": 1, "vm/panic_on_oom": 0, "kernel/panic": 10, "kernel/panic_on_oops": 1,
           "kernel/keys/root_maxkeys": 1000000, "kernel/keys/root_maxbytes": 25000000}
_IN_FRONT = """
cd "$1"
find . -type f | while read -r file; do mount --bind "$file" "/proc/sys/$file"; done
shift
exec "$@"
"""
_TRACING = """tracing:
  endpoint: {endpoint}
  samplingRatePerMillion: {rate}
"""
# What a machine without systemd, without swap accounting or with cgroup v1 does not offer is not asked for.
_CONFIG = """apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://{socket}
staticPodPath: {manifests}
podLogsDir: {folder}/pod-logs
volumePluginDir: {folder}/volume-plugins
address: 127.0.0.1
port: {secure_port}
readOnlyPort: {port}
healthzPort: 0
authentication:
  webhook:
    enabled: false
authorization:
  mode: AlwaysAllow
cgroupDriver: cgroupfs
cgroupsPerQOS: false
cgroupRoot: {cgroup}
enforceNodeAllocatable: [none]
failSwapOn: false
failCgroupV1: false
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
resolvConf: ""
oomScoreAdj: 0
syncFrequency: 5s
fileCheckFrequency: 1s
evictionHard: {{}}
{tracing}"""


class StaticPod:
    """A pod whose manifest is put into kubelet's folder; containers are those of a PodSpec."""

    def __init__(self, name, containers, init=(), namespace="default", grace=0, annotations=None, **spec):
        self.name = f"{name}-{NODE}"  # kubelet appends the node's name
        self.namespace = namespace
        self.uid = None
        self.sandbox_id = None
        self._file = f"{name}.yaml"
        self._manifest = {
            "apiVersion": "v1", "kind": "Pod",
            # Without a UID kubelet takes a digest of the manifest's path and text.
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}},
            "spec": {"terminationGracePeriodSeconds": grace, "initContainers": list(init),
                     "containers": list(containers), **spec}}

    def write(self, folder):
        """Puts the manifest into a folder, at once."""
        new = folder / f".{self._file}"
        new.write_text(json.dumps(self._manifest), encoding="utf-8")
        new.rename(folder / self._file)

    def remove(self, folder):
        """Takes the manifest away."""
        (folder / self._file).unlink()


def container(name, command=("sleep", "1000"), image="localhost/busybox:1", probe=None, **more):
    """A container of a PodSpec; probe is the command of an exec liveness probe, every second."""
    result = {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": list(command), **more}
    if probe:
        result["livenessProbe"] = {"exec": {"command": list(probe)}, "periodSeconds": 1, "timeoutSeconds": 10}
    return result


class Kubelet:
    """socket is the CRI endpoint; cgroup the one that its pods get; tracing the OTLP host:port, or None; drop_ins are
    {file name: text} for --config-dir.
    """

    def __init__(self, socket, cgroup, tracing=None, rate=1_000_000, drop_ins=None):
        self.folder = Path(tempfile.mkdtemp(prefix="kubelet-"))
        self.manifests = self.folder / "manifests"
        self.manifests.mkdir()
        self.port = free_port()
        self.daemon = None
        traced = _TRACING.format(endpoint=tracing, rate=rate) if tracing else ""
        (self.folder / "kubelet.yaml").write_text(_CONFIG.format(
            folder=self.folder, manifests=self.manifests, socket=socket, cgroup=cgroup, port=self.port,
            secure_port=free_port(), tracing=traced), encoding="utf-8")
        (self.folder / "conf.d").mkdir()
        for name, text in (drop_ins or {}).items():
            (self.folder / "conf.d" / name).write_text(text, encoding="utf-8")
        for name, value in _KERNEL.items():
            path = self.folder / "sysctl" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n", encoding="ascii")

    def start(self):
        """Starts it, also again after a stop, and waits until it is healthy."""
        command = [peer("kubelet", "kubelet"), "--config", self.folder / "kubelet.yaml", "--config-dir",
                   self.folder / "conf.d", "--root-dir", self.folder / "root", "--cert-dir", self.folder / "pki",
                   "--hostname-override", NODE, "--v=2"]
        self.daemon = Daemon(
            "kubelet", ["unshare", "--mount", "sh", "-ec", _IN_FRONT, "sh", self.folder / "sysctl", *command],
            self.folder, env={"OTEL_BSP_SCHEDULE_DELAY": "200"})
        self.daemon.wait_until(lambda: self.get("healthz") == "ok", "healthy", timeout=60)

    def get(self, path):
        """An answer of its HTTP server; None while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def pod(self, name):
        """What it says about a pod; None if it has none of this name."""
        for pod in json.loads(self.get("pods") or "{}").get("items") or []:
            if pod["metadata"]["name"] == name:
                return pod
        return None

    def _ready(self, pod):
        said = self.pod(pod.name)
        containers = said and said["status"].get("containerStatuses")
        return said if containers and all(container["ready"] for container in containers) else None

    def run(self, pod, timeout=60):
        """Gives it a StaticPod and waits until all containers are ready."""
        pod.write(self.manifests)
        try:
            pod.uid = wait_for(lambda: self._ready(pod), "the pod is ready", timeout, 0.1)["metadata"]["uid"]
        except Failed as error:
            raise Failed(f"{error}; kubelet says: {self.pod(pod.name)}\n{self.daemon.log()}") from None
        return pod

    def remove(self, pod):
        """Takes the pod away; its end is not waited for."""
        pod.remove(self.manifests)

    def stop(self):
        """Stops it; its pods go on."""
        self.daemon.stop()

    def close(self):
        """Stops it and removes its files."""
        if self.daemon is not None:
            self.stop()
        session.unmount_below(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()
