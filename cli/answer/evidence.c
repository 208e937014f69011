#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "evidence.h"
#include "sentence.h"
#include "text.h"

static int add_life(Answer *answer) {
        char start[TEXT_TIME_MAX], end[SENTENCE_CLOCK_MAX], lived[TEXT_DURATION_MAX], attempt[48] = "";

        text_time(answer->start_ns, false, start);
        text_duration(answer->end_ns > answer->start_ns ? answer->end_ns - answer->start_ns : 0, lived);
        if (answer->attempt >= 0)
                (void) snprintf(attempt, sizeof(attempt), ", attempt %" PRId64, answer->attempt);
        if (answer->call && answer->n_times > 1)
                return answer_add(answer, "call", NULL, NULL, "%s, %s, failed %" PRIu64 " times since %s", answer->call,
                                  start, answer->n_times, sentence_clock(answer->first_ns, end));
        if (answer->call)
                return answer_add(answer, "call", NULL, NULL, "%s, %s, took %s", answer->call, start, lived);
        return answer_add(answer, "life", NULL, NULL, "%s to %s, %s%s", start, sentence_clock(answer->end_ns, end),
                          lived, attempt);
}

static int add_facts(Answer *answer) {
        const VerdictFacts *facts = &answer->facts;
        char status[SENTENCE_WORDS_MAX], clock[SENTENCE_CLOCK_MAX], duration[TEXT_DURATION_MAX];
        int r = 0;

        sentence_status(facts, status);
        if (*status)
                r = answer_add(answer, "status", NULL, NULL, "%s%s%s", status,
                               facts->origin != VERDICT_ORIGIN_NONE ? ", sent by: " : "",
                               verdict_origin_word(facts->origin));
        if (r >= 0 && facts->stop >= VERDICT_STOP_ENGINE && facts->stop < _VERDICT_STOP_MAX) {
                char grace[48] = "";

                if (facts->stop_grace_ms >= 0)
                        (void) snprintf(grace, sizeof(grace), ", grace %.3g s", (double) facts->stop_grace_ms / 1000);
                r = answer_add(answer, "stop", "store", NULL, "%s%s%s%s", verdict_stop_word(facts->stop),
                               facts->stop_asked_ns > 0 ? " at " : "",
                               facts->stop_asked_ns > 0 ? sentence_clock(facts->stop_asked_ns, clock) : "", grace);
        }
        if (r >= 0 && facts->throttled_ns > 0) {
                text_duration((uint64_t) facts->throttled_ns, duration);
                r = answer_add(answer, "throttled", NULL, NULL, "%s in its life", duration);
        }
        if (r >= 0 && facts->memory_max > 0)
                r = answer_add(answer, "memory", NULL, NULL, "at its limit %" PRId64 " times, %" PRId64 " OOM kills",
                               facts->memory_max, MAX(facts->memory_oom_kill, INT64_C(0)));
        return r;
}

static int add_oom_kills(Answer *answer) {
        unsigned n = 0;
        int r = 0;

        for (size_t i = 0; answer->span && i < answer->span->n_events && r >= 0; i++) {
                const Podspan__Otlp__Event *event = answer->span->events[i];
                int64_t pid = spanfind_event_number(event, VERDICT_ATTR_OOM_PID, 0);
                int64_t rss = spanfind_event_number(event, VERDICT_ATTR_OOM_RSS, 0);
                int64_t limit = spanfind_event_number(event, VERDICT_ATTR_OOM_LIMIT, 0);
                const char *scope = spanfind_event_string(event, VERDICT_ATTR_OOM_SCOPE);
                char size[TEXT_SIZE_MAX] = "?", of[TEXT_SIZE_MAX] = "", clock[SENTENCE_CLOCK_MAX];

                if (strcmp(event->name, VERDICT_EVENT_OOM) != 0 || n++ >= ANSWER_OOMS_MAX)
                        continue;
                if (rss > 0)
                        text_size((uint64_t) rss, size);
                if (limit > 0)
                        text_size((uint64_t) limit, of);
                r = answer_add(answer, "oom-kill", NULL, NULL,
                               "%s OOM killer: `%s` (pid %" PRId64 ", %s), limit of: %s%s%s",
                               sentence_clock(event->time_unix_nano, clock),
                               spanfind_event_string(event, VERDICT_ATTR_OOM_PROGRAM) ?: "?", pid, size,
                               scope ?: "unknown", *of ? ", " : "", of);
        }
        return r;
}

