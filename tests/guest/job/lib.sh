# What the jobs have in common; they run in the guest, as root, in /job.
# shellcheck shell=bash

out=/job/out
containerd=unix:///run/containerd/containerd.sock
through=unix:///run/podspan/run/containerd/containerd.sock
daemons="podspand.service podspan-watch.service podspan-cri@containerd.service"
units="run-podspan-spool.mount podspan-cri@containerd.socket $daemons"
# Limits are those of a quiet machine; a busy one is not a fault, and only what hangs waits for all of it.
patience=6
export XDG_RUNTIME_DIR=/run HOME=/root LC_ALL=C

# run_case NAME LIMIT: runs case_NAME in a shell of its own; its first failing command fails it. What it prints is shown if it
# fails and is kept in out/NAME.log.
run_case() {
	local name=$1 limit=$(($2 * patience)) begin=$SECONDS log=$out/${KIND:-}$1.log code=0 pid watchdog
	(
		exec >"$log" 2>&1
		PS4='+ ${SECONDS}s ${FUNCNAME[0]:-}: '
		set -Eeuxo pipefail
		"case_${name//-/_}"
	) &
	pid=$!
	(
		sleep "$limit"
		echo "not done after $limit s" >>"$log"
		kill -9 -- "$pid"
	) &
	watchdog=$!
	wait "$pid" || code=$?
	kill "$watchdog" 2>/dev/null
	wait "$watchdog" 2>/dev/null
	if ((code == 0)); then
		echo "pass $name $((SECONDS - begin))"
	else
		echo "FAIL $name $((SECONDS - begin))"
		tail -n 25 "$log" | cut -c1-300 | sed 's/^/| /'
		journalctl --no-pager -q -b -n 15 -o short-monotonic -t systemd -t podspand -t podspan-cri -t podspan-watch -t kernel |
			cut -c1-200 | sed 's/^/| journal: /'
	fi
	sync -f "$out"
	return "$code"
}

# until_true LIMIT COMMAND…: waits until the command succeeds.
until_true() {
	local until=$((SECONDS + $1 * patience))
	shift
	set +x
	until "$@"; do
		if ((SECONDS >= until)); then
			set -x
			echo "still not so: $*" >&2
			return 1
		fi
		sleep 0.2
	done
	set -x
}

# "! command" alone would not end a shell with errexit.
not() {
	if "$@"; then
		return 1
	fi
}

fail() {
	echo "$*" >&2
	return 1
}

cri() {
	crictl -r "${endpoint:-$through}" "$@"
}

cri_answers() {
	cri version >/dev/null
}

property() {
	systemctl show -P "$2" "$1"
}

all_active() {
	local unit
	for unit in ${*:-$units}; do
		[[ $(property "$unit" ActiveState) == active ]] || fail "$unit: $(property "$unit" ActiveState)" || return
	done
}

install_files() {
	# As a package manager does it: each file is a new one under its name.
	(cd /job/podspan && tar -cf - .) | tar -C / -xf - --no-overwrite-dir
}

# make_pod NAME MEMORY COMMAND…: the files that crictl takes.
make_pod() {
	local name=$1 memory=$2
	shift 2
	mkdir -p /job/pods "/var/log/pods/$name"
	jq -n --arg name "$name" '{metadata: {name: $name, namespace: "guest", uid: ("uid-" + $name)},
		log_directory: ("/var/log/pods/" + $name), linux: {cgroup_parent: ("kubepods-pod" + $name + ".slice")}}' \
		>"/job/pods/$name.pod"
	jq -n --argjson memory "$memory" '{metadata: {name: "main"}, image: {image: "localhost/busybox:1"},
		command: $ARGS.positional, log_path: "main.log", linux: {resources: {memory_limit_in_bytes: $memory}}}' \
		--args -- "$@" >"/job/pods/$name.container"
}

# start_pod NAME MEMORY COMMAND…: prints the container's id; the sandbox's is in pods/NAME.sandbox.
start_pod() {
	local name=$1 sandbox container
	make_pod "$@"
	# errexit does not reach into the substitution that this runs in.
	sandbox=$(cri runp "/job/pods/$name.pod") || return
	echo "$sandbox" >"/job/pods/$name.sandbox"
	container=$(cri create "$sandbox" "/job/pods/$name.container" "/job/pods/$name.pod") || return
	cri start "$container" >/dev/null || return
	echo "$container"
}

remove_pod() {
	cri rmp -f "$(<"/job/pods/$1.sandbox")"
}

# has_ended CONTAINER: leaves what the runtime says of it in out/ended.json.
has_ended() {
	cri inspect -o json "$1" | jq .status >"$out/ended.json"
	[[ $(jq -r .state "$out/ended.json") == CONTAINER_EXITED ]]
}

# trace_has POD JQ-FILTER: in the pod's trace is a span for which the filter is true. Attributes are in .at by name.
trace_has() {
	podspan trace "guest/$1" --json 2>/dev/null | jq -e "[.resourceSpans[] | . as \$r | .scopeSpans[].spans[] |
		.service = ([\$r.resource.attributes[] | select(.key == \"service.name\").value.stringValue][0]) |
		.at = ([(.attributes // [])[] | {(.key): (.value | (.stringValue // .intValue // .boolValue))}] | add) |
		select($2)] | length > 0" >/dev/null
}

# A call in flight through podspan-cri, for as long as call_ends is not called.
call_begins() {
	local container=$1
	cri exec -s "$container" sh -c 'rm -f /tmp/stop; touch /tmp/begun; until [ -e /tmp/stop ]; do sleep 0.3; done; echo finished' \
		>"$out/call.txt" 2>&1 &
	call=$!
	until_true 60 endpoint_exec "$container" test -e /tmp/begun
}

# Past podspan-cri.
endpoint_exec() {
	endpoint=$containerd cri exec -s "$@" >/dev/null 2>&1
}

call_in_flight() {
	kill -0 "$call" || { cat "$out/call.txt" >&2; fail "the call in flight has failed"; }
}

call_ends() {
	call_in_flight
	endpoint_exec "$1" touch /tmp/stop
	wait "$call" || { cat "$out/call.txt" >&2; fail "the call in flight has failed"; }
	grep -qx finished "$out/call.txt"
}

# run_line LINE: as an administrator at a terminal, whose editor adds a section without content.
run_line() {
	SYSTEMD_EDITOR=/job/editor SYSTEMD_PAGER='' script -qec "bash -ec $(printf %q "$1")" /dev/null </dev/null
}

# program_is_new UNIT: what runs is the file that is installed.
program_is_new() {
	local pid
	pid=$(property "$1" MainPID)
	[[ $pid != 0 && $(readlink "/proc/$pid/exe") != *"(deleted)" ]]
}

import_images() {
	local image
	for image in pause busybox; do
		ctr -n k8s.io images import "/opt/images/$image.tar" >/dev/null || return
	done
}
