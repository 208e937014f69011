#include <stdlib.h>
#include <string.h>
#include "podmap.h"

#define BUCKETS 1024 /* 8 a bucket when full */

struct Podmap {
        PodmapEntry *by_id[BUCKETS];
        PodmapEntry *by_uid[BUCKETS];
        PodmapEntry *newest, *oldest;
        size_t n;
};

static uint64_t hash_string(const char *s) {
        return util_hash(UTIL_HASH_INIT, s, strlen(s));
}

Podmap *podmap_new(void) {
        return calloc(1, sizeof(Podmap));
}

Podmap *podmap_free(Podmap *map) {
        PodmapEntry *next;

        if (!map)
                return NULL;
        for (PodmapEntry *e = map->newest; e; e = next) {
                next = e->older;
                free(e);
        }
        free(map);
        return NULL;
}

size_t podmap_size(const Podmap *map) {
        return map ? map->n : 0;
}

const char *podmap_string(const PodmapEntry *entry, PodmapString string) {
        return entry->off[string] ? entry->data + entry->off[string] - 1 : NULL;
}

static void lru_remove(Podmap *map, PodmapEntry *e) {
        *(e->newer ? &e->newer->older : &map->newest) = e->older;
        *(e->older ? &e->older->newer : &map->oldest) = e->newer;
        e->newer = e->older = NULL;
}

static void lru_insert(Podmap *map, PodmapEntry *e) {
        e->newer = NULL;
        e->older = map->newest;
        *(map->newest ? &map->newest->newer : &map->oldest) = e;
        map->newest = e;
}

static void link_entry(Podmap *map, PodmapEntry *e) {
        PodmapEntry **bucket = &map->by_id[e->hash % BUCKETS];

        e->next = *bucket;
        *bucket = e;
        if (podmap_string(e, PODMAP_UID)) {
                bucket = &map->by_uid[e->uid_hash % BUCKETS];
                e->uid_next = *bucket;
                *bucket = e;
        }
        lru_insert(map, e);
        map->n++;
}

static void unlink_entry(Podmap *map, PodmapEntry *e) {
        PodmapEntry **p;

        for (p = &map->by_id[e->hash % BUCKETS]; *p != e; p = &(*p)->next)
                ;
        *p = e->next;
        if (podmap_string(e, PODMAP_UID)) {
                for (p = &map->by_uid[e->uid_hash % BUCKETS]; *p != e; p = &(*p)->uid_next)
                        ;
                *p = e->uid_next;
        }
        lru_remove(map, e);
        map->n--;
}

static PodmapEntry *find(Podmap *map, const char *id) {
        uint64_t hash = hash_string(id);

        for (PodmapEntry *e = map->by_id[hash % BUCKETS]; e; e = e->next)
                if (e->hash == hash && strcmp(podmap_string(e, PODMAP_ID), id) == 0)
                        return e;
        return NULL;
}

PodmapEntry *podmap_find(Podmap *map, const char *id) {
        PodmapEntry *e;

        if (!map || !id || !*id)
                return NULL;
        e = find(map, id);
        if (e && e != map->newest) {
                lru_remove(map, e);
                lru_insert(map, e);
        }
        return e;
}

PodmapEntry *podmap_find_pod(Podmap *map, const char *uid) {
        PodmapEntry *best = NULL;
        uint64_t hash;

        if (!map || !uid || !*uid)
                return NULL;
        hash = hash_string(uid);
        for (PodmapEntry *e = map->by_uid[hash % BUCKETS]; e; e = e->uid_next)
                if (e->uid_hash == hash && strcmp(podmap_string(e, PODMAP_UID), uid) == 0 &&
                    (!best || e->attempt > best->attempt))
                        best = e;
        return best;
}

PodmapEntry *podmap_sandbox(Podmap *map, PodmapEntry *entry) {
        if (!entry->is_container)
                return entry;
        if (!map || entry->sandbox_hash == 0)
                return NULL;
        for (PodmapEntry *e = map->by_id[entry->sandbox_hash % BUCKETS]; e; e = e->next)
                if (e->hash == entry->sandbox_hash && !e->is_container)
                        return e;
        return NULL;
}

