"""A CRI client with full control over metadata, and crictl."""

import itertools
import json
import uuid

import grpc

from . import protoc
from .paths import peer
from .process import Failed, run

Messages = protoc.compile_file("cri.proto")
_IMAGE_METHODS = {"PullImage", "RemoveImage", "ListImages"}
_serial = itertools.count(1)

POD, CONTAINER, NODE = 0, 1, 2
CONTAINER_RUNNING, CONTAINER_EXITED = 1, 2


def message(kind, /, **fields):
    """A message of the CRI."""
    return Messages[kind](**fields)


class CriClient:
    """Calls any method by name: client("RunPodSandbox", config=…, traceparent=…)."""

    def __init__(self, socket):
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=[
            ("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20),
            ("grpc.enable_retries", 0)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._channel.close()

    def call_async(self, method, traceparent=None, metadata=(), deadline=60, **fields):
        """Starts a call; the result is a grpc future."""
        service = "ImageService" if method in _IMAGE_METHODS else "RuntimeService"
        stub = self._channel.unary_unary(
            f"/runtime.v1.{service}/{method}",
            request_serializer=Messages[method + "Request"].SerializeToString,
            response_deserializer=Messages[method + "Response"].FromString)
        if traceparent:
            metadata = (*metadata, ("traceparent", traceparent))
        return stub.future(Messages[method + "Request"](**fields), timeout=deadline, metadata=metadata)

    def __call__(self, method, **arguments):
        return self.call_async(method, **arguments).result()

    def raw(self, path, payload=b"", timeout=20):
        """A call of any path with any bytes."""
        return self._channel.unary_unary(path)(payload, timeout=timeout)


class Pod:
    """The identity of a pod that a test starts, and what has been started of it."""

    def __init__(self, runtime, name=None, namespace="tests", annotations=None, host_network=False, attempt=0,
                 host_pid=False):
        number = next(_serial)
        self.name = name or f"pod-{number}"
        self.namespace = namespace
        self.uid = str(uuid.uuid4())
        self.attempt = attempt
        self.sandbox_id = None
        self.containers = {}
        self.logs = runtime.folder / "pod-logs" / self.uid
        self._annotations = annotations or {}
        self._network = NODE if host_network else POD
        self._pid = NODE if host_pid else CONTAINER
        self._cgroup = f"{runtime.cgroup}/pod{self.uid}"

    def config(self):
        """PodSandboxConfig, with the sandbox's pid namespace per container, as kubelet has it by default, or the host's."""
        return message(
            "PodSandboxConfig",
            metadata=message("PodSandboxMetadata", name=self.name, uid=self.uid, namespace=self.namespace,
                             attempt=self.attempt),
            hostname=self.name if self._network == POD else "", log_directory=str(self.logs),
            annotations=self._annotations,
            labels={"io.kubernetes.pod.name": self.name, "io.kubernetes.pod.namespace": self.namespace,
                    "io.kubernetes.pod.uid": self.uid},
            linux=message("LinuxPodSandboxConfig", cgroup_parent=self._cgroup, security_context=message(
                "LinuxSandboxSecurityContext",
                namespace_options=message("NamespaceOption", network=self._network, pid=self._pid))))

    def container_config(self, name, image="localhost/busybox:1", command=("sleep", "1000"), read_only=False,
                         environment=None, attempt=0, memory=0, stdin=False, tty=False,
                         host_pid=False, user=0, drop=(), mounts=None):
        """ContainerConfig; memory is a limit in bytes, user the UID, drop the capabilities it goes without, mounts
        {path in the container: path on the host}, read-only.
        """
        return message(
            "ContainerConfig", metadata=message("ContainerMetadata", name=name, attempt=attempt),
            image=message("ImageSpec", image=image, user_specified_image=image), command=list(command),
            envs=[message("KeyValue", key=key, value=value) for key, value in (environment or {}).items()],
            labels={"io.kubernetes.container.name": name, "io.kubernetes.pod.name": self.name,
                    "io.kubernetes.pod.namespace": self.namespace, "io.kubernetes.pod.uid": self.uid},
            log_path=f"{name}_{attempt}.log", stdin=stdin, tty=tty,
            mounts=[message("Mount", container_path=str(inside), host_path=str(outside), readonly=True)
                    for inside, outside in (mounts or {}).items()],
            linux=message("LinuxContainerConfig", resources=message(
                "LinuxContainerResources", memory_limit_in_bytes=memory) if memory else None, security_context=message(
                "LinuxContainerSecurityContext", readonly_rootfs=read_only,
                capabilities=message("Capability", drop_capabilities=list(drop)),
                run_as_user=message("Int64Value", value=user) if user else None,
                namespace_options=message("NamespaceOption", network=self._network, pid=NODE if host_pid else CONTAINER))))

    def log(self, name, attempt=0):
        """What a container has written, as the runtime's log file has it."""
        return (self.logs / f"{name}_{attempt}.log").read_text(encoding="utf-8")

    def log_file(self, name="main", attempt=0):
        """The path of a container's log."""
        return self.logs / f"{name}_{attempt}.log"

    def run(self, client, **call):
        """RunPodSandbox."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self.sandbox_id = client("RunPodSandbox", config=self.config(), **call).pod_sandbox_id
        return self

    def create(self, client, name="main", traceparent=None, **container):
        """CreateContainer; returns the container's id."""
        self.containers[name] = client(
            "CreateContainer", pod_sandbox_id=self.sandbox_id, config=self.container_config(name, **container),
            sandbox_config=self.config(), traceparent=traceparent).container_id
        return self.containers[name]

    def start(self, client, name="main", traceparent=None, **container):
        """CreateContainer and StartContainer; returns the container's id."""
        self.create(client, name, traceparent, **container)
        client("StartContainer", container_id=self.containers[name], traceparent=traceparent)
        return self.containers[name]

    def remove(self, client, **call):
        """Stops and removes the containers and the sandbox, one call after the other, as kubelet does."""
        for container_id in self.containers.values():
            client("StopContainer", container_id=container_id, timeout=0, **call)
            client("RemoveContainer", container_id=container_id, **call)
        client("StopPodSandbox", pod_sandbox_id=self.sandbox_id, **call)
        client("RemovePodSandbox", pod_sandbox_id=self.sandbox_id, **call)


def crictl(socket, *arguments, timeout=60, check=True):
    """Runs crictl against a socket; returns its standard output."""
    endpoint = f"unix://{socket}"
    return run(peer("crictl", "crictl"), "--config", "/dev/null", "--runtime-endpoint", endpoint, "--image-endpoint",
               endpoint, *arguments, timeout=timeout, check=check).stdout


def crictl_json(socket, command, *arguments):
    """Runs crictl with -o json and parses what it prints."""
    output = crictl(socket, command, "-o", "json", *arguments)
    try:
        return json.loads(output)
    except ValueError:
        raise Failed(f"crictl {command} {arguments}: no JSON:\n{output}") from None
