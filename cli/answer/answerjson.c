#include <string.h>
#include "answerjson.h"

static void pair_number(Json *json, const char *key, int64_t value, int64_t absent) {
        if (value <= absent)
                return;
        json_key(json, key);
        json_i64(json, value);
}

static void pair_signal(Json *json, const char *key, int signal) {
        char name[VERDICT_SIGNAL_MAX];

        if (signal > 0)
                json_pair_str(json, key, verdict_signal_name(signal, name));
}

void answerjson_pod(Json *json, const char *uid, const char *name, const char *namespace, const char *sandbox_id) {
        json_key(json, "pod");
        json_map(json);
        json_pair_known(json, "uid", uid);
        json_pair_known(json, "name", name);
        json_pair_known(json, "namespace", namespace);
        json_pair_known(json, "sandbox_id", sandbox_id);
        json_map_end(json);
}

void answerjson_subject(Json *json, const Answer *answer) {
        answerjson_pod(json, answer->pod_uid, answer->pod_name, answer->pod_namespace, answer->sandbox_id);
        json_key(json, "container");
        json_map(json);
        json_pair_known(json, "name", answer->container_name);
        json_pair_known(json, "id", answer->container_id);
        pair_number(json, "attempt", answer->attempt, -1);
        json_map_end(json);
}

static void print_kill(Json *json, const VerdictFacts *facts) {
        if (facts->origin == VERDICT_ORIGIN_NONE && facts->ignored == 0)
                return;
        json_key(json, "kill");
        json_map(json);
        json_pair_known(json, "origin", verdict_origin_word(facts->origin));
        if (facts->origin != VERDICT_ORIGIN_NONE)
                pair_signal(json, "signal", facts->signal);
        json_pair_known(json, "program", facts->kill_program);
        pair_number(json, "pid", facts->kill_pid, 0);
        pair_number(json, "uid", facts->kill_uid, -1);
        json_pair_known(json, "container_id", facts->kill_container);
        pair_signal(json, "ignored", facts->ignored);
        json_map_end(json);
}

static void print_oom(Json *json, const VerdictFacts *facts) {
        if (!facts->oom_ended && facts->oom_scope == VERDICT_SCOPE_NONE)
                return;
        json_key(json, "oom");
        json_map(json);
        json_pair_bool(json, "ended_container", facts->oom_ended);
        json_pair_known(json, "scope", verdict_scope_word(facts->oom_scope));
        pair_number(json, "limit_bytes", facts->oom_limit_bytes, 0);
        json_pair_known(json, "victim_program", facts->oom_program);
        pair_number(json, "victim_pid", facts->oom_pid, 0);
        pair_number(json, "victim_rss_bytes", facts->oom_rss_bytes, 0);
        json_map_end(json);
}

static void print_stop(Json *json, const VerdictFacts *facts) {
        if (facts->stop == VERDICT_STOP_UNSEEN && !facts->stop_reason)
                return;
        json_key(json, "stop");
        json_map(json);
        json_pair_known(json, "method", verdict_stop_word(facts->stop));
        if (facts->stop_asked_ns > 0)
                json_time(json, "asked", facts->stop_asked_ns);
        pair_number(json, "grace_ms", facts->stop_grace_ms, -1);
        json_pair_known(json, "reason", facts->stop_reason);
        json_map_end(json);
}

static void print_counts(Json *json, const VerdictFacts *facts) {
        const struct {
                const char *key;
                int64_t value;
        } counts[] = {
                { "memory_events_low", facts->memory_low },
                { "memory_events_high", facts->memory_high },
                { "memory_events_max", facts->memory_max },
                { "memory_events_oom", facts->memory_oom },
                { "memory_events_oom_kill", facts->memory_oom_kill },
                { "memory_events_oom_group_kill", facts->memory_oom_group_kill },
                { "cpu_throttled_ns", facts->throttled_ns },
                { "cpu_throttled_periods", facts->throttled_periods },
                { "cpu_periods", facts->periods },
        };

        for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
                pair_number(json, counts[i].key, counts[i].value, -1);
}

void answerjson_facts(Json *json, const Answer *answer) {
        const VerdictFacts *facts = &answer->facts;

        json_key(json, "facts");
        json_map(json);
        pair_number(json, "exit_code", facts->exit_code, -1);
        pair_signal(json, "signal", facts->signal);
        print_kill(json, facts);
        print_oom(json, facts);
        print_stop(json, facts);
        if (facts->start_failure) {
                json_key(json, "start_failure");
                json_map(json);
                json_pair_known(json, "call", answer->call);
                json_pair_known(json, "message", facts->start_failure);
                if (answer->call) {
                        json_pair_u64(json, "times", answer->n_times);
                        json_time(json, "first", answer->first_ns);
                }
                json_map_end(json);
        }
        if (facts->kubelet_probe)
                json_pair_bool(json, "kubelet_probe", true);
        if (facts->execsync_failed)
                json_pair_bool(json, "execsync_failed", true);
        if (facts->sandbox_stopped)
                json_pair_bool(json, "sandbox_stopped", true);
        if (facts->next_attempt)
                json_pair_bool(json, "next_attempt", true);
        if (facts->lost)
                json_pair_bool(json, "lost", true);
        print_counts(json, facts);
        json_map_end(json);
}

void answerjson_decision(Json *json, const Answer *answer) {
        json_pair_str(json, "verdict", verdict_word(answer->decision.verdict));
        json_pair_str(json, "emitted", verdict_word(answer->emitted));
        if (answer->disagrees)
                json_pair_bool(json, "disagrees", true);
        json_key(json, "missing");
        json_array(json);
        for (uint32_t bit = 1; bit < _VERDICT_MISSING_END; bit <<= 1)
                if (answer->decision.missing & bit)
                        json_str(json, verdict_missing_word((VerdictMissing) bit));
        json_array_end(json);
}

bool answerjson_is_oom(const Podspan__Otlp__Event *event) {
        return strcmp(event->name, VERDICT_EVENT_OOM) == 0;
}

void answerjson_oom(Json *json, const Answer *answer, const Podspan__Otlp__Event *event) {
        int64_t pid = spanfind_event_number(event, VERDICT_ATTR_OOM_PID, 0);

        json_time(json, "time", event->time_unix_nano);
        json_pair_known(json, "scope", spanfind_event_string(event, VERDICT_ATTR_OOM_SCOPE));
        pair_number(json, "limit_bytes", spanfind_event_number(event, VERDICT_ATTR_OOM_LIMIT, 0), 0);
        json_pair_known(json, "victim_program", spanfind_event_string(event, VERDICT_ATTR_OOM_PROGRAM));
        pair_number(json, "victim_pid", pid, 0);
        pair_number(json, "victim_rss_bytes", spanfind_event_number(event, VERDICT_ATTR_OOM_RSS, 0), 0);
        json_pair_bool(json, "ended_container", answer->facts.oom_ended && pid > 0 && pid == answer->facts.oom_pid);
}
