# The cases of smoke test and matrix. Each begins where the one before it ended: podspan is installed and runs.
# shellcheck shell=bash disable=SC2154

case_install() {
	install_files
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
	until_true 30 trace_has life '.service == "podspan-cri" and (.name | endswith("RunPodSandbox"))'
	until_true 30 trace_has life '.service == "podspan-cri" and (.name | endswith("StartContainer"))'
	until_true 30 trace_has life '.service == "podspan-watch" and .name == "runc create"'
	until_true 30 trace_has life '.service == "podspan-watch" and (.name | startswith("cni bridge ADD"))'
	until_true 30 trace_has life '.service == "podspan-watch" and .name == "wait_for_exit_code" and .at["process.exit.code"] == "7"'
	until_true 30 trace_has life '.service == "podspan-hook" and .name == "poststart"'
	remove_pod life
}

case_exit_by_signal() {
	container=$(start_pod signalled 0 sleep 1000)
	kill -SEGV "$(cri inspect -o json "$container" | jq .info.pid)"
	until_true 30 has_ended "$container"
	[[ $(jq .exitCode "$out/ended.json") == 139 ]]
	until_true 30 trace_has signalled '.name == "wait_for_exit_code" and .at["podspan.process.signal"] != null'
	remove_pod signalled
}

case_oom() {
	container=$(start_pod oom 16777216 sh -c 'tail /dev/zero')
	until_true 90 has_ended "$container"
	# containerd 1.6 may say "Error" for a reason, because the exit can overtake its own OOM event.
	[[ $(jq .exitCode "$out/ended.json") == 137 ]]
	until_true 30 trace_has oom '.name == "wait_for_exit_code" and .at["podspan.oom_killed"] == true'
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
	for unit in $daemons; do
		systemctl revert "$unit"
	done
	call_ends "$(</job/service)"
	((bad == 0)) || fail "$(grep ^BAD "$out/${KIND:-}systemctl-lines.log" | sort -u)"
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
	journalctl -b -q --no-pager >"$out/journal.txt"
	not grep -E 'podspan.*(Watchdog timeout|Failed with result|code=dumped|segfault|general protection|traps:)' "$out/journal.txt"
}

# All of podspan goes while the pod runs; what is left is the node as it was.
case_removal() {
	podspan uninstall containerd --yes
	systemctl restart containerd.service
	cmp /etc/containerd/config.toml /job/config.toml
	[[ ! -e /etc/containerd/podspan-base-spec.json ]]
	endpoint=$containerd
	until_true 60 cri_answers
	remove_pod service
	systemctl disable --now podspan-cri@containerd.socket podspan-cri@containerd.service podspan-watch.service \
		podspand.service run-podspan-spool.mount
	(cd /job/podspan && find . ! -type d) | (cd / && xargs rm -f)
	systemctl daemon-reload
	[[ -z $(systemctl list-units --all --no-legend 'podspan*' 'run-podspan*' | grep -v not-found) ]]
	[[ -z $(find /etc/systemd -name '*podspan*') ]]
	not pgrep -x 'podspand|podspan-watch|podspan-cri'
	container=$(start_pod after 0 sleep 100)
	remove_pod after
	[[ $(systemctl is-system-running) == running ]]
}
