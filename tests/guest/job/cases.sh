# The cases of smoke test and matrix. Each begins where the one before it ended: podspan is installed and runs.
# shellcheck shell=bash disable=SC2154

case_install() {
	install_files
	# What podspan is linked with has to be in tests/guest/packages.
	ldd /usr/bin/podspan /usr/sbin/podspan* /usr/libexec/podspan/podspan-probe >"$out/libraries.txt"
	not grep 'not found' "$out/libraries.txt"
	mkdir -p /etc/podspan/conf.d
	printf '[podspan]\ntracing_endpoint = "none"\ntracing_sampling_rate_per_million = 1000000\n' >/etc/podspan/conf.d/50-guest.conf
	systemd-sysusers
	systemd-tmpfiles --create
	systemctl daemon-reload
	systemd-analyze verify $units
	podspan config
	[[ $(stat -c '%a %U %G' /run/podspan) == "3770 root podspan" ]]
}

case_units_start() {
	systemctl enable --now run-podspan-spool.mount podspand.service
	systemctl enable --now podspan-cri@containerd.socket podspan-cri@containerd.service
	systemctl enable --now podspan-watch.service
	all_active
	import_images
	cri_answers
	# What systemd says is true of the processes, too.
	for unit in $daemons; do
		program_is_new "$unit"
	done
	podspan status --json | jq -e '.podspand.state == "running" and .podspan_cri.state == "running"'
}

case_runtime_install() {
	cp /etc/containerd/config.toml /job/config.toml
	podspan install containerd --yes
	systemctl restart containerd.service
	until_true 60 cri_answers
	not cmp /etc/containerd/config.toml /job/config.toml
}

case_pod() {
	container=$(start_pod life 0 sh -c 'trap "exit 7" TERM; while :; do sleep 0.2; done')
	# The systemd driver: the container's cgroup is a scope below the pod's slice.
	pid=$(cri inspect -o json "$container" | jq .info.pid)
	grep "^0::/kubepods.slice/kubepods-podlife.slice/cri-containerd-$container.scope" "/proc/$pid/cgroup"
	cri stop -t 20 "$container"
	until_true 30 has_ended "$container"
	[[ $(jq .exitCode "$out/ended.json") == 7 ]]
	until_true 90 trace_has life '.service == "podspan-cri" and (.name | endswith("RunPodSandbox"))'
	until_true 90 trace_has life '.service == "podspan-cri" and (.name | endswith("StartContainer"))'
	until_true 90 trace_has life '.service == "podspan-watch" and .name == "runc create"'
	until_true 90 trace_has life '.service == "podspan-watch" and (.name | startswith("cni bridge ADD"))'
	until_true 90 trace_has life '.service == "podspan-watch" and .name == "wait_for_exit_code" and .at["process.exit.code"] == "7"'
	until_true 90 trace_has life '.service == "podspan-hook" and .name == "poststart"'
	remove_pod life
}

case_exit_by_signal() {
	container=$(start_pod signalled 0 sleep 1000)
	kill -SEGV "$(cri inspect -o json "$container" | jq .info.pid)"
	until_true 30 has_ended "$container"
	[[ $(jq .exitCode "$out/ended.json") == 139 ]]
	until_true 90 trace_has signalled '.name == "wait_for_exit_code" and .at["podspan.process.signal"] != null'
	remove_pod signalled
}

case_oom() {
	container=$(start_pod oom 16777216 sh -c 'tail /dev/zero')
	until_true 90 has_ended "$container"
	# containerd 1.6 may say "Error" for a reason, because the exit can overtake its own OOM event.
	[[ $(jq .exitCode "$out/ended.json") == 137 ]]
	until_true 90 trace_has oom '.name == "wait_for_exit_code" and .at["podspan.oom_killed"] == true'
	remove_pod oom
}

# The pod of the cases that follow.
case_exec_probe() {
	container=$(start_pod service 0 sh -c 'trap "exit 0" TERM; while :; do sleep 0.2; done')
	echo "$container" >/job/service
	[[ $(cri exec -s "$container" echo healthy) == healthy ]]
	code=0
	cri exec -s "$container" sh -c 'exit 3' || code=$?
	((code != 0))
	# A probe that fails has a span, one that succeeds does not.
	failed_execs() {
		podspan traces --json --service podspan-watch --errors | jq -e '.traces | length > 0' >/dev/null
	}
	until_true 30 failed_execs
}

