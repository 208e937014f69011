#pragma once

/*
 * OCI state
 *
 * The state of a container as an OCI runtime hands it to hooks on standard input (OCI Runtime Specification, "State"),
 * or what its bundle's config.json says of the same, and whose container it is. No I/O: bytes in, result out. Of the
 * annotations only keys in tables of ours are kept, each bounded.
 *
 * Annotations are mostly what a pod's author wrote, so they name a pod only under the keys of the manager that is
 * really there, and that is told by the bundle's path (manager.h).
 *
 * CRI-O writes a pod's annotations over its own, and over those the labels, which are the kubelet's; a container gets
 * its own labels only. So under CRI-O the pod and container come from the label keys io.kubernetes.pod.* and
 * io.kubernetes.container.name; a sandbox is known by the container name "POD", which no container can have
 * (upper case), and its id is the OCI id whatever an annotation says.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "identity.h"
#include "manager.h"
#include "tracecontext.h"

#define STATE_SIZE_MAX   (1024U * 1024) /* bytes of input */
#define STATE_DEPTH_MAX  16             /* nested maps and arrays; the state has two levels */
#define STATE_KEY_MAX    316            /* of an annotation: a prefix of 253 characters, a slash, a name of 63 */
#define STATE_BUNDLE_MAX 1023
#define STATE_LINKS_MAX  4 /* annotations that name a trace to link to */

typedef struct StateAnnotations {
        char containerd_type[16];
        char containerd_sandbox_id[IDENTITY_ID_MAX + 1];
        char containerd_uid[IDENTITY_ID_MAX + 1];
        char containerd_name[IDENTITY_NAME_MAX + 1];
        char containerd_namespace[IDENTITY_NAME_MAX + 1];
        char containerd_container[IDENTITY_NAME_MAX + 1];
        char containerd_image[IDENTITY_IMAGE_MAX + 1];
        char crio_manager[16];
        char crio_sandbox_id[IDENTITY_ID_MAX + 1];
        char crio_uid[IDENTITY_ID_MAX + 1];
        char crio_name[IDENTITY_NAME_MAX + 1];
        char crio_namespace[IDENTITY_NAME_MAX + 1];
        char crio_container[IDENTITY_NAME_MAX + 1];
        char crio_image[IDENTITY_IMAGE_MAX + 1];
} StateAnnotations;

typedef struct State {
        char id[IDENTITY_ID_MAX + 1]; /* util_id_valid() */
        char status[16];
        char bundle[STATE_BUNDLE_MAX + 1]; /* "" where longer */
        int64_t pid;                       /* of the container's init, as the runtime sees it; 0: not known */
        StateAnnotations annotations;      /* raw; state_identity() says what of it counts */
        TraceContext links[STATE_LINKS_MAX];
        size_t n_links;
} State;

typedef struct StateParser StateParser;

/*
 * A parser that fills @state (borrowed, cleared here) as bytes come in; @link_keys is the comma-separated list of
 * annotations that hold a traceparent (borrowed, may be NULL). Returns NULL without memory.
 */
StateParser *state_parser_new(State *state, const char *link_keys);
/*
 * The same for a bundle's config.json: takes @id and @bundle (copied) instead of what stands there, and is complete
 * with the end of the annotations, or of the whole where there are none.
 */
StateParser *state_parser_new_config(State *state, const char *id, const char *bundle, const char *link_keys);
StateParser *state_parser_free(StateParser *parser);

/*
 * Feeds @len bytes. Returns 1 once the whole object has been seen and holds a valid id (what follows it is not looked
 * at), 0 if more is needed, -EBADMSG if this is no OCI state, -EFBIG above STATE_SIZE_MAX, -ENOMEM. Not to be fed again
 * after anything but 0.
 */
int state_parser_feed(StateParser *parser, const uint8_t *bytes, size_t len);

/* Who runs the container. Needs `bundle`, `id` and, for podman and CRI-O, the annotations. */
Manager state_manager(const State *state);

/*
 * Whose container it is, from the keys of @manager alone. Of a sandbox's own container (@ret_sandbox) the OCI id is the
 * sandbox id and container_id stays empty; of any other the OCI id is container_id.
 */
void state_identity(const State *state, Manager manager, Identity *ret, bool *ret_sandbox);

#include "util.h"
DEFINE_CLEANUP(StateParser *, state_parser_free);
