#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "command.h"
#include "death.h"
#include "util.h"

/* Grace periods are seldom longer: if nobody has asked for the end for so long, nobody had. */
#define SEEN_NS (3600 * NSEC_PER_SEC)

#define POD_ID_LEN 64 /* podman's, in hexadecimal digits */

static void terminate(EventSignal *signal) {
        signal->comm[sizeof(signal->comm) - 1] = '\0';
        signal->group[sizeof(signal->group) - 1] = '\0';
        if (signal->sender >= _EVENT_SENDER_MAX)
                signal->sender = EVENT_SENDER_NONE;
}

int death_parse(const char *data, size_t size, EventDeath *ret) {
        assert(data || size == 0);
        assert(ret);

        if (size == 0) {
                *ret = (EventDeath){ .periods = -1, .throttled_periods = -1, .throttled_ns = -1 };
                for (size_t i = 0; i < _EVENT_MEMORY_MAX; i++)
                        ret->memory[i] = -1;
                return 0;
        }
        if (size != sizeof(*ret))
                return -EBADMSG;
        memcpy(ret, data, sizeof(*ret));
        terminate(&ret->fatal);
        terminate(&ret->core);
        terminate(&ret->asked);
        ret->parent_comm[sizeof(ret->parent_comm) - 1] = '\0';
        return 0;
}

int death_parse_victim(const char *data, size_t size, EventVictim *ret) {
        assert(data || size == 0);
        assert(ret);

        if (size != sizeof(*ret))
                return -EBADMSG;
        memcpy(ret, data, sizeof(*ret));
        ret->group[sizeof(ret->group) - 1] = '\0';
        return 0;
}

/* Does @group have @uid in its name? systemd has no dashes there. */
static bool has_uid(const char *group, const char *uid) {
        for (; *group; group++) {
                size_t i = 0;

                while (uid[i] && (group[i] == uid[i] || (group[i] == '_' && uid[i] == '-')))
                        i++;
                if (!uid[i])
                        return true;
        }
        return false;
}

static bool is_hex(const char *s, size_t len) {
        for (size_t i = 0; i < len; i++)
                if (!isxdigit((unsigned char) s[i]))
                        return false;
        return !s[len];
}

/* "podUID", "kubepods-burstable-podUID.slice", podman's "machine-libpod_pod_ID.slice" and "ID". */
static bool is_pods(const char *group, const char *uid) {
        if (*uid && has_uid(group, uid))
                return true;
        if (strstr(group, "-libpod_pod_"))
                return true;
        return *uid ? false
                    : strncmp(group, "pod", 3) == 0 || strstr(group, "-pod") ||
                               (strnlen(group, POD_ID_LEN + 1) == POD_ID_LEN && is_hex(group, POD_ID_LEN));
}

VerdictScope death_scope(const EventVictim *victim, const char *container_id, const char *pod_uid) {
        assert(victim);
        assert(container_id);
        assert(pod_uid);

        if (victim->limit_level == EVENT_LEVEL_NONE)
                return VERDICT_SCOPE_NODE;
        if (victim->limit_level < 0)
                return VERDICT_SCOPE_UNKNOWN;
        if (victim->limit_level <= victim->container_level || (*container_id && strstr(victim->group, container_id)))
                return VERDICT_SCOPE_CONTAINER;
        if (is_pods(victim->group, pod_uid))
                return VERDICT_SCOPE_POD;
        return victim->container_level < 0 ? VERDICT_SCOPE_UNKNOWN : VERDICT_SCOPE_GROUP;
}

static int64_t bytes_of(int64_t pages) {
        int64_t bytes;

        return pages > 0 && !__builtin_mul_overflow(pages, sysconf(_SC_PAGESIZE), &bytes) ? bytes : 0;
}

int death_note(DeathVictims **victims, const Event *event, const EventVictim *victim, VerdictScope scope) {
        DeathVictim *to;

        assert(victims);
        assert(event);
        assert(victim);

        if (!*victims)
                *victims = calloc(1, sizeof(**victims));
        if (!*victims)
                return -ENOMEM;
        if ((*victims)->n == DEATH_VICTIMS_MAX) {
                (*victims)->n_dropped++;
                return 0;
        }
        to = &(*victims)->items[(*victims)->n++];
        *to = (DeathVictim){
                .time_ns = event->time_ns,
                .start_ns = event->start_ns,
                .pid = event->pid,
                .scope = scope,
                .limit_bytes = victim->limit_pages <= INT64_MAX ? bytes_of((int64_t) victim->limit_pages) : 0,
                .rss_bytes = bytes_of(victim->rss_pages),
        };
        memcpy(to->program, event->comm, sizeof(to->program) - 1);
        return 0;
}

const DeathVictim *death_find(const DeathVictims *victims, const Event *event) {
        assert(event);

        for (size_t i = 0; victims && i < victims->n; i++)
                if (victims->items[i].pid == event->pid && victims->items[i].start_ns == event->start_ns)
                        return &victims->items[i];
        return NULL;
}

