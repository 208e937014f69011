/*
 * yajl calls back per token; what a token means follows from the depth and the keys above it:
 *
 *     depth 1, key "id", "status", "bundle", "pid"     fields of the state
 *     depth 2 below key "annotations"                  annotations
 *
 * Everything else is skipped as it comes, so memory is bounded by yajl's buffer for one string, at most STATE_SIZE_MAX.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <yajl/yajl_parse.h>
#include "state.h"
#include "yajlmem.h"

struct StateParser {
        State *state;
        const char *link_keys;
        YajlMem memory;
        yajl_handle handle;
        size_t n_bytes;
        unsigned depth;
        bool in_annotations;
        bool complete;
        bool bad;
        const struct Field *field; /* of the value that comes next; NULL: nobody wants it */
        bool is_pid;
        bool is_link;
        bool is_annotations;
        bool is_config;
};

/* Where a string goes. */
typedef struct Field {
        const char *key;
        size_t at;
        size_t size;
        bool cut; /* a longer value is cut; otherwise it is as good as absent */
} Field;

#define FIELD(key_, member, cut_) \
        { key_, offsetof(State, member), sizeof(((State *) 0)->member), cut_ }

static const Field fields[] = {
        FIELD("id", id, false),
        FIELD("status", status, false),
        FIELD("bundle", bundle, false),
};

static const Field annotations[] = {
        FIELD("io.kubernetes.cri.container-type", annotations.containerd_type, false),
        FIELD("io.kubernetes.cri.sandbox-id", annotations.containerd_sandbox_id, false),
        FIELD("io.kubernetes.cri.sandbox-uid", annotations.containerd_uid, false),
        FIELD("io.kubernetes.cri.sandbox-name", annotations.containerd_name, true),
        FIELD("io.kubernetes.cri.sandbox-namespace", annotations.containerd_namespace, true),
        FIELD("io.kubernetes.cri.container-name", annotations.containerd_container, true),
        FIELD("io.kubernetes.cri.image-name", annotations.containerd_image, true),
        FIELD("io.container.manager", annotations.crio_manager, false),
        FIELD("io.kubernetes.cri-o.SandboxID", annotations.crio_sandbox_id, false),
        FIELD("io.kubernetes.pod.uid", annotations.crio_uid, false),
        FIELD("io.kubernetes.pod.name", annotations.crio_name, true),
        FIELD("io.kubernetes.pod.namespace", annotations.crio_namespace, true),
        FIELD("io.kubernetes.container.name", annotations.crio_container, true),
        FIELD("io.kubernetes.cri-o.ImageName", annotations.crio_image, true),
};

static bool key_equal(const char *key, const uint8_t *s, size_t len) {
        return strlen(key) == len && memcmp(key, s, len) == 0;
}

static const Field *field_find(const Field *table, size_t n, const uint8_t *key, size_t len) {
        for (size_t i = 0; i < n; i++)
                if (key_equal(table[i].key, key, len))
                        return &table[i];
        return NULL;
}

/* Is @key in the comma-separated @list? */
static bool list_has(const char *list, const uint8_t *key, size_t len) {
        while (list && *list) {
                size_t n;

                list += strspn(list, ", ");
                n = strcspn(list, ", ");
                if (n > 0 && n == len && memcmp(list, key, n) == 0)
                        return true;
                list += n;
        }
        return false;
}

static void forget_key(StateParser *parser) {
        parser->field = NULL;
        parser->is_pid = parser->is_link = parser->is_annotations = false;
}

static int refuse(StateParser *parser) {
        parser->bad = true;
        return 0;
}

/* A scalar that is no string where one of our strings is expected, or the top itself, makes it another format. */
static int on_scalar(StateParser *parser) {
        if (parser->depth == 0 || (parser->field && parser->depth == 1) || parser->is_pid)
                return refuse(parser);
        forget_key(parser);
        return 1;
}

static int on_null(void *userdata) {
        return on_scalar(userdata);
}

