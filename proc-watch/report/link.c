#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "link.h"
#include "operations.h"
#include "resync.h"

#define MTIME_TICK_NS (10 * NSEC_PER_MSEC) /* a file system's clock goes by ticks */

static const char *const default_roots[] = {
        "/run/containerd", "/run/containers", "/var/run/containers", "/var/lib/containers", "/run/user",
};

int link_init(Link *link, Context *context, Counters *counters, uint32_t sampling_rate, uint64_t start_window_ns) {
        *link = (Link){
                .context = context,
                .counters = counters,
                .sampler = sampler_make(sampling_rate),
                .start_window_ns = start_window_ns,
                .entries = calloc(LINK_OWNERS_MAX, sizeof(LinkEntry)),
        };
        for (size_t i = 0; i < ARRAY_SIZE(default_roots); i++)
                link->roots[link->n_roots++] = default_roots[i];
        return link->entries ? 0 : -ENOMEM;
}

void link_deinit(Link *link) {
        for (size_t i = 0; link->entries && i < LINK_OWNERS_MAX; i++)
                owner_unref(link->entries[i].owner);
        free(link->entries);
        *link = (Link) LINK_NULL;
}

int link_add_root(Link *link, const char *root) {
        if (link->n_roots == LINK_ROOTS_MAX)
                return -E2BIG;
        link->roots[link->n_roots++] = root;
        return 0;
}

static const char *const start_container[] = { "StartContainer", NULL };
static const char *const start_any[] = { "StartContainer", "RunPodSandbox", NULL };
static const char *const update[] = { "UpdateContainerResources", NULL };
static const char *const checkpoint[] = { "CheckpointContainer", NULL };
static const char *const state[] = { "CreateContainer", "StartContainer", "RunPodSandbox", NULL };
static const char *const none[] = { NULL };

const char *const *link_operations(const Command *command, Manager manager, bool sandbox) {
        const char *verb = command->verb;

        if (command_traits[command->kind].only_call)
                return operations_sandbox();

        switch (command->kind) {
        case COMMAND_CNI:
                return strcmp(verb, "ADD") == 0 ? operations_sandbox() : operations_end(/* sandbox= */ true);
        case COMMAND_SHIM:
                if (strcmp(verb, "start") == 0)
                        return sandbox ? operations_sandbox() : start_any;
                return operations_end(sandbox);
        case COMMAND_RUNTIME:
        case COMMAND_MONITOR:
                break;
        default:
                return none;
        }

        if (strcmp(verb, "exec") == 0)
                return operations_exec();
        if (strcmp(verb, "state") == 0)
                return state;
        if (strcmp(verb, "update") == 0)
                return update;
        if (strcmp(verb, "checkpoint") == 0)
                return checkpoint;
        if (strcmp(verb, "delete") == 0 || strcmp(verb, "kill") == 0)
                return operations_end(sandbox);
        if (strcmp(verb, "start") == 0)
                return sandbox ? operations_sandbox() : start_container;
        return operations_create(manager, sandbox);
}

static LinkEntry *find_entry(const Link *link, const char *id, uint32_t uid) {
        uint64_t hash = util_hash(UTIL_HASH_INIT, id, strlen(id));

        for (size_t i = 0; i < LINK_OWNERS_MAX; i++) {
                LinkEntry *entry = &link->entries[i];

                if (entry->owner && entry->hash == hash && entry->uid == uid && strcmp(owner_id(entry->owner), id) == 0)
                        return entry;
        }
        return NULL;
}

static LinkEntry *remember(Link *link, Owner *owner, uint32_t uid) {
        const char *id = owner_id(owner);
        LinkEntry *entry = find_entry(link, id, uid);
        LinkEntry known = entry ? *entry : (LinkEntry){};

        if (!entry) {
                entry = link->entries;
                for (size_t i = 0; entry->owner && i < LINK_OWNERS_MAX; i++)
                        if (!link->entries[i].owner || link->entries[i].seq < entry->seq)
                                entry = &link->entries[i];
        }
        owner_ref(owner);
        owner_unref(entry->owner);
        *entry = (LinkEntry){
                .hash = util_hash(UTIL_HASH_INIT, id, strlen(id)),
                .seq = ++link->seq,
                .uid = uid,
                .owner = owner,
                .start = known.start,
                .start_ns = known.start_ns,
        };
        return entry;
}

/*
 * Opens config.json of the bundle at @path for reading, if it lies below a known root or an engine's, and is @uid's own
 * (0: anybody's). An fd or a negative errno.
 */