/* Earlier ends of the same container name, and the last ones of other containers of the pod. */
typedef struct Lives {
        StoreDb *db;
        Answer *answer;
        unsigned n, n_others;
} Lives;

static int on_life(const Death *death, void *userdata) {
        _cleanup_answer_ Answer other = ANSWER_NULL;
        Lives *lives = userdata;
        Answer *answer = lives->answer;
        bool same = strcmp(death->container_name, answer->container_name) == 0;
        char words[SENTENCE_WORDS_MAX], clock[SENTENCE_CLOCK_MAX], lived[TEXT_DURATION_MAX], attempt[48] = "";
        int r;

        if (memcmp(death->span_id, answer->span_id, sizeof(answer->span_id)) == 0)
                return 0;
        if (same ? lives->n >= EVIDENCE_LIVES_MAX : lives->n_others >= EVIDENCE_LIVES_MAX)
                return 0;
        if (same)
                lives->n++;
        else
                lives->n_others++;
        r = answer_from_death(death, &other);
        if (r >= 0)
                r = answer_facts(lives->db, &other);
        if (r < 0)
                return r;
        answer_settle(&other);
        sentence_words(&other.facts, &other.decision, words);
        text_duration(other.end_ns > other.start_ns ? other.end_ns - other.start_ns : 0, lived);
        if (other.attempt >= 0)
                (void) snprintf(attempt, sizeof(attempt), "attempt %" PRId64 " ", other.attempt);
        return answer_add(answer, same ? "before" : "container", NULL, other.span_id, "%s%s%s: %s, after %s",
                          same ? attempt : other.container_name, same ? "" : " ", sentence_clock(other.end_ns, clock),
                          words, lived);
}

static int add_lives(StoreDb *db, Answer *answer) {
        DeathFilter filter = { .pod_uid = answer->pod_uid, .until_ns = answer->end_ns };
        Lives lives = { .db = db, .answer = answer };

        return *answer->pod_uid ? deathdb_list(db, &filter, on_life, &lives) : 0;
}

static bool ends(const char *s, const char *suffix) {
        size_t n = strlen(s), n_suffix = strlen(suffix);

        return n >= n_suffix && strcmp(s + n - n_suffix, suffix) == 0;
}

/* What of the pod failed, and whether podspan-cri saw any of its calls. */
typedef struct Calls {
        Answer *answer;
        unsigned n, n_probes;
        bool cri;
        uint8_t probe_id[8];
        uint64_t probe_ns;
        char probe_why[OUTCOME_WHY_MAX + 1];
} Calls;

static int on_call(const DeathCall *call, void *userdata) {
        Calls *calls = userdata;
        Answer *answer = calls->answer;
        char clock[SENTENCE_CLOCK_MAX];
        bool mine = !*call->container_name || strcmp(call->container_name, answer->container_name) == 0;

        if (strncmp(call->name, "runtime.v1", strlen("runtime.v1")) == 0)
                calls->cri = true;
        if (memcmp(call->span_id, answer->span_id, sizeof(answer->span_id)) == 0 || call->outcome == OUTCOME_OK ||
            !mine)
                return 0;
        if (ends(call->name, "/ExecSync") || ends(call->name, " exec")) {
                if (strcmp(call->container_id, answer->container_id) != 0 ||
                    call->end_ns + EVIDENCE_BEFORE_NS < answer->end_ns)
                        return 0;
                if (calls->n_probes++ == 0) {
                        memcpy(calls->probe_id, call->span_id, sizeof(calls->probe_id));
                        calls->probe_ns = call->end_ns;
                        util_copy_bounded(calls->probe_why, sizeof(calls->probe_why), call->why, strlen(call->why));
                }
                return 0;
        }
        if (call->outcome != OUTCOME_FAILED || strncmp(call->name, "runtime.v1", strlen("runtime.v1")) != 0 ||
            calls->n >= EVIDENCE_CALLS_MAX)
                return 0;
        calls->n++;
        return answer_add(answer, "runtime", NULL, call->span_id, "%s %s: %s", sentence_clock(call->end_ns, clock),
                          text_span_name(call->name), sentence_reason(call->why));
}

