#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "podowner.h"
#include "state.h"

static void copy(char *to, size_t size, const char *from) {
        util_copy_bounded(to, size, from, strlen(from));
}

#define COPY(to, from) copy(to, sizeof(to), from)

/* The owner of the id, or of the pod's UID where there is no id. Returns its place, or a negative errno. */
static int owner_for(Owners *owners, const char *id, const char *uid) {
        for (size_t i = 0; i < owners->n; i++)
                if (*id ? strcmp(owners->owners[i].id, id) == 0
                        : !*owners->owners[i].id && strcmp(owners->owners[i].identity.pod_uid, uid) == 0)
                        return (int) i;
        if (owners->n == PODOWNER_MAX)
                return -E2BIG;
        if (owners->n == owners->n_allocated) {
                size_t n = owners->n_allocated == 0 ? 64 : 2 * owners->n_allocated;
                Owner *more = reallocarray(owners->owners, n, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                owners->owners = more;
                owners->n_allocated = n;
        }
        owners->owners[owners->n] = (Owner){};
        COPY(owners->owners[owners->n].id, id);
        COPY(owners->owners[owners->n].identity.pod_uid, uid);
        return (int) owners->n++;
}

/* What CNI_ARGS or a monitor's name say. */
static void take_words(Owner *owner, const Podof *podof) {
        Identity *identity = &owner->identity;

        if (!*identity->pod_uid)
                COPY(identity->pod_uid, podof->pod_uid);
        if (!*identity->pod_name) {
                COPY(identity->pod_name, podof->pod_name);
                COPY(identity->pod_namespace, podof->pod_namespace);
        }
        if (*podof->cni || strcmp(podof->container_name, "POD") == 0)
                owner->is_sandbox = true;
        else if (!*identity->container_name)
                COPY(identity->container_name, podof->container_name);
        owner->named = owner->named || *identity->pod_name;
        if (*podof->bundle == '/' && !*owner->bundle)
                COPY(owner->bundle, podof->bundle);
}

/* The folder that a serving shim runs in is the bundle of its first container. */
static void take_folder(Owner *owner, const Proc *proc) {
        char path[48], folder[PODOF_BUNDLE_MAX + 1];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/%d/cwd", (int) proc->stat.pid);
        n = readlink(path, folder, sizeof(folder) - 1);
        if (n <= 0 || *owner->bundle)
                return;
        folder[n] = '\0';
        COPY(owner->bundle, folder);
}

static bool is_work(const Proc *proc) {
        if (!proc->trusted)
                return false;
        switch (proc->kind) {
        case PODOF_SHIM:
        case PODOF_MONITOR:
        case PODOF_RUNTIME:
                return true;
        case PODOF_OTHER:
                return proc->below_runtime || (proc->podof && (*proc->podof->cni || proc->podof->is_volume));
        case PODOF_ENGINE:
        case PODOF_KUBELET:
        case _PODOF_KIND_MAX:
                break;
        }
        return false;
}

/* Gives @proc its owner, after its parents. Returns 0 or -ENOMEM. */
static int assign(Owners *owners, const Procs *procs, size_t at, bool *done, unsigned depth) {
        const Proc *proc = &procs->procs[at];
        const Podof *podof = proc->podof;
        int r = -1;

        if (done[at])
                return 0;
        done[at] = true;
        if (proc->parent >= 0 && depth < PROCSCAN_DEPTH) {
                r = assign(owners, procs, (size_t) proc->parent, done, depth + 1);
                if (r < 0)
                        return r;
                r = -1;
        }
        owners->working[at] = is_work(proc);
        if (podof && (*podof->id || *podof->pod_uid)) {
                r = owner_for(owners, podof->id, podof->pod_uid);
                if (r >= 0) {
                        take_words(&owners->owners[r], podof);
                        if (proc->kind == PODOF_SHIM)
                                take_folder(&owners->owners[r], proc);
                }
        } else if (*proc->cgroup.container_id && (!proc->trusted || proc->below_runtime) &&
                   (proc->parent < 0 || !proc->below_runtime || owners->of[proc->parent] < 0))
                r = owner_for(owners, proc->cgroup.container_id, proc->cgroup.pod_uid);
        else if (proc->parent >= 0 && owners->working[proc->parent] && proc->trusted) {
                /* What a plugin, a hook or a runtime starts works for the same. */
                r = owners->of[proc->parent];
                owners->working[at] = true;
        }
        if (r < 0 && *proc->cgroup.pod_uid)
                r = owner_for(owners, "", proc->cgroup.pod_uid);
        if (r >= 0 && *proc->cgroup.pod_uid && !*owners->owners[r].identity.pod_uid)
                COPY(owners->owners[r].identity.pod_uid, proc->cgroup.pod_uid);
        owners->of[at] = r >= 0 ? r : -1;
        return r == -ENOMEM ? r : 0;
}

/* What podspan-cri wrote at the start. */
static void take_context(const Context *context, Owner *owner) {
        ContextRecord record;

        if (!context || !*owner->id || context_get(context, CONTEXT_START, owner->id, &record) < 0)
                return;
        if (*record.identity.pod_uid && *owner->identity.pod_uid &&
            strcmp(record.identity.pod_uid, owner->identity.pod_uid) != 0)
                return;
        owner->is_sandbox = strcmp(record.identity.sandbox_id, owner->id) == 0;
        owner->identity = record.identity;
        owner->named = *record.identity.pod_name;
}

typedef struct Bundle {
        int owner;
        char id[IDENTITY_ID_MAX + 1];
        char path[PODOF_BUNDLE_MAX + 1];
} Bundle;

typedef struct Bundles {
        Bundle *bundles;
        size_t n;
} Bundles;

/* What the child says of one bundle. */
typedef struct Said {
        bool known;
        bool is_sandbox;
        Identity identity;
} Said;

static void read_bundle(const Bundle *bundle, Said *ret) {
        _cleanup_close_ int dir_fd = open(bundle->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(state_parser_freep) StateParser *parser = NULL;
        _cleanup_free_ char *text = NULL;
        Manager manager;
        State state;
        size_t n;

        if (dir_fd < 0 || util_read_file_at(dir_fd, "config.json", STATE_SIZE_MAX, &text, &n) < 0)
                return;
        parser = state_parser_new_config(&state, bundle->id, bundle->path, NULL);
        if (!parser || state_parser_feed(parser, (const uint8_t *) text, n) != 1)
                return;
        manager = state_manager(&state);
        state_identity(&state, manager, &ret->identity, &ret->is_sandbox);
        ret->known = manager == MANAGER_CONTAINERD || manager == MANAGER_CRIO;
}

static void read_bundles(int out, void *userdata) {
        const Bundles *bundles = userdata;

        for (size_t i = 0; i < bundles->n; i++) {
                Said said = {};

                read_bundle(&bundles->bundles[i], &said);
                if (util_write_all(out, &said, sizeof(said)) < 0)
                        return;
        }
}

/* containerd keeps the bundles of all containers beside each other: of one only known by its cgroup, beside the pod's.
 */
static void guess_bundles(Owners *owners) {
        for (size_t i = 0; i < owners->n; i++) {
                Owner *owner = &owners->owners[i];

                if (owner->named || *owner->bundle || strlen(owner->id) != 64 || !*owner->identity.pod_uid)
                        continue;
                for (size_t k = 0; k < owners->n; k++) {
                        const Owner *other = &owners->owners[k];
                        const char *slash = strrchr(other->bundle, '/');

                        if (k == i || !slash || strcmp(slash + 1, other->id) != 0 ||
                            strcmp(other->identity.pod_uid, owner->identity.pod_uid) != 0)
                                continue;
                        (void) snprintf(owner->bundle, sizeof(owner->bundle), "%.*s/%.64s",
                                        (int) MIN((size_t) (slash - other->bundle), (size_t) 900), other->bundle,
                                        owner->id);
                        break;
                }
        }
}

static int ask_bundles(Owners *owners, Asides *asides) {
        _cleanup_free_ Bundle *all = calloc(owners->n + 1, sizeof(*all));
        size_t n = 0;

        if (!all)
                return -ENOMEM;
        for (size_t i = 0; i < owners->n; i++) {
                const Owner *owner = &owners->owners[i];

                if (owner->named || !*owner->bundle || !*owner->id)
                        continue;
                all[n].owner = (int) i;
                COPY(all[n].id, owner->id);
                COPY(all[n++].path, owner->bundle);
        }
        for (size_t i = 0; i < n;) {
                Bundles bundles = { all + i, n - i };
                Aside aside = ASIDE_NULL;
                int r = aside_start(asides, read_bundles, &bundles, &aside);

                while (r == 0 && i < n) {
                        Owner *owner = &owners->owners[all[i].owner];
                        Said said;

                        r = aside_read(&aside, &said, sizeof(said));
                        i++;
                        if (r < 0 || !said.known)
                                continue;
                        identity_merge(&owner->identity, &said.identity);
                        owner->is_sandbox = owner->is_sandbox || said.is_sandbox;
                        owner->named = *owner->identity.pod_name;
                }
                aside_end(&aside);
                if (r == -EBUSY)
                        break;
        }
        return 0;
}

/* What one of a pod's owners knows of the pod, all know. */
static void share(Owners *owners) {
        for (size_t i = 0; i < owners->n; i++) {
                Owner *owner = &owners->owners[i];

                if (*owner->id) {
                        if (owner->is_sandbox)
                                COPY(owner->identity.sandbox_id, owner->id);
                        else if (!*owner->identity.container_id && strcmp(owner->identity.sandbox_id, owner->id) != 0)
                                COPY(owner->identity.container_id, owner->id);
                }
                if (owner->named)
                        continue;
                for (size_t k = 0; k < owners->n; k++) {
                        const Owner *other = &owners->owners[k];

                        if (!other->named ||
                            (strcmp(other->identity.sandbox_id, owner->identity.sandbox_id) != 0 &&
                             strcmp(other->identity.pod_uid, owner->identity.pod_uid) != 0) ||
                            !podowner_same_pod(&owner->identity, &other->identity))
                                continue;
                        COPY(owner->identity.pod_name, other->identity.pod_name);
                        COPY(owner->identity.pod_namespace, other->identity.pod_namespace);
                        COPY(owner->identity.pod_uid, other->identity.pod_uid);
                        break;
                }
        }
}

int podowner_find(const Procs *procs, Asides *asides, const Context *context, Owners *ret) {
        _cleanup_free_ bool *done = calloc(procs->n + 1, sizeof(*done));
        Owners owners = { .of = calloc(procs->n + 1, sizeof(int)), .working = calloc(procs->n + 1, sizeof(bool)) };
        int r = done && owners.of && owners.working ? 0 : -ENOMEM;

        for (size_t i = 0; r == 0 && i < procs->n; i++)
                r = assign(&owners, procs, i, done, 0);
        for (size_t i = 0; r == 0 && i < owners.n; i++)
                take_context(context, &owners.owners[i]);
        if (r == 0) {
                guess_bundles(&owners);
                r = ask_bundles(&owners, asides);
        }
        if (r < 0) {
                podowner_deinit(&owners);
                return r;
        }
        share(&owners);
        *ret = owners;
        return 0;
}

void podowner_deinit(Owners *owners) {
        free(owners->owners);
        free(owners->of);
        free(owners->working);
        *owners = (Owners) OWNERS_NULL;
}

const Owner *podowner_of(const Owners *owners, const Procs *procs, const Proc *proc) {
        int at = owners->of[proc - procs->procs];

        return at < 0 ? NULL : &owners->owners[at];
}

/* Are both known? Then they must be the same. */
static bool differ(const char *a, const char *b) {
        return *a && *b && strcmp(a, b) != 0;
}

static bool equal(const char *a, const char *b) {
        return *a && strcmp(a, b) == 0;
}

bool podowner_same_pod(const Identity *a, const Identity *b) {
        if (differ(a->pod_uid, b->pod_uid) || differ(a->sandbox_id, b->sandbox_id) ||
            (differ(a->pod_name, b->pod_name)) || differ(a->pod_namespace, b->pod_namespace))
                return false;
        return equal(a->pod_uid, b->pod_uid) || equal(a->sandbox_id, b->sandbox_id) ||
               equal(a->container_id, b->container_id) ||
               (equal(a->pod_name, b->pod_name) && equal(a->pod_namespace, b->pod_namespace));
}

bool podowner_concerns(const Identity *call, const Owner *owner) {
        const Identity *identity = &owner->identity;

        if (!podowner_same_pod(call, identity))
                return false;
        /* A call of one container does not concern another; the sandbox's own processes may work for it. */
        return owner->is_sandbox || (!differ(call->container_id, identity->container_id) &&
                                     !differ(call->container_name, identity->container_name));
}
