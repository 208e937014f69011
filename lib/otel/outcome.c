#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "grpcstatus.h"
#include "outcome.h"
#include "util.h"

#define STATUS_ERROR 2 /* OTLP's Status.StatusCode */

static bool begins(const char *s, const char *prefix) {
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool ends(const char *s, const char *suffix) {
        size_t n = strlen(s), n_suffix = strlen(suffix);

        return n >= n_suffix && strcmp(s + n - n_suffix, suffix) == 0;
}

static const char *short_method(const char *method) {
        const char *slash = strrchr(method, '/');

        return slash ? slash + 1 : method;
}

/* What it names may be gone by now, and then all is as the caller wants it, or as it was asked. */
static bool not_found_is_normal(const char *method) {
        static const char *const prefixes[] = { "Stop", "Remove", "List", "Get" };
        static const char *const suffixes[] = { "Status", "Stats", "Metrics", "Info" };

        for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
                if (begins(method, prefixes[i]))
                        return true;
        for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++)
                if (ends(method, suffixes[i]))
                        return true;
        return false;
}

bool outcome_call_failed(const char *method, int code, bool by_caller) {
        switch (code) {
        case GRPC_OK:
        case GRPC_UNIMPLEMENTED:
                return false;
        case GRPC_CANCELLED:
                return !by_caller;
        case GRPC_NOT_FOUND:
                return !not_found_is_normal(short_method(method));
        default:
                return code > 0;
        }
}

static void read_attribute(const Podspan__Otlp__KeyValue *pair, OutcomeFacts *facts, const char **message) {
        const Podspan__Otlp__AnyValue *value = pair->value;
        const char *key = pair->key;

        if (!value)
                return;
        switch (value->value_case) {
        case PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE: {
                const struct {
                        const char *key;
                        const char **to;
                } strings[] = {
                        { "rpc.response.status_code", &facts->code }, { "podspan.rpc.end", &facts->end },
                        { "podspan.rpc.message", message },           { "podspan.process.signal", &facts->signal },
                        { "podspan.sandbox.id", &facts->sandbox_id }, { "container.id", &facts->container_id },
                        { "error.type", &facts->error_type },
                };

                for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
                        if (*value->string_value && strcmp(key, strings[i].key) == 0)
                                *strings[i].to = value->string_value;
                break;
        }
        case PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE:
                if (strcmp(key, "process.exit.code") == 0) {
                        facts->exit_code = value->int_value;
                        facts->has_exit_code = value->int_value >= 0;
                } else if (strcmp(key, "rpc.grpc.status_code") == 0 && value->int_value >= 0 && !facts->code)
                        facts->code = grpc_status_name((int) MIN(value->int_value, _GRPC_STATUS_MAX));
                break;
        case PODSPAN__OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
                if (value->bool_value && strcmp(key, "podspan.oom_killed") == 0)
                        facts->oom_killed = true;
                break;
        default:
                break;
        }
}

void outcome_read(const Podspan__Otlp__Span *span, OutcomeFacts *ret) {
        OutcomeFacts facts = { .name = span->name ?: "" };
        const char *message = NULL;

        assert(ret);

        for (size_t i = 0; i < span->n_attributes; i++)
                read_attribute(span->attributes[i], &facts, &message);
        facts.status = span->status ? span->status->code : 0;
        if (span->status && span->status->message && *span->status->message)
                message = span->status->message;
        facts.message = message;
        *ret = facts;
}

static bool is_cri(const char *name) {
        return begins(name, "runtime.v1.") || begins(name, "runtime.v1alpha2.");
}

static int code_of(const OutcomeFacts *facts) {
        if (!facts->code)
                return -1;
        return (int) grpc_status_of(facts->code);
}

/* Who recorded nothing about the end saw an ordinary one, so that its CANCELLED is the caller's. */
static bool by_caller(const OutcomeFacts *facts) {
        return !facts->end || strcmp(facts->end, "reset_by_client") == 0 ||
               strcmp(facts->end, "connection_by_client") == 0;
}