const EventSignal *death_cause(const EventDeath *death, int status) {
        assert(death);

        if (status < 0 || !WIFSIGNALED(status))
                return NULL;
        if (death->fatal.signal == WTERMSIG(status))
                return &death->fatal;
        return death->core.signal == WTERMSIG(status) ? &death->core : NULL;
}

bool death_orphaned(const EventDeath *death) {
        CommandKind kind;

        assert(death);

        kind = command_kind(death->parent_comm);
        return death->parent != 0 && kind != COMMAND_SHIM && kind != COMMAND_MONITOR && kind != COMMAND_RUNTIME &&
               kind != COMMAND_OURS;
}

static VerdictOrigin origin_of(const EventSignal *signal) {
        switch (signal->sender) {
        case EVENT_SENDER_SELF:
                return VERDICT_ORIGIN_SELF;
        case EVENT_SENDER_CONTAINER:
                return VERDICT_ORIGIN_CONTAINER;
        case EVENT_SENDER_HOST:
                return VERDICT_ORIGIN_HOST;
        case EVENT_SENDER_KERNEL:
                return VERDICT_ORIGIN_KERNEL;
        case EVENT_SENDER_PARENT:
                return VERDICT_ORIGIN_PARENT;
        case EVENT_SENDER_NAMESPACE:
                return VERDICT_ORIGIN_NAMESPACE;
        default:
                return VERDICT_ORIGIN_NONE;
        }
}

/* Has a runtime asked for this end by the signal @asked? A signal that is ignored makes no process exit by itself. */
static bool has_asked(const EventSignal *asked, const Event *event) {
        bool killed = WIFSIGNALED(event->status) && WTERMSIG(event->status) == SIGKILL;

        if (asked->signal == 0 || asked->sender != EVENT_SENDER_HOST || !verdict_is_runtime(asked->comm) ||
            asked->time_ns > event->time_ns || (asked->ignored && !killed))
                return false;
        return asked->signal == SIGTERM || event->time_ns - asked->time_ns <= DEATH_OTHER_STOP_NS;
}

static void set_signal(const EventSignal *cause, const char *sender_container, VerdictFacts *facts) {
        facts->origin = origin_of(cause);
        if (facts->origin == VERDICT_ORIGIN_NONE || facts->origin == VERDICT_ORIGIN_KERNEL)
                return;
        facts->kill_program = *cause->comm ? cause->comm : NULL;
        facts->kill_pid = cause->pid;
        facts->kill_uid = cause->uid;
        if (facts->origin == VERDICT_ORIGIN_CONTAINER)
                facts->kill_container = sender_container;
}

void death_facts(const EventDeath *death, const DeathVictim *victim, const Event *event, uint64_t wall_ns,
                 uint64_t seen_since_ns, const char *sender_container, VerdictFacts *ret) {
        VerdictFacts facts = VERDICT_FACTS_NONE;
        const EventSignal *cause;

        assert(death);
        assert(event);
        assert(ret);

        cause = death_cause(death, event->status);
        facts.ended_ns = wall_ns;
        facts.exact = true;
        if (event->status >= 0 && WIFSIGNALED(event->status)) {
                facts.signal = WTERMSIG(event->status);
                facts.exit_code = 128 + facts.signal;
        } else if (event->status >= 0) {
                facts.exit_code = WEXITSTATUS(event->status);
        }
        if (cause)
                set_signal(cause, sender_container, &facts);
        facts.ignored = death->ignored <= 64 ? (int) death->ignored : 0;

        /* A process that dies already can be chosen, too. */
        facts.oom_ended =
                event->flags & EVENT_OOM && facts.signal == SIGKILL && (!cause || cause->sender == EVENT_SENDER_KERNEL);
        if (facts.oom_ended && victim) {
                facts.oom_scope = victim->scope;
                facts.oom_limit_bytes = victim->limit_bytes;
                facts.oom_program = *victim->program ? victim->program : NULL;
                facts.oom_pid = victim->pid;
                facts.oom_rss_bytes = victim->rss_bytes;
        }

        if (death->flags & EVENT_DEATH_SIGNALS && (seen_since_ns == 0 || event->time_ns - seen_since_ns >= SEEN_NS))
                facts.stop = VERDICT_STOP_NONE;
        if (has_asked(&death->asked, event))
                verdict_add_stop(&facts, VERDICT_STOP_ENGINE, wall_ns - (event->time_ns - death->asked.time_ns), -1);

        facts.memory_low = death->memory[EVENT_MEMORY_LOW];
        facts.memory_high = death->memory[EVENT_MEMORY_HIGH];
        facts.memory_max = death->memory[EVENT_MEMORY_LIMIT];
        facts.memory_oom = death->memory[EVENT_MEMORY_OOM];
        facts.memory_oom_kill = death->memory[EVENT_MEMORY_KILL];
        facts.memory_oom_group_kill = death->memory[EVENT_MEMORY_GROUP_KILL];
        facts.periods = death->periods;
        facts.throttled_periods = death->throttled_periods;
        facts.throttled_ns = death->throttled_ns;
        *ret = facts;
}