case_reload() {
	local before after round
	call_begins "$(</job/service)"
	for round in $(seq "${ROUNDS:-3}"); do
		before=$(for unit in $daemons; do property "$unit" MainPID; done)
		systemctl reload podspand.service podspan-watch.service podspan-cri@containerd.service
		after=$(for unit in $daemons; do property "$unit" MainPID; done)
		# podspan-cri hands over to a new process, the others read their configuration.
		[[ $(head -n 2 <<<"$before") == "$(head -n 2 <<<"$after")" ]]
		[[ $(tail -n 1 <<<"$before") != "$(tail -n 1 <<<"$after")" ]]
		# Longer than the watchdog.
		sleep 4
		all_active
		[[ $(for unit in $daemons; do property "$unit" MainPID; done) == "$after" ]]
		call_in_flight
		cri_answers
	done
	call_ends "$(</job/service)"
	[[ $(for unit in $daemons; do property "$unit" NRestarts; done | sort -u) == 0 ]]
}

# A configuration that is wrong: the old one stays, and the administrator learns of it.
case_reload_wrong() {
	printf '[podspan]\nno_such_key = 1\n' >/etc/podspan/conf.d/60-wrong.conf
	code=0
	systemctl reload podspan-cri@containerd.service || code=$?
	rm /etc/podspan/conf.d/60-wrong.conf
	((code != 0))
	all_active
	cri_answers
}

# documented_lines SECTION: what the documentation says below a heading like this.
documented_lines() {
	awk -F '\t' -v section="$1" '$2 ~ section { print $3 }' /job/lines
}

case_upgrade() {
	local line lines=0
	call_begins "$(</job/service)"
	install_files
	systemctl daemon-reload
	while read -r line; do
		bash -ec "$line" </dev/null
		lines=$((lines + 1))
		until_true 30 all_active
		call_in_flight
	done < <(documented_lines Upgrad)
	((lines > 0))
	for unit in $daemons; do
		until_true 30 program_is_new "$unit"
	done
	cri_answers
	call_ends "$(</job/service)"
}

case_bypass() {
	call_begins "$(</job/service)"
	podspan bypass on
	podspan bypass status --json | jq -e '.bypass == "on"'
	[[ $(readlink -f /run/podspan/run/containerd/containerd.sock) == /run/containerd/containerd.sock ]]
	cri_answers
	# An upgrade does not end it.
	while read -r line; do
		bash -ec "$line" </dev/null
		until_true 30 all_active
	done < <(documented_lines Upgrad)
	podspan bypass status --json | jq -e '.bypass == "on"'
	cri_answers
	podspan bypass off
	podspan bypass status --json | jq -e '.bypass == "off"'
	cri_answers
	call_ends "$(</job/service)"
}

# Each systemctl line of the documentation, as it stands there: it succeeds, all that ran runs, and no call fails.
case_systemctl_lines() {
	local source section line socket bad=0
	call_begins "$(</job/service)"
	printf '#!/bin/sh\nprintf "[Unit]\\nX-Edited=yes\\n" >"$1"\n' >/job/editor
	chmod 755 /job/editor
	socket=$(property podspan-cri@containerd.socket ActiveEnterTimestampMonotonic)
	while IFS=$'\t' read -r source section line; do
		# What stops or removes is for the case of the removal.
		[[ ! $line =~ systemctl\ (stop|disable|mask|kill) ]] || continue
		if ! run_line "$line"; then
			echo "BAD $source: exit code not 0: $line"
			bad=1
		fi
		if ! until_true 60 all_active || ! until_true 60 cri_answers; then
			echo "BAD $source: something does not run after: $line"
			bad=1
		fi
		if ! call_in_flight; then
			echo "BAD $source: a call in flight failed: $line"
			bad=1
			call_begins "$(</job/service)"
		fi
		if [[ $(property podspan-cri@containerd.socket ActiveEnterTimestampMonotonic) != "$socket" ]]; then
			echo "BAD $source: the socket unit was restarted: $line"
			bad=1
			socket=$(property podspan-cri@containerd.socket ActiveEnterTimestampMonotonic)
		fi
	done </job/lines
	for unit in $units; do
		systemctl revert "$unit"
	done
	call_ends "$(</job/service)"
	((bad == 0)) || fail "$(grep ^BAD "$out/${KIND:-}systemctl-lines.log" | sort -u)"
}