static Outcome judge_call(const OutcomeFacts *facts) {
        int code = code_of(facts);

        if (code < 0)
                return facts->status == STATUS_ERROR ? OUTCOME_FAILED : facts->end ? OUTCOME_UNKNOWN : OUTCOME_OK;
        if (outcome_call_failed(facts->name, code, by_caller(facts)))
                return OUTCOME_FAILED;
        /* The call did what it was asked; what ExecSync executed has failed. */
        return code == GRPC_OK && facts->exit_code != 0 ? OUTCOME_EXITED : OUTCOME_OK;
}

/* The life of a container, or of a process executed in one; a runtime's `exec` ends with the code of what it executed.
 */
static bool is_life(const OutcomeFacts *facts) {
        if (!facts->container_id)
                return false;
        return strcmp(facts->name, "wait_for_exit_code") == 0 || strcmp(facts->name, "container") == 0 ||
               strcmp(facts->name, "death") == 0 || ends(facts->name, " exec");
}

static Outcome judge_life(const OutcomeFacts *facts) {
        bool exits = strcmp(facts->name, "container") != 0; /* the hook does not see how it ended */

        if (facts->oom_killed)
                return OUTCOME_FAILED;
        if (facts->signal || (facts->has_exit_code && facts->exit_code > 128 && facts->exit_code <= 128 + 64))
                return OUTCOME_KILLED;
        if (facts->has_exit_code)
                return facts->exit_code == 0 ? OUTCOME_OK : OUTCOME_EXITED;
        if (facts->status == STATUS_ERROR)
                return OUTCOME_FAILED;
        return exits ? OUTCOME_UNKNOWN : OUTCOME_OK;
}

static bool is_kill(const OutcomeFacts *facts) {
        return facts->container_id && ends(facts->name, " kill");
}

Outcome outcome_judge(const OutcomeFacts *facts) {
        assert(facts && facts->name);

        if (is_cri(facts->name))
                return judge_call(facts);
        if (is_life(facts))
                return judge_life(facts);
        /* A runtime's `kill` fails where the process is gone already, as NOT_FOUND of a stop call. */
        if (is_kill(facts))
                return OUTCOME_OK;
        return facts->status == STATUS_ERROR ? OUTCOME_FAILED : OUTCOME_OK;
}

OutcomeStop outcome_stop(const OutcomeFacts *facts, const char **ret_id) {
        static const struct {
                const char *method;
                bool sandbox;
        } methods[] = {
                { "StopContainer", false },
                { "RemoveContainer", false },
                { "StopPodSandbox", true },
                { "RemovePodSandbox", true },
        };

        *ret_id = NULL;
        if (is_cri(facts->name)) {
                for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
                        if (strcmp(short_method(facts->name), methods[i].method) == 0) {
                                *ret_id = methods[i].sandbox ? facts->sandbox_id : facts->container_id;
                                return OUTCOME_STOP_CALL;
                        }
                return OUTCOME_STOP_NONE;
        }
        if (!is_kill(facts))
                return OUTCOME_STOP_NONE;
        *ret_id = facts->container_id;
        return OUTCOME_STOP_KILL;
}

bool outcome_same_id(const char *stop_id, const char *id) {
        size_t n;

        if (!stop_id || !id)
                return false;
        n = strlen(stop_id);
        return strcmp(stop_id, id) == 0 || (n >= 12 && strlen(id) == 64 && strncmp(stop_id, id, n) == 0);
}

bool outcome_excused(Outcome outcome, OutcomeStop stop) {
        return (outcome == OUTCOME_EXITED && stop == OUTCOME_STOP_CALL) ||
               (outcome == OUTCOME_KILLED && stop != OUTCOME_STOP_NONE);
}

/* The next record of level error or worse at or behind @s of one line ending at @end, or any record with @any. */
static const char *find_record(const char *s, const char *end, bool any, const char **ret_msg) {
        static const char *const levels[] = { "level=error", "level=fatal", "level=panic" };
        const char *msg = memmem(s, (size_t) (end - s), "msg=", 4), *level, *time, *begin;
        bool wanted = any;

        if (!msg || (msg > s && msg[-1] != ' '))
                return NULL;
        level = memmem(s, (size_t) (msg - s), "level=", 6);
        for (size_t i = 0; level && i < ARRAY_SIZE(levels); i++)
                wanted |= begins(level, levels[i]);
        if (!wanted || !level)
                return NULL;

        time = memmem(s, (size_t) (msg - s), "time=", 5);
        begin = time && time < level ? time : level;
        *ret_msg = msg + 4;
        return begin;
}