static int add_calls(StoreDb *db, Answer *answer) {
        Calls calls = { .answer = answer, .cri = answer->call != NULL };
        char clock[SENTENCE_CLOCK_MAX];
        int r = 0;

        if (*answer->pod_uid)
                r = deathdb_pod_spans(db, answer->pod_uid, 0, answer->end_ns, /* newest_first= */ true, on_call,
                                      &calls);
        if (r >= 0 && calls.n_probes > 0)
                r = answer_add(answer, "probe", NULL, calls.probe_id,
                               "%u failed command%s (ExecSync) in the last minute, the last at %s%s%s", calls.n_probes,
                               calls.n_probes == 1 ? "" : "s", sentence_clock(calls.probe_ns, clock),
                               *calls.probe_why ? ": " : "", calls.probe_why);
        if (r >= 0 && !calls.cri)
                r = answer_add_unknown(answer,
                                       "CRI calls of the pod (stops, probes, failed starts): podspan-cri, level 2, "
                                       "saw none");
        return r;
}

static int add_pressure(StoreDb *db, Answer *answer) {
        uint64_t since_ns = answer->end_ns > EVIDENCE_BEFORE_NS ? answer->end_ns - EVIDENCE_BEFORE_NS : 0;
        DeathPressure pressure;
        char text[128] = "";
        int r;

        r = deathdb_pressure(db, since_ns, answer->end_ns + NSEC_PER_SEC, &pressure);
        if (r == -ENOENT ||
            (r >= 0 && pressure.cpu_some_us < 0 && pressure.io_some_us < 0 && pressure.memory_some_us < 0))
                return answer_add_unknown(answer,
                                          "the node's pressure: podspand kept none for this time, or the kernel "
                                          "has it off");
        if (r < 0)
                return r;
        const struct {
                const char *name;
                int64_t us;
        } parts[] = { { "CPU", pressure.cpu_some_us },
                      { "IO", pressure.io_some_us },
                      { "memory", pressure.memory_some_us } };

        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                if (parts[i].us >= 0)
                        (void) snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s %.0f %%",
                                        *text ? ", " : "", parts[i].name,
                                        100.0 * (double) parts[i].us / 1e6 / (double) pressure.seconds);
        return answer_add(answer, "pressure", "store", NULL, "some task waited, in the %" PRIu64 " s before: %s",
                          pressure.seconds, text);
}

static int add_unknown(Answer *answer) {
        int r = 0;

        for (uint32_t bit = 1; bit < _VERDICT_MISSING_END && r >= 0; bit <<= 1)
                if (answer->decision.missing & bit)
                        r = answer_add_unknown(answer, "%s", verdict_missing_text((VerdictMissing) bit));
        if (r >= 0 && !answer->span)
                r = answer_add_unknown(answer, "the facts of the end: its span is no longer in the store");
        else if (r >= 0 && !answer->call && !spanfind_string(answer->span, VERDICT_ATTR_VERDICT))
                r = answer_add_unknown(answer,
                                       "how it ended, who sent the signal, whose limit: podspan-watch, level 3, did "
                                       "not see the end");
        return r;
}

int evidence_add(StoreDb *db, Answer *answer) {
        int r;

        r = add_life(answer);
        if (r >= 0 && answer->failure && *answer->failure)
                r = answer_add(answer, "runtime", NULL, NULL, "%s", answer->failure);
        if (r >= 0 && !answer->call)
                r = add_facts(answer);
        if (r >= 0)
                r = add_oom_kills(answer);
        if (r >= 0)
                r = add_lives(db, answer);
        if (r >= 0)
                r = add_calls(db, answer);
        if (r >= 0)
                r = add_unknown(answer);
        if (r >= 0)
                r = add_pressure(db, answer);
        return MIN(r, 0);
}
