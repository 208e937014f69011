#include <assert.h>
#include <string.h>
#include "owner.h"

struct Owner {
        unsigned n_refs;
        Manager manager;
        uint32_t sandbox_attempt, container_attempt;
        bool sandbox_attempt_known, container_attempt_known;
        uint8_t n_hooks;
        char text[]; /* the strings of text_fields in order, then per hook its stage (as a letter) and path */
};

#define FIELD(name) \
        { offsetof(Identity, name), sizeof(((Identity *) 0)->name) }

static const struct {
        size_t at, size;
} text_fields[] = {
        FIELD(pod_uid),      FIELD(pod_name),       FIELD(pod_namespace), FIELD(sandbox_id),
        FIELD(container_id), FIELD(container_name), FIELD(image),         FIELD(runtime_handler),
};

Owner *owner_new(const Identity *identity, Manager manager, const Bundle *bundle) {
        size_t size = sizeof(Owner), n_hooks = bundle ? bundle->n_hooks : 0;
        Owner *owner;
        char *to;

        assert(identity);

        for (size_t i = 0; i < ARRAY_SIZE(text_fields); i++)
                size += strlen((const char *) identity + text_fields[i].at) + 1;
        for (size_t i = 0; i < n_hooks; i++)
                size += 1 + strlen(bundle->hooks[i].path) + 1;

        owner = malloc(size);
        if (!owner)
                return NULL;
        *owner = (Owner){
                .n_refs = 1,
                .manager = manager,
                .sandbox_attempt = identity->sandbox_attempt,
                .container_attempt = identity->container_attempt,
                .sandbox_attempt_known = identity->sandbox_attempt_known,
                .container_attempt_known = identity->container_attempt_known,
                .n_hooks = (uint8_t) n_hooks,
        };

        to = owner->text;
        for (size_t i = 0; i < ARRAY_SIZE(text_fields); i++)
                to = stpcpy(to, (const char *) identity + text_fields[i].at) + 1;
        for (size_t i = 0; i < n_hooks; i++) {
                *to++ = (char) ('0' + bundle->hooks[i].stage);
                to = stpcpy(to, bundle->hooks[i].path) + 1;
        }
        return owner;
}

Owner *owner_ref(Owner *owner) {
        if (owner)
                owner->n_refs++;
        return owner;
}

Owner *owner_unref(Owner *owner) {
        if (owner && --owner->n_refs == 0)
                free(owner);
        return NULL;
}

void owner_identity(const Owner *owner, Identity *ret) {
        const char *from = owner->text;

        *ret = (Identity){
                .sandbox_attempt = owner->sandbox_attempt,
                .container_attempt = owner->container_attempt,
                .sandbox_attempt_known = owner->sandbox_attempt_known,
                .container_attempt_known = owner->container_attempt_known,
        };
        for (size_t i = 0; i < ARRAY_SIZE(text_fields); i++) {
                size_t len = strlen(from);

                util_copy_bounded((char *) ret + text_fields[i].at, text_fields[i].size, from, len);
                from += len + 1;
        }
}

Manager owner_manager(const Owner *owner) {
        return owner->manager;
}

static const char *text(const Owner *owner, size_t n) {
        const char *s = owner->text;

        while (n-- > 0)
                s += strlen(s) + 1;
        return s;
}

const char *owner_id(const Owner *owner) {
        const char *sandbox = text(owner, 3), *container = text(owner, 4);

        return *container ? container : sandbox;
}

const char *owner_hook_stage(const Owner *owner, const char *path, BundleStage first, BundleStage last,
                             uint32_t *used) {
        const char *hooks = text(owner, ARRAY_SIZE(text_fields));

        for (BundleStage stage = first; stage <= last; stage++) {
                const char *hook = hooks;

                for (unsigned i = 0; i < owner->n_hooks; i++, hook += strlen(hook) + 1)
                        if (hook[0] == (char) ('0' + stage) && !(*used & UINT32_C(1) << i) &&
                            strcmp(hook + 1, path) == 0) {
                                *used |= UINT32_C(1) << i;
                                return bundle_stage_name(stage);
                        }
        }
        return NULL;
}