# podspan-watch where it cannot run ends for good and says why, and runs again once the reason is gone.
case_watch_refused() {
	local before
	mount --bind /dev/null /sys/kernel/btf/vmlinux
	code=0
	systemctl restart podspan-watch.service || code=$?
	((code != 0))
	refused() {
		[[ $(property podspan-watch.service ActiveState) == failed ]]
	}
	until_true 30 refused
	[[ $(property podspan-watch.service ExecMainStatus) == 3 ]]
	before=$(property podspan-watch.service InvocationID)
	# Longer than RestartSec=: systemd does not start it again.
	sleep 8
	[[ $(systemctl is-failed podspan-watch.service) == failed ]]
	[[ $(property podspan-watch.service NRestarts) == 0 ]]
	[[ $(property podspan-watch.service InvocationID) == "$before" ]]
	journalctl -b -q --no-pager -u podspan-watch.service | grep 'Cannot run here (btf): '
	podspan status >"$out/refused.txt"
	grep 'podspan-watch.*refused, lacks: btf: .*/sys/kernel/btf/vmlinux' "$out/refused.txt"
	podspan status --json | jq -e '.podspan_watch | .state == "refused" and .missing == "btf"'
	code=0
	podspan doctor --json >"$out/refused.json" || code=$?
	((code == 10 || code == 20))
	jq -e '[.findings[] | select(.id == "podspan.watch")] | length == 1 and .[0].severity == "warning" and
		(.[0].evidence | startswith("btf: ")) and (.[0].fix | contains("systemctl start podspan-watch.service"))' "$out/refused.json"
	# Nothing else noticed.
	all_active podspand.service podspan-cri@containerd.service
	cri_answers

	umount /sys/kernel/btf/vmlinux
	systemctl start podspan-watch.service
	all_active
	podspan status --json | jq -e '.podspan_watch.state == "running"'
	pod_works refused
}

case_probe() {
	podspan probe --image localhost/busybox:1 -- sh -c 'sleep 1' >"$out/probe.txt"
	grep -q RunPodSandbox "$out/probe.txt"
	[[ -z $(cri pods -q --label podspan.probe 2>/dev/null) ]]
	[[ $(endpoint=$containerd cri pods -o json | jq '[.items[] | select(.metadata.namespace == "podspan-probe")] | length') == 0 ]]
}

case_doctor() {
	code=0
	podspan doctor --json >"$out/doctor.json" || code=$?
	((code == 0 || code == 10 || code == 20))
	jq -e '.findings | length > 5' "$out/doctor.json"
	jq -e '[.findings[] | select(.id == "podspand.running" or .id == "podspan.config") | .severity == "ok"] | all' "$out/doctor.json"
}

# No watchdog ended anything, nothing crashed.
case_units_stay() {
	all_active
	# That podspan-watch ends with code 3 is what case_watch_refused wants.
	journalctl -b -q --no-pager | grep -vE "podspan-watch.service: Failed with result 'exit-code'" >"$out/journal.txt"
	not grep -E 'podspan.*(Watchdog timeout|Failed with result|code=dumped|segfault|general protection|traps:)' "$out/journal.txt"
}

# All of podspan goes while the pod runs; what is left is the node as it was.
case_removal() {
	local line
	remove_pod service
	# As docs/install.md has it below "All of it".
	! podspan uninstall --all --yes >/job/uninstall || fail "nothing was in use: $(</job/uninstall)"
	cmp /etc/containerd/config.toml /job/config.toml
	[[ ! -e /etc/containerd/podspan-base-spec.json ]]
	while read -r line; do
		run_line "$line"
	done < <(grep '^systemctl ' /job/uninstall)
	endpoint=$containerd
	until_true 60 cri_answers
	podspan uninstall --all --yes
	[[ ! -e /run/podspan && ! -e /var/lib/podspan ]]
	(cd /job/podspan && find . ! -type d) | (cd / && xargs rm -f)
	rm -r /etc/podspan
	systemctl daemon-reload
	# The restart of the mount that fails as documented (docs/spool.md) leaves its mark on a unit that is gone.
	systemctl reset-failed run-podspan-spool.mount || true
	[[ -z $(systemctl list-units --all --no-legend 'podspan*' 'run-podspan*' | grep -v not-found) ]]
	[[ -z $(find /etc/systemd -name '*podspan*') ]]
	not pgrep -x 'podspand|podspan-watch|podspan-cri'
	container=$(start_pod after 0 sleep 100)
	remove_pod after
	[[ $(systemctl is-system-running) == running ]]
}

# ---- the matrix ----

