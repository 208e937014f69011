#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "work.h"

static const struct {
        const char *name, *attribute;
} kinds[_EVENT_WORK_MAX] = {
        [EVENT_WORK_CREATE] = { "create files", "podspan.files.create_ns" },
        [EVENT_WORK_RENAME] = { "rename", "podspan.files.rename_ns" },
        [EVENT_WORK_REMOVE] = { "remove files", "podspan.files.remove_ns" },
        [EVENT_WORK_SYNC] = { "fsync", "podspan.files.sync_ns" },
        [EVENT_WORK_MOUNT] = { "mount", "podspan.mount_ns" },
        [EVENT_WORK_UNMOUNT] = { "unmount", "podspan.unmount_ns" },
        [EVENT_WORK_CGROUP] = { "cgroup write", "podspan.cgroup_ns" },
        [EVENT_WORK_NAMESPACE] = { "join namespaces", "podspan.namespace_ns" },
        [EVENT_WORK_FORK] = { "fork", "podspan.fork_ns" },
        [EVENT_WORK_NETLINK] = { "netlink", "podspan.netlink_ns" },
        [EVENT_WAIT_CPU] = { "wait for a CPU", "podspan.cpu.wait_ns" },
        [EVENT_WAIT_PEER] = { "wait for a peer", "podspan.peer.wait_ns" },
        [EVENT_WAIT_KERNEL] = { "wait in the kernel", "podspan.kernel.wait_ns" },
        [EVENT_WORK_RUN] = { "computing", "podspan.cpu.run_ns" },
};

void work_add(WorkList *list, EventWork kind, uint64_t end_ns, uint64_t length_ns) {
        uint64_t begin_ns = end_ns - MIN(length_ns, end_ns),
                 gap_ns = kind == EVENT_WORK_RUN ? WORK_RUN_GAP_NS : WORK_GAP_NS;
        Work *last;

        assert(list);

        if (kind < EVENT_WORK_CREATE || kind >= _EVENT_WORK_MAX)
                return;
        last = list->n > 0 ? &list->items[list->n - 1] : NULL;
        if (last && last->kind == kind && begin_ns <= last->end_ns + gap_ns) {
                if (end_ns > last->end_ns) {
                        last->busy_ns += end_ns - MAX(begin_ns, last->end_ns);
                        last->end_ns = end_ns;
                }
                if (begin_ns < last->begin_ns) {
                        last->busy_ns += last->begin_ns - begin_ns;
                        last->begin_ns = begin_ns;
                }
                last->n++;
                return;
        }

        if (!list->items)
                list->items = calloc(WORK_MAX, sizeof(*list->items));
        if (!list->items || list->n == WORK_MAX)
                return;
        list->items[list->n++] = (Work){
                .begin_ns = begin_ns,
                .end_ns = end_ns,
                .busy_ns = end_ns - begin_ns,
                .n = 1,
                .kind = kind,
        };
}

void work_forget(WorkList *list, uint64_t time_ns) {
        size_t n = 0;

        for (size_t i = 0; i < list->n; i++)
                if (list->items[i].end_ns > time_ns)
                        list->items[n++] = list->items[i];
        list->n = n;
        if (n == 0)
                work_free(list);
}

void work_free(WorkList *list) {
        free(list->items);
        *list = (WorkList){};
}

uint64_t work_within(const WorkList *list, EventWork kind, uint64_t begin_ns, uint64_t end_ns) {
        uint64_t sum = 0, until = begin_ns;

        for (size_t i = 0; i < list->n; i++) {
                const Work *work = &list->items[i];
                uint64_t from = MAX(work->begin_ns, until), to = MIN(work->end_ns, end_ns);

                if (work->kind != kind || from >= to)
                        continue;
                sum += MIN(to - from, work->busy_ns);
                until = to;
        }
        return sum;
}

bool work_is_span(const Work *work) {
        if (work->kind == EVENT_WAIT_CPU)
                return work->busy_ns >= WORK_WAIT_NS;
        return work->kind < EVENT_WAIT_CPU && work->busy_ns >= WORK_TELL_NS;
}

size_t work_rest(const Work *work, const Work *told, size_t n_told, Work *rest) {
        uint64_t from = work->begin_ns;
        size_t n = 0;

        assert(work);
        assert(told || n_told == 0);
        assert(rest);

        for (size_t i = 0; i <= n_told && from < work->end_ns; i++) {
                uint64_t until = i < n_told ? MIN(told[i].begin_ns, work->end_ns) : work->end_ns;

                if (until > from && until - from >= WORK_TELL_NS)
                        rest[n++] = (Work){
                                .begin_ns = from,
                                .end_ns = until,
                                .busy_ns = MIN(until - from, work->busy_ns),
                                .kind = work->kind,
                        };
                if (i < n_told)
                        from = MAX(from, told[i].end_ns);
        }
        return n;
}

/* By insertion: they come nearly in order, and qsort(3) asks the system how much memory it may take. */
void work_sort(Work *works, size_t n) {
        for (size_t i = 1; i < n; i++) {
                Work work = works[i];
                size_t at = i;

                for (; at > 0 && works[at - 1].begin_ns > work.begin_ns; at--)
                        works[at] = works[at - 1];
                works[at] = work;
        }
}

static bool is_files(const Work *work) {
        return work->kind >= EVENT_WORK_CREATE && work->kind <= EVENT_WORK_SYNC;
}

size_t work_burst(const Work *works, size_t n, Work *ret) {
        Work sum;
        size_t i;

        assert(n > 0);

        sum = works[0];
        for (i = 1; i < n && is_files(&sum) && is_files(&works[i]) && works[i].begin_ns <= sum.end_ns + WORK_BURST_NS;
             i++) {
                sum.end_ns = MAX(sum.end_ns, works[i].end_ns);
                sum.busy_ns += works[i].busy_ns;
                sum.n += works[i].n;
        }
        *ret = sum;
        return i;
}

const char *work_name(EventWork kind) {
        return kind > 0 && kind < _EVENT_WORK_MAX ? kinds[kind].name : NULL;
}

const char *work_attribute(EventWork kind) {
        return kind > 0 && kind < _EVENT_WORK_MAX ? kinds[kind].attribute : NULL;
}