/* A reason under construction: room for the character that is cut. */
typedef struct Text {
        char s[OUTCOME_WHY_MAX + 4];
        size_t n;
} Text;

static void add_char(Text *text, char c) {
        /* On one line; two blanks in a row say nothing. */
        if (c == '\n' || c == '\r' || c == '\t')
                c = ' ';
        if (c == ' ' && (text->n == 0 || text->s[text->n - 1] == ' '))
                return;
        if (text->n < sizeof(text->s))
                text->s[text->n++] = c;
}

static void add_range(Text *text, const char *s, const char *end) {
        for (; s < end; s++)
                add_char(text, *s);
}

static void add(Text *text, const char *s) {
        add_range(text, s, s + strlen(s));
}

static size_t finish(Text *text, char ret[static OUTCOME_WHY_MAX + 1]) {
        while (text->n > 0 && text->s[text->n - 1] == ' ')
                text->n--;
        util_copy_bounded(ret, OUTCOME_WHY_MAX + 1, text->s, text->n);
        return strlen(ret);
}

/* A logfmt value as Go's %q quotes it; escapes other than of a quote, a backslash and blanks stay as they are. */
static void add_value(Text *text, const char *s, const char *end) {
        if (s == end || *s != '"') {
                const char *blank = memchr(s, ' ', (size_t) (end - s));

                add_range(text, s, blank ?: end);
                return;
        }
        for (s++; s < end && *s != '"'; s++) {
                char c = *s;

                if (c == '\\' && s + 1 < end && strchr("\"\\nrt", s[1])) {
                        s++;
                        c = *s == '"' || *s == '\\' ? *s : ' ';
                }
                add_char(text, c);
        }
}

size_t outcome_words(const char *text, char ret[static OUTCOME_WHY_MAX + 1]) {
        const char *first = NULL, *msg = NULL, *msg_end = NULL;
        bool error = false;
        Text words = {};

        assert(text);

        for (const char *line = text; *line;) {
                const char *end = strchrnul(line, '\n'), *found, *begin;

                begin = find_record(line, end, /* any= */ true, &found);
                if (begin) {
                        bool is_error = find_record(line, end, /* any= */ false, &found) != NULL;

                        first = first ?: begin;
                        if (is_error || !error) {
                                msg = found;
                                msg_end = end;
                        }
                        error |= is_error;
                }
                line = *end ? end + 1 : end;
        }

        if (msg) {
                add_range(&words, text, first);
                add_value(&words, msg, msg_end);
        } else
                add(&words, text);
        return finish(&words, ret);
}

static void add_part(Text *text, const char *s) {
        if (text->n > 0)
                add(text, ": ");
        add(text, s);
}

size_t outcome_why(const OutcomeFacts *facts, Outcome outcome, char ret[static OUTCOME_WHY_MAX + 1]) {
        char words[OUTCOME_WHY_MAX + 1] = "", code[32];
        Text why = {};

        if (outcome == OUTCOME_UNKNOWN)
                add(&why, "how it ended is not known");
        if (outcome == OUTCOME_OK || outcome == OUTCOME_UNKNOWN)
                return finish(&why, ret);

        if (is_cri(facts->name) && outcome != OUTCOME_EXITED) {
                if (facts->code)
                        add(&why, facts->code);
        } else if (facts->oom_killed) {
                add(&why, "OOM killed");
                if (facts->signal) {
                        add(&why, " (");
                        add(&why, facts->signal);
                        add(&why, ")");
                }
        } else if (facts->signal)
                add(&why, facts->signal);
        else if (facts->has_exit_code || is_cri(facts->name)) {
                (void) snprintf(code, sizeof(code), "exit code %" PRId64, facts->exit_code);
                add(&why, code);
        }

        if (facts->message)
                (void) outcome_words(facts->message, words);
        if (*words)
                add_part(&why, words);
        if (why.n == 0 && facts->error_type)
                add(&why, facts->error_type);
        if (why.n == 0)
                add(&why, "the span does not say why");
        return finish(&why, ret);
}