# The runtime, the hook, the monitor and the observer together, without Kubernetes.
podman_case() {
	local runtime=$1 code=0
	podman run --runtime "$runtime" --conmon /usr/libexec/podspan/podspan-conmon --hooks-dir /usr/share/podspan/hooks.d --network none \
		--name "ends-$runtime" localhost/busybox:1 sh -c 'echo written; exit 7' || code=$?
	((code == 7))
	[[ $(podman inspect "ends-$runtime" --format '{{.State.ExitCode}} {{.State.OOMKilled}}') == "7 false" ]]
	podman logs "ends-$runtime" | grep -qx written
	code=0
	podman run --runtime "$runtime" --conmon /usr/libexec/podspan/podspan-conmon --network none --memory 16m --name "oom-$runtime" \
		localhost/busybox:1 tail /dev/zero || code=$?
	((code == 137))
	[[ $(podman inspect "oom-$runtime" --format '{{.State.ExitCode}} {{.State.OOMKilled}}') == "137 true" ]]
	# Each container has a trace of its own, in which monitor, observer and hook report.
	spans() {
		local id trace
		id=$(podman inspect "ends-$runtime" --format '{{.Id}}')
		trace=$(podspan traces --json --container "${id:0:12}" | jq -r '.traces[0].trace_id // empty')
		[[ -n $trace ]] && podspan trace "$trace" --json >"$out/podman-$runtime.json" || return
		for service in podspan-conmon podspan-hook; do
			grep -q "\"$service\"" "$out/podman-$runtime.json" || return
		done
	}
	until_true 60 spans
	podman rm -f "ends-$runtime" "oom-$runtime"
}

# oom_behind RUNTIME MONITOR: systemd removes the container's cgroup before the monitor looks, as it does on a busy node.
# Prints the exit code and whether it was the OOM killer.
oom_behind() {
	local pid monitor cgroup
	podman run -d --runtime "$1" --conmon "$2" --network none --memory 16m --name behind localhost/busybox:1 \
		sh -c 'until [ -e /go ]; do sleep 0.2; done; exec tail /dev/zero' >&2
	pid=$(podman inspect behind --format '{{.State.Pid}}')
	monitor=$(podman inspect behind --format '{{.State.ConmonPid}}')
	cgroup=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
	[[ -e $cgroup/memory.events ]]
	kill -STOP "$monitor"
	touch "/proc/$pid/root/go"
	removed() { [[ ! -e $cgroup ]]; }
	until_true 60 removed
	kill -CONT "$monitor"
	podman wait behind >&2
	podman inspect behind --format '{{.State.ExitCode}} {{.State.OOMKilled}}'
	podman rm -f behind >&2
}

case_podman_runc() {
	podman load -i /opt/images/busybox.tar
	podman_case runc
}

case_podman_crun() { podman_case crun; }

case_oom_behind() {
	local runtime
	for runtime in runc crun; do
		[[ $(oom_behind "$runtime" /usr/libexec/podspan/podspan-conmon) == "137 true" ]]
		# What conmon says is no condition.
		echo "conmon: $(oom_behind "$runtime" /usr/bin/conmon)"
	done
}

case_crio() {
	podman load -i /opt/images/pause.tar
	systemctl start crio.service
	systemctl start podspan-cri@crio.socket podspan-cri@crio.service
	through=unix:///run/podspan/run/crio/crio.sock
	cri_answers
	container=$(start_pod crio 0 sh -c 'trap "exit 7" TERM; while :; do sleep 0.2; done')
	[[ $(cri exec -s "$container" echo healthy) == healthy ]]
	cri stop -t 20 "$container"
	until_true 30 has_ended "$container"
	[[ $(jq .exitCode "$out/ended.json") == 7 ]]
	until_true 90 trace_has crio '.service == "podspan-cri" and (.name | endswith("RunPodSandbox"))'
	remove_pod crio
	systemctl stop podspan-cri@crio.socket podspan-cri@crio.service crio.service
}

