#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "contextmatch.h"
#include "util.h"

#define VERSION CONTEXTMATCH_VERSION

static ContextKey key_of(bool known, uint64_t hash) {
        ContextKey key = { "x" };

        /* Each look-up makes three: a hook's time counts, and snprintf(3) takes its own. */
        if (known)
                util_hex_u64(hash, key.text);
        return key;
}

/* Is this the sandbox itself, whose runtime container is known by the sandbox's id? */
static bool is_sandbox(const Identity *identity) {
        return identity->container_name[0] == '\0' &&
               (identity->container_id[0] == '\0' || strcmp(identity->container_id, identity->sandbox_id) == 0);
}

/* Are UID and container name known, be it that the name is known to be none? */
static bool name_known(const Identity *identity) {
        return identity->pod_uid[0] && (identity->container_name[0] || is_sandbox(identity));
}

ContextKeys contextmatch_keys(const Identity *identity) {
        uint64_t hash;

        assert(identity);

        /* With its NUL, which keeps "a" + "bc" and "ab" + "c" apart. */
        hash = util_hash(UTIL_HASH_INIT, identity->pod_uid, strlen(identity->pod_uid) + 1);
        hash = util_hash(hash, identity->container_name, strlen(identity->container_name));

        return (ContextKeys){
                .container = key_of(identity->container_id[0],
                                    util_hash(UTIL_HASH_INIT, identity->container_id, strlen(identity->container_id))),
                .sandbox = key_of(identity->sandbox_id[0],
                                  util_hash(UTIL_HASH_INIT, identity->sandbox_id, strlen(identity->sandbox_id))),
                .name = key_of(name_known(identity), hash),
        };
}

void contextmatch_live_name(const ContextRecord *record, char ret[static CONTEXT_NAME_MAX + 1]) {
        ContextKeys keys;

        assert(record);
        assert(context_operation_valid(record->operation));

        keys = contextmatch_keys(&record->identity);
        (void) snprintf(ret, CONTEXT_NAME_MAX + 1, VERSION "%s-%s-%s-%s-%" PRIu32 "-%" PRIx64, record->operation,
                        keys.container.text, keys.sandbox.text, keys.name.text, record->pid, record->seq);
}

bool contextmatch_version_known(const char *name) {
        assert(name);

        return strncmp(name, VERSION, sizeof(VERSION) - 1) == 0 && strlen(name) <= CONTEXT_NAME_MAX;
}

/* Both known and not the same? */
static bool differ(const char *a, const char *b) {
        return *a && *b && strcmp(a, b) != 0;
}

/* Both known and the same? */
static bool same(const char *a, const char *b) {
        return *a && strcmp(a, b) == 0;
}

static bool names_container(const Identity *identity) {
        return !is_sandbox(identity);
}

/* Image and handler are not compared: runtimes write one image in several ways. */
bool contextmatch_contradicts(const Identity *a, const Identity *b) {
        assert(a);
        assert(b);

        return differ(a->pod_uid, b->pod_uid) || differ(a->pod_name, b->pod_name) ||
               differ(a->pod_namespace, b->pod_namespace) || differ(a->sandbox_id, b->sandbox_id) ||
               differ(a->container_id, b->container_id) || differ(a->container_name, b->container_name) ||
               (a->sandbox_attempt_known && b->sandbox_attempt_known && a->sandbox_attempt != b->sandbox_attempt) ||
               (a->container_attempt_known && b->container_attempt_known &&
                a->container_attempt != b->container_attempt);
}

/* On which level does the call @call match @asker? */
ContextLevel contextmatch_level(const Identity *call, const Identity *asker) {
        if (contextmatch_contradicts(call, asker))
                return CONTEXT_LEVEL_NONE;

        /* A sandbox's own runtime container has its id: it knows that it has no name. */
        if (asker->container_id[0] && is_sandbox(asker) && call->container_name[0])
                return CONTEXT_LEVEL_NONE;

        if (same(call->container_id, asker->container_id))
                return CONTEXT_LEVEL_CONTAINER;

        if (same(call->sandbox_id, asker->sandbox_id) &&
            (!names_container(call) || !names_container(asker) || same(call->container_name, asker->container_name)))
                return CONTEXT_LEVEL_SANDBOX;

        if (same(call->pod_uid, asker->pod_uid) && name_known(call) && name_known(asker) &&
            strcmp(call->container_name, asker->container_name) == 0)
                return CONTEXT_LEVEL_NAME;

        return CONTEXT_LEVEL_NONE;
}

bool contextmatch_operation_asked(const char *const *operations, const char *operation, size_t len) {
        assert(operation || len == 0);

        for (; operations && *operations; operations++)
                if (strlen(*operations) == len && memcmp(*operations, operation, len) == 0)
                        return true;
        return false;
}

/* The part of a name up to the next dash; *@s goes behind it. */
static size_t name_part(const char **s, const char **ret) {
        const char *dash = strchrnul(*s, '-');

        *ret = *s;
        *s = *dash ? dash + 1 : dash;
        return (size_t) (dash - *ret);
}

/* Can the file @name be worth opening? */
bool contextmatch_name_may(const char *name, const ContextKeys *keys, const char *const *operations) {
        const ContextKey *const wanted[] = { &keys->container, &keys->sandbox, &keys->name };
        const char *part;
        size_t len;
        bool may = false;

        if (!contextmatch_version_known(name))
                return false;
        name += sizeof(VERSION) - 1;

        len = name_part(&name, &part);
        if (!contextmatch_operation_asked(operations, part, len))
                return false;

        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
                len = name_part(&name, &part);
                if (len != CONTEXTMATCH_KEY_DIGITS || wanted[i]->text[0] == 'x')
                        continue;

                if (memcmp(part, wanted[i]->text, CONTEXTMATCH_KEY_DIGITS) == 0)
                        may = true;
                else if (wanted[i] != &keys->name)
                        return false;
        }
        return may;
}

bool contextmatch_name_of_pid(const char *name, uint32_t pid) {
        const char *part;
        char own[16];
        size_t len;

        assert(name);

        (void) snprintf(own, sizeof(own), "%" PRIu32, pid);

        /* Version, operation and three keys stand before it. */
        for (int i = 0; i < 6; i++)
                len = name_part(&name, &part);
        return len == strlen(own) && memcmp(part, own, len) == 0;
}