static int on_boolean(void *userdata, _unused_ int value) {
        return on_scalar(userdata);
}

static int on_number(void *userdata, const char *s, size_t len) {
        StateParser *parser = userdata;
        uint64_t pid;

        if (!parser->is_pid)
                return on_scalar(parser);

        if (util_parse_u64(s, len, &pid) < 0 || pid > INT32_MAX)
                return refuse(parser);
        parser->state->pid = (int64_t) pid;
        forget_key(parser);
        return 1;
}

static void add_link(State *state, const char *s, size_t len) {
        TraceContext link;

        if (state->n_links == STATE_LINKS_MAX || len > TRACECONTEXT_TRACEPARENT_MAX ||
            tracecontext_parse(s, len, &link) < 0)
                return;

        state->links[state->n_links++] = link;
}

static int on_string(void *userdata, const unsigned char *s, size_t len) {
        StateParser *parser = userdata;
        const Field *field = parser->field;

        if (parser->depth == 0 || parser->is_pid)
                return refuse(parser);

        if (parser->is_link)
                add_link(parser->state, (const char *) s, len);

        if (field) {
                char *to = (char *) parser->state + field->at;

                /* NUL, or what is no UTF-8, is not a name; half a name could be another's. */
                if (memchr(s, '\0', len) || !util_utf8_valid((const char *) s, len) ||
                    (len >= field->size && !field->cut))
                        to[0] = '\0';
                else
                        util_copy_bounded(to, field->size, (const char *) s, len);
        }

        forget_key(parser);
        return 1;
}

static int open_level(StateParser *parser) {
        if (++parser->depth > STATE_DEPTH_MAX || (parser->field && parser->depth == 2) || parser->is_pid)
                return refuse(parser);
        return 1;
}

static int on_start_map(void *userdata) {
        StateParser *parser = userdata;

        if (parser->is_annotations)
                parser->in_annotations = true;
        if (!open_level(parser))
                return 0;
        forget_key(parser);
        return 1;
}

static int on_start_array(void *userdata) {
        StateParser *parser = userdata;

        if (parser->depth == 0 || !open_level(parser))
                return refuse(parser);
        forget_key(parser);
        return 1;
}

static int on_key(void *userdata, const unsigned char *key, size_t len) {
        StateParser *parser = userdata;

        forget_key(parser);
        if (parser->depth == 1 && parser->is_config) {
                parser->is_annotations = key_equal("annotations", key, len);
        } else if (parser->depth == 1) {
                parser->field = field_find(fields, ARRAY_SIZE(fields), key, len);
                parser->is_pid = key_equal("pid", key, len);
                parser->is_annotations = key_equal("annotations", key, len);
        } else if (parser->depth == 2 && parser->in_annotations && len <= STATE_KEY_MAX) {
                parser->field = field_find(annotations, ARRAY_SIZE(annotations), key, len);
                parser->is_link = list_has(parser->link_keys, key, len);
        }
        return 1;
}

static int close_level(StateParser *parser) {
        parser->depth--;
        if (parser->depth == 1)
                parser->in_annotations = false;
        return 1;
}

static int on_end_map(void *userdata) {
        StateParser *parser = userdata;
        bool was_annotations = parser->in_annotations;

        (void) close_level(parser);
        if (parser->depth > 0 && !(parser->is_config && was_annotations && parser->depth == 1))
                return 1;

        /* What follows is none of our business: stop here. */
        parser->complete = true;
        return 0;
}

static int on_end_array(void *userdata) {
        return close_level(userdata);
}

static const yajl_callbacks callbacks = {
        .yajl_null = on_null,
        .yajl_boolean = on_boolean,
        .yajl_number = on_number,
        .yajl_string = on_string,
        .yajl_start_map = on_start_map,
        .yajl_map_key = on_key,
        .yajl_end_map = on_end_map,
        .yajl_start_array = on_start_array,
        .yajl_end_array = on_end_array,
};

