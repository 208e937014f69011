#include <assert.h>
#include <errno.h>
#include <string.h>
#include "calls.h"
#include "contextmatch.h"

static const char *const not_followed[] = { "ExecSync", "Exec", "PullImage", "RemoveImage", NULL };

bool calls_followed(const char *name) {
        const char *operation = name + strlen(CONTEXTMATCH_VERSION), *end;

        assert(name);

        if (!contextmatch_version_known(name))
                return false;
        end = strchr(operation, '-');
        return end && !contextmatch_operation_asked(not_followed, operation, (size_t) (end - operation));
}

static uint64_t hash(const char *name) {
        return util_hash(UTIL_HASH_INIT, name, strlen(name));
}

static bool is_live(const Call *call) {
        return call->time.end_ns == UINT64_MAX;
}

static void drop(Calls *calls, size_t i) {
        owner_unref(calls->items[i].owner);
        calls->items[i] = calls->items[--calls->n];
}

/* Those over when the oldest that is in flight began are nobody's neighbour any more. */
static void tidy(Calls *calls, const Clk *now) {
        uint64_t since = calls_since(calls, now);

        for (size_t i = 0; i < calls->n;)
                if (calls->items[i].time.end_ns < since)
                        drop(calls, i);
                else
                        i++;
}

static Call *find(Calls *calls, uint64_t name) {
        for (size_t i = 0; i < calls->n; i++)
                if (calls->items[i].name == name && is_live(&calls->items[i]))
                        return &calls->items[i];
        return NULL;
}

void calls_begin(Calls *calls, const char *name, bool young, const ContextRecord *record, uint64_t begin_ns,
                 const Clk *now) {
        Call call = { .name = hash(name), .young = young, .seen = true, .time = { begin_ns, UINT64_MAX } }, *known;

        assert(calls);
        assert(now);

        known = find(calls, call.name);
        if (known) {
                known->seen = true;
                known->young = known->young && young;
                return;
        }
        tidy(calls, now);
        if (calls->n == CALLS_MAX) {
                /* A young one is told of again and again, and when it goes nobody says so. */
                if (young)
                        calls->n_young_unknown++;
                else
                        calls->n_unknown++;
                return;
        }
        if (record) {
                call.owner = owner_new(&record->identity, MANAGER_UNKNOWN, NULL);
                call.context = record->trace;
        }
        calls->items[calls->n++] = call;
        calls->n_live++;
}

static bool all_known(const Calls *calls) {
        return calls->n_unknown == 0 && calls->n_young_unknown == 0;
}

static bool end(Calls *calls, Call *call, const Clk *now, StoryCall *ret, StoryInterval *others) {
        size_t n = 0;

        calls->n_live--;
        call->time.end_ns = now->monotonic_ns;
        if (!call->owner || !all_known(calls))
                return false;

        for (size_t i = 0; i < calls->n; i++)
                if (&calls->items[i] != call)
                        others[n++] = calls->items[i].time;
        *ret = (StoryCall){
                .owner = call->owner,
                .context = call->context,
                .clk = *now,
                .time = call->time,
                .others = others,
                .n_others = n,
        };
        return true;
}

bool calls_end(Calls *calls, const char *name, const Clk *now, StoryCall *ret, StoryInterval *others) {
        Call *call;

        assert(calls);
        assert(now);
        assert(ret);
        assert(others);

        tidy(calls, now);
        call = find(calls, hash(name));
        if (!call) {
                calls->n_unknown -= MIN(calls->n_unknown, 1U);
                return false;
        }
        return end(calls, call, now, ret, others);
}

void calls_look(Calls *calls) {
        assert(calls);

        calls->n_young_unknown = 0;
        for (size_t i = 0; i < calls->n; i++)
                calls->items[i].seen = false;
}

int calls_end_unseen(Calls *calls, const Clk *now, StoryCall *ret, StoryInterval *others) {
        assert(calls);
        assert(now);
        assert(ret);
        assert(others);

        tidy(calls, now);
        for (size_t i = 0; i < calls->n; i++)
                if (calls->items[i].young && !calls->items[i].seen && is_live(&calls->items[i]))
                        return end(calls, &calls->items[i], now, ret, others);
        return -ENOENT;
}

bool calls_single(const Calls *calls, const Clk *now) {
        if (calls->n_live != 1 || !all_known(calls))
                return false;
        for (size_t i = 0; i < calls->n; i++)
                if (is_live(&calls->items[i]))
                        return calls->items[i].owner &&
                               now->monotonic_ns < calls->items[i].time.begin_ns + CALLS_FOLLOW_NS;
        return false;
}

uint64_t calls_since(const Calls *calls, const Clk *now) {
        uint64_t since = now->monotonic_ns;

        for (size_t i = 0; i < calls->n; i++)
                if (is_live(&calls->items[i]))
                        since = MIN(since, calls->items[i].time.begin_ns);
        return since;
}

void calls_clear(Calls *calls) {
        while (calls->n > 0)
                drop(calls, 0);
        *calls = (Calls){};
}