case_containerd2() {
	mkdir -p /run/systemd/system/containerd.service.d
	printf '[Service]\nEnvironment=PATH=/opt/containerd2:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin\nExecStart=\nExecStart=/opt/containerd2/containerd --root /var/lib/containerd2\n' \
		>/run/systemd/system/containerd.service.d/two.conf
	# Its configuration is without our hooks, whose base specification belongs to containerd 1's default.
	cp /etc/containerd/config.toml /job/with-hooks.toml
	cp /job/config.toml /etc/containerd/config.toml
	systemctl daemon-reload
	systemctl restart containerd.service
	until_true 90 cri_answers
	[[ $(cri version | sed -n 's/^RuntimeVersion: *//p') == *2.* ]]
	import_images
	container=$(start_pod two 0 sh -c 'trap "exit 7" TERM; while :; do sleep 0.2; done')
	cri stop -t 20 "$container"
	until_true 30 has_ended "$container"
	[[ $(jq .exitCode "$out/ended.json") == 7 ]]
	until_true 90 trace_has two '.service == "podspan-cri" and (.name | endswith("StartContainer"))'
	remove_pod two
	rm /run/systemd/system/containerd.service.d/two.conf
	cp /job/with-hooks.toml /etc/containerd/config.toml
	systemctl daemon-reload
	systemctl restart containerd.service
	until_true 60 cri_answers
}

# A pod through all of it, quickly.
pod_works() {
	local name=$1
	container=$(start_pod "$name" 0 sh -c 'exit 5')
	until_true 60 has_ended "$container"
	[[ $(jq .exitCode "$out/ended.json") == 5 ]]
	until_true 90 trace_has "$name" '.service == "podspan-cri" and (.name | endswith("StartContainer"))'
	if [[ $(property podspan-watch.service ActiveState) == active ]]; then
		until_true 90 trace_has "$name" '.name == "wait_for_exit_code" and .at["process.exit.code"] == "5"'
	fi
	remove_pod "$name"
}

logged_again() {
	journalctl -b -q --no-pager --since "@$since" -u podspand.service | grep -q "configuration was read again"
}

case_journald_restarted() {
	call_begins "$(</job/service)"
	systemctl restart systemd-journald.service
	since=$(date +%s)
	sleep 1
	systemctl reload podspand.service
	until_true 30 logged_again
	all_active
	pod_works journald
	call_ends "$(</job/service)"
}

case_daemon_reexec() {
	local before
	call_begins "$(</job/service)"
	before=$(for unit in $daemons; do property "$unit" MainPID; done)
	systemctl daemon-reexec
	# Longer than the watchdog of podspan-cri.
	sleep 8
	all_active
	[[ $(for unit in $daemons; do property "$unit" MainPID; done) == "$before" ]]
	systemctl reload podspan-cri@containerd.service
	sleep 4
	all_active
	cri_answers
	call_ends "$(</job/service)"
}

# killed UNIT: it is back with another process, and what was not killed never noticed.
killed() {
	local unit=$1 pid restarts other
	pid=$(property "$unit" MainPID)
	restarts=$(property "$unit" NRestarts)
	other=$(for one in $daemons; do [[ $one == "$unit" ]] || property "$one" MainPID; done)
	kill -9 "$pid"
	is_back() {
		# Until systemd has seen the death the unit is active without a process.
		[[ $(property "$unit" NRestarts) == $((restarts + 1)) && $(property "$unit" ActiveState) == active ]]
	}
	until_true 60 is_back
	[[ $(property "$unit" MainPID) != "$pid" ]]
	[[ $(for one in $daemons; do [[ $one == "$unit" ]] || property "$one" MainPID; done) == "$other" ]]
	all_active
	until_true 30 cri_answers
}

case_kill_podspand() {
	killed podspand.service
	pod_works killed-podspand
}

case_kill_watch() {
	killed podspan-watch.service
	pod_works killed-watch
}

case_kill_cri() {
	killed podspan-cri@containerd.service
	pod_works killed-cri
}

# What was there before is there afterwards, and units come up by themselves.
case_before_reboot() {
	pod_works before
	podspan traces --json -n 1000 | jq -r '.traces[].trace_id' | sort >/job/traces
	[[ -s /job/traces ]]
}

case_after_reboot() {
	until_true 90 all_active
	until_true 60 cri_answers
	podspan traces --json -n 1000 | jq -r '.traces[].trace_id' | sort >/job/traces-after
	[[ -z $(comm -23 /job/traces /job/traces-after) ]]
	for unit in $daemons; do
		[[ $(property "$unit" NRestarts) == 0 ]]
	done
	pod_works after
	# The sandbox of before has ended with the machine; the pod of the cases that follow is a new one.
	remove_pod service
	start_pod service2 0 sleep 1000 >/job/service
	cp /job/pods/service2.sandbox /job/pods/service.sandbox
}

case_store_intact() {
	until_true 60 all_active podspand.service run-podspan-spool.mount
	[[ $(sqlite3 -readonly /var/lib/podspan/podspan.db 'pragma integrity_check') == ok ]]
	podspan traces -n 5
	podspan status --json | jq -e .store.readable
}