/* An entry with these strings and nothing else. */
static PodmapEntry *make(const char *const strings[static _PODMAP_STRING_MAX]) {
        size_t n[_PODMAP_STRING_MAX] = {}, size = 0, at = 0;
        PodmapEntry *e;

        for (unsigned i = 0; i < _PODMAP_STRING_MAX; i++)
                if (strings[i]) {
                        n[i] = strlen(strings[i]) + 1;
                        size += n[i];
                }
        /* Each is at most CRIMSG_VALUE_MAX, so that offsets fit. */
        if (size >= UINT16_MAX)
                return NULL;

        e = malloc(sizeof(*e) + size);
        if (!e)
                return NULL;
        *e = (PodmapEntry){};
        for (unsigned i = 0; i < _PODMAP_STRING_MAX; i++)
                if (strings[i]) {
                        memcpy(e->data + at, strings[i], n[i]);
                        e->off[i] = (uint16_t) (at + 1);
                        at += n[i];
                }
        e->hash = hash_string(strings[PODMAP_ID]);
        if (strings[PODMAP_UID])
                e->uid_hash = hash_string(strings[PODMAP_UID]);
        return e;
}

static PodmapEntry *put(Podmap *map, const char *strings[static _PODMAP_STRING_MAX], bool is_container) {
        PodmapEntry *old, *e;
        bool same = true;

        if (!map || !strings[PODMAP_ID] || !strings[PODMAP_ID][0])
                return NULL;

        old = find(map, strings[PODMAP_ID]);
        for (unsigned i = 0; old && i < _PODMAP_STRING_MAX; i++) {
                const char *s = podmap_string(old, i);

                if (!strings[i])
                        strings[i] = s;
                else if (!s || strcmp(s, strings[i]) != 0)
                        same = false;
        }
        if (old && same) {
                old->is_container = is_container;
                if (old != map->newest) {
                        lru_remove(map, old);
                        lru_insert(map, old);
                }
                return old;
        }

        e = make(strings);
        if (!e)
                return NULL;
        e->is_container = is_container;
        if (old) {
                e->sandbox_hash = old->sandbox_hash;
                e->start_ns = old->start_ns;
                e->call_ns = old->call_ns;
                e->start = old->start;
                e->attempt = old->attempt;
                e->attempt_known = old->attempt_known;
                e->has_start = old->has_start;
                e->start_called = old->start_called;
                e->started = old->started;
                unlink_entry(map, old);
                free(old);
        } else if (map->n >= PODMAP_ENTRIES_MAX) {
                PodmapEntry *oldest = map->oldest;

                unlink_entry(map, oldest);
                free(oldest);
        }
        link_entry(map, e);
        return e;
}

PodmapEntry *podmap_put_sandbox(Podmap *map, const CriFields *fields) {
        const char *strings[_PODMAP_STRING_MAX] = {
                [PODMAP_ID] = fields->s[CRI_SANDBOX_ID],
                [PODMAP_NAME] = fields->s[CRI_POD_NAME],
                [PODMAP_UID] = fields->s[CRI_POD_UID],
                [PODMAP_NAMESPACE] = fields->s[CRI_POD_NAMESPACE],
                [PODMAP_HANDLER] = fields->s[CRI_RUNTIME_HANDLER],
        };
        PodmapEntry *e;

        e = put(map, strings, false);
        if (e && fields->sandbox_metadata) {
                e->attempt = fields->sandbox_attempt;
                e->attempt_known = true;
        }
        return e;
}

PodmapEntry *podmap_put_container(Podmap *map, const CriFields *fields) {
        const char *strings[_PODMAP_STRING_MAX] = {
                [PODMAP_ID] = fields->s[CRI_CONTAINER_ID],
                [PODMAP_NAME] = fields->s[CRI_CONTAINER_NAME],
                [PODMAP_IMAGE] = fields->s[CRI_IMAGE_USER] ? fields->s[CRI_IMAGE_USER] : fields->s[CRI_IMAGE],
        };
        PodmapEntry *e;

        e = put(map, strings, true);
        if (!e)
                return NULL;
        if (fields->container_metadata) {
                e->attempt = fields->container_attempt;
                e->attempt_known = true;
        }
        if (fields->s[CRI_SANDBOX_ID])
                e->sandbox_hash = hash_string(fields->s[CRI_SANDBOX_ID]);
        return e;
}

static void fill(char *to, size_t size, const PodmapEntry *e, PodmapString string) {
        const char *s = podmap_string(e, string);

        if (!to[0] && s)
                util_copy_bounded(to, size, s, strlen(s));
}