StateParser *state_parser_new(State *state, const char *link_keys) {
        _cleanup_(state_parser_freep) StateParser *parser = NULL;

        assert(state);

        parser = malloc(sizeof(*parser));
        if (!parser)
                return NULL;

        memset(state, 0, sizeof(*state));
        *parser = (StateParser){
                .state = state,
                .link_keys = link_keys,
        };

        /* A runtime may pass on what it did not check; each string that is kept is checked here. */
        if (yajlmem_alloc(&parser->memory, &callbacks, parser, /* validate= */ false, &parser->handle) < 0)
                return NULL;

        return TAKE_PTR(parser);
}

StateParser *state_parser_new_config(State *state, const char *id, const char *bundle, const char *link_keys) {
        StateParser *parser = state_parser_new(state, link_keys);

        assert(id);
        assert(bundle);

        if (!parser)
                return NULL;

        parser->is_config = true;
        util_copy_bounded(state->id, sizeof(state->id), id, strlen(id));
        if (strlen(bundle) < sizeof(state->bundle))
                util_copy_bounded(state->bundle, sizeof(state->bundle), bundle, strlen(bundle));
        return parser;
}

StateParser *state_parser_free(StateParser *parser) {
        if (!parser)
                return NULL;

        if (parser->handle)
                yajl_free(parser->handle);
        free(parser);
        return NULL;
}

int state_parser_feed(StateParser *parser, const uint8_t *bytes, size_t len) {
        yajl_status status;
        int r;

        assert(parser);
        assert(bytes || len == 0);

        if (len > STATE_SIZE_MAX - parser->n_bytes)
                return -EFBIG;
        parser->n_bytes += len;

        if (len == 0)
                return 0;
        r = yajlmem_parse(&parser->memory, parser->handle, bytes, len, &status);
        if (r < 0)
                return r;
        if (parser->complete)
                return util_id_valid(parser->state->id) ? 1 : -EBADMSG;
        return status == yajl_status_ok && !parser->bad ? 0 : -EBADMSG;
}

Manager state_manager(const State *state) {
        assert(state);

        return manager_of_bundle(state->bundle, state->id, state->annotations.crio_manager);
}

static void copy(char *to, size_t size, const char *from) {
        util_copy_bounded(to, size, from, strlen(from));
}

#define COPY(to, from) copy(to, sizeof(to), from)

void state_identity(const State *state, Manager manager, Identity *ret, bool *ret_sandbox) {
        const StateAnnotations *a = &state->annotations;
        Identity identity = {};
        const char *sandbox_id = "";
        bool sandbox = false;

        assert(ret);
        assert(ret_sandbox);

        if (manager == MANAGER_CONTAINERD) {
                sandbox = strcmp(a->containerd_type, "sandbox") == 0;
                sandbox_id = a->containerd_sandbox_id;
                COPY(identity.pod_uid, a->containerd_uid);
                COPY(identity.pod_name, a->containerd_name);
                COPY(identity.pod_namespace, a->containerd_namespace);
                if (!sandbox) {
                        COPY(identity.container_name, a->containerd_container);
                        COPY(identity.image, a->containerd_image);
                }
        } else if (manager == MANAGER_CRIO) {
                sandbox = strcmp(a->crio_container, "POD") == 0;
                sandbox_id = a->crio_sandbox_id;
                COPY(identity.pod_uid, a->crio_uid);
                COPY(identity.pod_name, a->crio_name);
                COPY(identity.pod_namespace, a->crio_namespace);
                if (!sandbox) {
                        COPY(identity.container_name, a->crio_container);
                        COPY(identity.image, a->crio_image);
                }
        }

        if (sandbox) {
                COPY(identity.sandbox_id, state->id);
        } else {
                COPY(identity.container_id, state->id);
                if (util_id_valid(sandbox_id))
                        COPY(identity.sandbox_id, sandbox_id);
        }

        *ret = identity;
        *ret_sandbox = sandbox;
}
