#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yajl/yajl_parse.h>
#include "bundle.h"
#include "yajlmem.h"

#define DEPTH_MAX 32

static const char *const stages[] = {
        [BUNDLE_PRESTART] = "prestart",
        [BUNDLE_CREATE_RUNTIME] = "createRuntime",
        [BUNDLE_CREATE_CONTAINER] = "createContainer",
        [BUNDLE_START_CONTAINER] = "startContainer",
        [BUNDLE_POSTSTART] = "poststart",
        [BUNDLE_POSTSTOP] = "poststop",
};

#define FIELD(key, field) \
        { key, offsetof(Bundle, field), sizeof(((Bundle *) 0)->field) }

static const struct {
        const char *key;
        size_t at, size;
} fields[] = {
        FIELD("io.kubernetes.cri.container-type", containerd.type),
        FIELD("io.kubernetes.cri.sandbox-id", containerd.sandbox_id),
        FIELD("io.kubernetes.cri.sandbox-uid", containerd.pod_uid),
        FIELD("io.kubernetes.cri.sandbox-name", containerd.pod_name),
        FIELD("io.kubernetes.cri.sandbox-namespace", containerd.pod_namespace),
        FIELD("io.kubernetes.cri.container-name", containerd.container_name),
        FIELD("io.kubernetes.cri-o.ContainerType", crio.type),
        FIELD("io.kubernetes.cri-o.SandboxID", crio.sandbox_id),
        FIELD("io.kubernetes.pod.uid", crio.pod_uid),
        FIELD("io.kubernetes.pod.name", crio.pod_name),
        FIELD("io.kubernetes.pod.namespace", crio.pod_namespace),
        FIELD("io.kubernetes.container.name", crio.container_name),
        FIELD("io.container.manager", manager),
};

struct BundleParser {
        YajlMem memory;
        yajl_handle yajl;
        Bundle *bundle;
        size_t n_bytes;
        unsigned depth;   /* of maps and arrays */
        bool annotations; /* inside /annotations */
        bool hooks;       /* inside /hooks */
        int stage;        /* inside this stage's array, or -1 */
        int field;        /* the next value goes there, or -1 */
        bool path;        /* the next value is a hook's path */
};

static int on_key(void *userdata, const unsigned char *s, size_t len) {
        BundleParser *parser = userdata;
        const char *key = (const char *) s;

#define IS(name) (len == strlen(name) && memcmp(key, name, len) == 0)
        parser->field = -1;
        parser->path = false;
        if (parser->depth == 1) {
                parser->annotations = IS("annotations");
                parser->hooks = IS("hooks");
        } else if (parser->depth == 2 && parser->annotations) {
                for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
                        if (IS(fields[i].key))
                                parser->field = (int) i;
        } else if (parser->depth == 2 && parser->hooks) {
                parser->stage = -1;
                for (int i = 0; i < _BUNDLE_STAGE_MAX; i++)
                        if (IS(stages[i]))
                                parser->stage = i;
        } else if (parser->depth == 4 && parser->hooks && parser->stage >= 0) {
                parser->path = IS("path");
        }
#undef IS
        return 1;
}

static int on_string(void *userdata, const unsigned char *s, size_t len) {
        BundleParser *parser = userdata;
        Bundle *bundle = parser->bundle;

        if (parser->field >= 0 && parser->depth == 2) {
                /* A value that does not fit is no identity. */
                if (len < fields[parser->field].size && !memchr(s, '\0', len)) {
                        char *to = (char *) bundle + fields[parser->field].at;

                        memcpy(to, s, len);
                        to[len] = '\0';
                }
        } else if (parser->path && parser->depth == 4 && bundle->n_hooks < BUNDLE_HOOKS_MAX) {
                BundleHook *hook = &bundle->hooks[bundle->n_hooks++];

                hook->stage = (BundleStage) parser->stage;
                util_copy_bounded(hook->path, sizeof(hook->path), (const char *) s, len);
        }
        parser->field = -1;
        parser->path = false;
        return 1;
}

static int on_open(void *userdata) {
        BundleParser *parser = userdata;

        return ++parser->depth <= DEPTH_MAX;
}

static int on_close(void *userdata) {
        BundleParser *parser = userdata;

        parser->depth--;
        return 1;
}

BundleParser *bundle_parser_new(Bundle *bundle) {
        static const yajl_callbacks callbacks = {
                .yajl_string = on_string,
                .yajl_map_key = on_key,
                .yajl_start_map = on_open,
                .yajl_end_map = on_close,
                .yajl_start_array = on_open,
                .yajl_end_array = on_close,
        };
        BundleParser *parser;

        assert(bundle);

        parser = calloc(1, sizeof(*parser));
        if (!parser)
                return NULL;
        *bundle = (Bundle){};
        parser->bundle = bundle;
        parser->stage = parser->field = -1;
        if (yajlmem_alloc(&parser->memory, &callbacks, parser, /* validate= */ true, &parser->yajl) < 0)
                return bundle_parser_free(parser);
        return parser;
}

BundleParser *bundle_parser_free(BundleParser *parser) {
        if (!parser)
                return NULL;
        if (parser->yajl)
                yajl_free(parser->yajl);
        free(parser);
        return NULL;
}

int bundle_parser_feed(BundleParser *parser, const char *bytes, size_t len) {
        yajl_status status;
        int r;

        assert(parser);

        if (len > BUNDLE_SIZE_MAX - parser->n_bytes)
                return -EFBIG;
        parser->n_bytes += len;
        r = yajlmem_parse(&parser->memory, parser->yajl, bytes, len, &status);
        if (r < 0)
                return r;
        return status == yajl_status_ok ? 0 : -EBADMSG;
}

Manager bundle_manager(const Bundle *bundle, const char *path, const char *id) {
        return manager_of_bundle(path, id, bundle->manager);
}

static void copy(char *to, size_t size, const char *from) {
        util_copy_bounded(to, size, from, strlen(from));
}

#define COPY(to, from) copy(to, sizeof(to), from)

void bundle_identity(const Bundle *bundle, Manager manager, const char *id, Identity *ret) {
        __typeof__(&bundle->crio) from = manager == MANAGER_CONTAINERD ? &bundle->containerd : &bundle->crio;
        Identity identity = {};
        bool sandbox;

        COPY(identity.container_id, id);
        if (manager == MANAGER_CONTAINERD || manager == MANAGER_CRIO) {
                /* No container is called "POD": upper case is not allowed. */
                sandbox = manager == MANAGER_CRIO ? strcmp(from->container_name, "POD") == 0
                                                  : strcmp(from->type, "sandbox") == 0;
                COPY(identity.pod_uid, from->pod_uid);
                COPY(identity.pod_name, from->pod_name);
                COPY(identity.pod_namespace, from->pod_namespace);
                if (sandbox)
                        COPY(identity.sandbox_id, id);
                else {
                        COPY(identity.container_name, from->container_name);
                        if (util_id_valid(from->sandbox_id))
                                COPY(identity.sandbox_id, from->sandbox_id);
                }
        }
        *ret = identity;
}

const char *bundle_stage_name(BundleStage stage) {
        return stages[stage];
}