void podmap_identity(Podmap *map, PodmapEntry *entry, Identity *identity) {
        PodmapEntry *sandbox;

        if (entry->is_container) {
                fill(identity->container_id, sizeof(identity->container_id), entry, PODMAP_ID);
                fill(identity->container_name, sizeof(identity->container_name), entry, PODMAP_NAME);
                fill(identity->image, sizeof(identity->image), entry, PODMAP_IMAGE);
                if (!identity->container_attempt_known && entry->attempt_known) {
                        identity->container_attempt = entry->attempt;
                        identity->container_attempt_known = true;
                }
        }

        sandbox = podmap_sandbox(map, entry);
        if (!sandbox)
                return;
        fill(identity->sandbox_id, sizeof(identity->sandbox_id), sandbox, PODMAP_ID);
        fill(identity->pod_name, sizeof(identity->pod_name), sandbox, PODMAP_NAME);
        fill(identity->pod_uid, sizeof(identity->pod_uid), sandbox, PODMAP_UID);
        fill(identity->pod_namespace, sizeof(identity->pod_namespace), sandbox, PODMAP_NAMESPACE);
        fill(identity->runtime_handler, sizeof(identity->runtime_handler), sandbox, PODMAP_HANDLER);
        if (!identity->sandbox_attempt_known && sandbox->attempt_known) {
                identity->sandbox_attempt = sandbox->attempt;
                identity->sandbox_attempt_known = true;
        }
}

void podmap_remove(Podmap *map, const char *id) {
        PodmapEntry *e;

        if (!map || !id)
                return;
        e = find(map, id);
        if (e) {
                unlink_entry(map, e);
                free(e);
        }
}

void podmap_remove_sandbox(Podmap *map, const char *id, void (*fn)(const char *id, void *userdata), void *userdata) {
        uint64_t hash;
        PodmapEntry *next;

        if (!map || !id)
                return;
        hash = hash_string(id);
        for (PodmapEntry *e = map->newest; e; e = next) {
                next = e->older;
                if (e->is_container && e->sandbox_hash == hash) {
                        if (fn)
                                fn(podmap_string(e, PODMAP_ID), userdata);
                        unlink_entry(map, e);
                        free(e);
                }
        }
        if (fn)
                fn(id, userdata);
        podmap_remove(map, id);
}

void podmap_pack(const Podmap *map, Pack *pack) {
        pack_number(pack, podmap_size(map));
        for (const PodmapEntry *e = map ? map->oldest : NULL; e; e = e->newer) {
                for (unsigned i = 0; i < _PODMAP_STRING_MAX; i++)
                        pack_string(pack, podmap_string(e, i));
                pack_number(pack, e->sandbox_hash);
                pack_number(pack, e->start_ns);
                pack_number(pack, e->call_ns);
                pack_fixed(pack, &e->start, sizeof(e->start));
                pack_number(pack, e->attempt);
                pack_number(pack, e->is_container);
                pack_number(pack, e->attempt_known);
                pack_number(pack, e->has_start);
                pack_number(pack, e->start_called);
                pack_number(pack, e->started);
        }
}

static int unpack_entry(Podmap *map, char *const strings[static _PODMAP_STRING_MAX], Unpack *unpack) {
        PodmapEntry *e;

        if (unpack->failed || !strings[PODMAP_ID] || !strings[PODMAP_ID][0] || find(map, strings[PODMAP_ID]))
                return unpack->failed ? unpack_result(unpack) : unpack_fail(unpack);
        e = make((const char *const *) strings);
        if (!e)
                return -ENOMEM;
        e->sandbox_hash = unpack_number(unpack, UINT64_MAX);
        e->start_ns = unpack_number(unpack, UINT64_MAX);
        e->call_ns = unpack_number(unpack, UINT64_MAX);
        unpack_fixed(unpack, &e->start, sizeof(e->start));
        e->attempt = (uint32_t) unpack_number(unpack, UINT32_MAX);
        e->is_container = unpack_bool(unpack);
        e->attempt_known = unpack_bool(unpack);
        e->has_start = unpack_bool(unpack);
        e->start_called = unpack_bool(unpack);
        e->started = unpack_bool(unpack);
        if (unpack->failed) {
                free(e);
                return unpack_result(unpack);
        }
        link_entry(map, e);
        return 0;
}

int podmap_unpack(Podmap *map, Unpack *unpack) {
        size_t n = unpack_number(unpack, PODMAP_ENTRIES_MAX);

        for (size_t i = 0; i < n; i++) {
                char *strings[_PODMAP_STRING_MAX];
                int r;

                for (unsigned j = 0; j < _PODMAP_STRING_MAX; j++)
                        strings[j] = unpack_string(unpack, CRIMSG_VALUE_MAX);
                r = unpack_entry(map, strings, unpack);
                for (unsigned j = 0; j < _PODMAP_STRING_MAX; j++)
                        free(strings[j]);
                if (r < 0)
                        return r;
        }
        return unpack_result(unpack);
}