static int open_config(const Link *link, const char *path, uint32_t uid) {
        for (size_t i = 0; i < link->n_roots; i++) {
                size_t len = strlen(link->roots[i]);
                _cleanup_close_ int root = -EBADF;

                if (strncmp(path, link->roots[i], len) != 0 || path[len] != '/')
                        continue;
                root = open(link->roots[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
                return root < 0 ? -errno : opener_open_below(root, path + len + 1, uid);
        }
        return link->opener && uid == 0 ? opener_open(link->opener, path) : -EACCES;
}

static int read_bundle(const Link *link, const char *path, uint32_t uid, Bundle *ret) {
        _cleanup_(bundle_parser_freep) BundleParser *parser = NULL;
        _cleanup_close_ int fd = -EBADF;
        char buffer[16384];
        int r;

        fd = open_config(link, path, uid);
        if (fd < 0)
                return fd;

        parser = bundle_parser_new(ret);
        if (!parser)
                return -ENOMEM;
        for (;;) {
                ssize_t n = read(fd, buffer, sizeof(buffer));

                if (n < 0)
                        return -errno;
                r = bundle_parser_feed(parser, buffer, (size_t) n);
                if (r < 0 || n == 0)
                        return r;
        }
}

/* What a user runs need not be in reach; a bundle that is gone again was not needed for long. */
static void note_unreadable(Link *link, const Command *command, int error) {
        if (command->uid != 0 || error == -ENOENT)
                return;
        counters_add(link->counters, COUNTERS_WATCH, COUNTERS_WATCH_UNREADABLE, 1);
        (void) snprintf(link->unreadable.path, sizeof(link->unreadable.path), "%s", command->bundle);
        link->unreadable.error = error;
}

/* What CRI-O calls a monitor names the pod, too; of another engine's monitor the name is anybody's. */
static bool identify_by_name(const Command *command, Identity *identity) {
        bool sandbox = strcmp(command->container_name, "POD") == 0;

        if (command->kind != COMMAND_MONITOR || !command->of_crio || command->uid != 0 || !*command->id ||
            !*command->pod_uid)
                return false;
        (void) snprintf(identity->container_id, sizeof(identity->container_id), "%s", command->id);
        (void) snprintf(identity->pod_uid, sizeof(identity->pod_uid), "%s", command->pod_uid);
        (void) snprintf(identity->pod_name, sizeof(identity->pod_name), "%s", command->pod_name);
        (void) snprintf(identity->pod_namespace, sizeof(identity->pod_namespace), "%s", command->pod_namespace);
        if (sandbox)
                (void) snprintf(identity->sandbox_id, sizeof(identity->sandbox_id), "%s", command->id);
        else
                (void) snprintf(identity->container_name, sizeof(identity->container_name), "%s",
                                command->container_name);
        return true;
}

/* What is known of whose @command is, before any call is looked at. */
static int identify(Link *link, const Command *command, Identity *identity, Manager *manager, Bundle *bundle,
                    bool *has_bundle) {
        LinkEntry *entry;
        int r;

        *has_bundle = false;
        if (command->uid != 0 && command->kind == COMMAND_CNI)
                return -ENOENT;
        if (command->kind == COMMAND_CNI && *command->pod_uid) {
                (void) snprintf(identity->sandbox_id, sizeof(identity->sandbox_id), "%s", command->id);
                (void) snprintf(identity->container_id, sizeof(identity->container_id), "%s", command->id);
                (void) snprintf(identity->pod_uid, sizeof(identity->pod_uid), "%s", command->pod_uid);
                (void) snprintf(identity->pod_name, sizeof(identity->pod_name), "%s", command->pod_name);
                (void) snprintf(identity->pod_namespace, sizeof(identity->pod_namespace), "%s", command->pod_namespace);
                return 0;
        }

        if (*command->bundle && *command->id) {
                r = read_bundle(link, command->bundle, command->uid, bundle);
                if (r < 0) {
                        counters_add(link->counters, COUNTERS_WATCH, COUNTERS_INPUT_BAD, r == -EBADMSG);
                        note_unreadable(link, command, r);
                } else {
                        *has_bundle = true;
                        *manager = bundle_manager(bundle, command->bundle, command->id);
                        if (command->uid != 0 && *manager != MANAGER_PODMAN)
                                *manager = MANAGER_UNKNOWN;
                        bundle_identity(bundle, *manager, command->id, identity);
                        return 0;
                }
        }

        entry = *command->id ? find_entry(link, command->id, command->uid) : NULL;
        if (entry) {
                owner_identity(entry->owner, identity);
                *manager = owner_manager(entry->owner);
                return 0;
        }
        if (command->uid != 0)
                return -ENOENT;
        if (identify_by_name(command, identity)) {
                *manager = MANAGER_CRIO;
                return 0;
        }
        (void) snprintf(identity->container_id, sizeof(identity->container_id), "%s", command->id);
        return *command->id ? 0 : -ENOENT;
}

static bool is_sandbox(const Identity *identity) {
        return *identity->sandbox_id && strcmp(identity->sandbox_id, identity->container_id) == 0;
}

static void add_link(StoryOrigin *origin, const TraceContext *to, const char *why) {
        if (origin->n_links == SPAN_LINKS_MAX || memcmp(to->span_id, origin->parent.span_id, sizeof(to->span_id)) == 0)
                return;
        origin->links[origin->n_links] = *to;
        origin->why[origin->n_links++] = why;
}

/* A call's identity completes ours; what it calls the container it is about is not ours if we are another. */
static void complete(Identity *identity, const Identity *known) {
        bool sandbox = is_sandbox(identity);

        if (!sandbox && *known->container_id && *identity->container_id &&
            strcmp(known->container_id, identity->container_id) != 0)
                return;
        identity_merge(identity, known);
        if (sandbox)
                identity->container_name[0] = '\0';
}

int link_root(const Link *link, TraceContext *ret) {
        return sampler_new_root(&link->sampler, ret);
}

static void derive(Link *link, const Identity *identity, TraceContext *ret) {
        sampler_derive(&link->sampler, *identity->sandbox_id ? identity->sandbox_id : identity->container_id, ret);
        counters_add(link->counters, COUNTERS_WATCH, COUNTERS_WATCH_UNLINKED, 1);
}

/* It has a trace of its own. */
static bool is_probe(const Command *command) {
        return strcmp(command->verb, "exec") == 0;
}

/* It is no part of the start, and leads back to it. */
static bool leads_back(const Command *command) {
        return is_probe(command) || strcmp(command->verb, "delete") == 0 || strcmp(command->verb, "kill") == 0;
}

/* What has a trace of its own, or ends what another began, leads back to the start. */
static void link_start(Link *link, const Command *command, Identity *identity, StoryOrigin *origin) {
        ContextRecord start;

        if (!leads_back(command) || !*command->id ||
            context_get_start(link->context, command->id, identity, &start) < 0)
                return;
        complete(identity, &start.identity);
        add_link(origin, &start.trace, "start");
}

/*
 * Are the calls in flight, which have just been looked at, still those of @time_ns, when @command began? They are if
 * none has begun or ended since; and the one that has caused it is among them if it still runs.
 */
static bool is_current(const Link *link, const Command *command, uint64_t time_ns) {
        uint64_t changed_ns;

        if (command->pid == 0 || !resync_gone(command->pid, command->start_ns))
                return true;
        changed_ns = context_changed_ns(link->context);
        return changed_ns > 0 && changed_ns + MTIME_TICK_NS < time_ns;
}

/* The parent by the look-up rules. */
static int find_parent(Link *link, const Command *command, Manager manager, uint64_t time_ns, Identity *identity,
                       StoryOrigin *origin, ContextFound *ret_found) {
        bool sandbox = is_sandbox(identity), probe = is_probe(command);
        Identity asked = *identity;
        ContextQuery query = { &asked, link_operations(command, manager, sandbox), time_ns };
        ContextMatch match = {};
        int r;

        /* What a user runs, kubelet did not ask for. */
        if (command->uid != 0 || context_find(link->context, &query, &match) < 0)
                match.found = CONTEXT_FOUND_NONE;

        if (match.found == CONTEXT_FOUND_PARENT && probe && !is_current(link, command, time_ns)) {
                match.found = CONTEXT_FOUND_CANDIDATES;
                match.candidates[0] = match.record.trace;
                match.n_candidates = 1;
        }
        *ret_found = match.found;
        switch (match.found) {
        case CONTEXT_FOUND_PARENT:
                complete(identity, &match.record.identity);
                origin->parent = match.record.trace;
                link_start(link, command, identity, origin);
                return 0;
        case CONTEXT_FOUND_START:
                complete(identity, &match.record.identity);
                if (!probe && context_start_recent(&match.record, time_ns, link->start_window_ns)) {
                        origin->parent = match.record.trace;
                        return 0;
                }
                add_link(origin, &match.record.trace, "start");
                return link_root(link, &origin->parent);
        case CONTEXT_FOUND_CANDIDATES:
                if (probe) {
                        r = link_root(link, &origin->parent);
                        if (r < 0)
                                return r;
                } else {
                        derive(link, identity, &origin->parent);
                }
                link_start(link, command, identity, origin);
                for (size_t i = 0; i < match.n_candidates; i++)
                        add_link(origin, &match.candidates[i], "candidate");
                return 0;
        case CONTEXT_FOUND_NONE:
                break;
        }
        return 0;
}

typedef struct OnlyCall {
        ContextRecord record;
        size_t n;
} OnlyCall;

static int count_sandbox_call(const char *name, const ContextRecord *record, void *userdata) {
        OnlyCall *only = userdata;

        (void) name;
        if (strcmp(record->operation, "RunPodSandbox") == 0 && only->n++ == 0)
                only->record = *record;
        return 0;
}

/* pinns names no pod: it is known whose it is only while a single sandbox is being made. */
static int find_only_call(Link *link, const Command *command, uint64_t time_ns, StoryOrigin *ret) {
        OnlyCall only = {};
        int r;

        r = context_list(link->context, CONTEXT_LIVE, count_sandbox_call, &only);
        if (r < 0)
                return r;
        if (only.n != 1 || only.record.start_ns > time_ns || !is_current(link, command, time_ns))
                return -ENOENT;
        ret->owner = owner_new(&only.record.identity, MANAGER_CRIO, NULL);
        ret->parent = only.record.trace;
        ret->call = ret->parent;
        ret->live = true;
        return ret->owner ? 0 : -ENOMEM;
}

/* Does @identity name a pod where @owner does not? */
static bool learnt(const Owner *owner, const Identity *identity) {
        Identity known;

        owner_identity(owner, &known);
        return !*known.pod_uid && *identity->pod_uid;
}

int link_find(Link *link, const Command *command, uint64_t time_ns, StoryOrigin *ret) {
        Manager manager = MANAGER_UNKNOWN;
        _cleanup_free_ Bundle *bundle = NULL;
        StoryOrigin origin = {};
        Identity identity = {};
        ContextFound found;
        LinkEntry *entry;
        bool has_bundle;
        int r;

        assert(link);
        assert(command);
        assert(ret);

        if (command_traits[command->kind].only_call)
                return command->uid == 0 ? find_only_call(link, command, time_ns, ret) : -ENOENT;

        bundle = malloc(sizeof(*bundle));
        if (!bundle)
                return -ENOMEM;
        r = identify(link, command, &identity, &manager, bundle, &has_bundle);
        if (r < 0)
                return r;

        /* Asked also where the environment names the parent, for the identity. */
        r = find_parent(link, command, manager, time_ns, &identity, &origin, &found);
        if (r < 0)
                return r;

        if (command_is_poll(command) && found != CONTEXT_FOUND_PARENT)
                return -ENOENT; /* a question that no call waits for */

        entry = *command->id ? find_entry(link, command->id, command->uid) : NULL;
        if (found == CONTEXT_FOUND_NONE) {
                if (is_probe(command))
                        r = link_root(link, &origin.parent);
                else if (entry && entry->start_ns != 0 && time_ns - entry->start_ns <= link->start_window_ns)
                        origin.parent = entry->start; /* between the end of the call and its start file */
                else
                        derive(link, &identity, &origin.parent);
                if (r < 0)
                        return r;
        }
        origin.call = origin.parent;
        if (command->has_traceparent && command->uid == 0)
                origin.parent = command->traceparent;
        else if (command->has_traceparent)
                add_link(&origin, &command->traceparent, "environment"); /* as with what a pod's author writes */

        if (entry && !has_bundle && !learnt(entry->owner, &identity)) {
                origin.owner = owner_ref(entry->owner); /* it knows the hooks, too */
        } else {
                origin.owner = owner_new(&identity, manager, has_bundle ? bundle : NULL);
                if (!origin.owner)
                        return -ENOMEM;
                entry = remember(link, origin.owner, command->uid);
        }
        if (found == CONTEXT_FOUND_PARENT && entry->start_ns == 0 && !leads_back(command)) {
                entry->start = origin.parent;
                entry->start_ns = time_ns;
        }
        origin.live = found == CONTEXT_FOUND_PARENT;
        *ret = origin;
        return 0;
}
