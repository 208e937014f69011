#pragma once

/*
 * Identity
 *
 * Whose work a span is: pod, sandbox, container, image. Fixed buffers, bounded by what Kubernetes allows; a longer
 * value from outside is cut by util_copy_bounded(). An empty string is "not known". What a pod's author controls ends
 * up here, so nothing here is trusted as a file name (see util_id_valid()).
 */

#include <stdbool.h>
#include <stdint.h>

#define IDENTITY_ID_MAX    128 /* runtimes use 64 hex digits, kubelet's UIDs have 36 characters */
#define IDENTITY_NAME_MAX  253 /* a DNS subdomain, the longest name Kubernetes has */
#define IDENTITY_IMAGE_MAX 511

typedef struct Identity {
        char pod_uid[IDENTITY_ID_MAX + 1];
        char pod_name[IDENTITY_NAME_MAX + 1];
        char pod_namespace[IDENTITY_NAME_MAX + 1];
        char sandbox_id[IDENTITY_ID_MAX + 1];
        char container_id[IDENTITY_ID_MAX + 1];
        char container_name[IDENTITY_NAME_MAX + 1];
        char image[IDENTITY_IMAGE_MAX + 1];
        char runtime_handler[IDENTITY_NAME_MAX + 1];
        uint32_t sandbox_attempt;
        uint32_t container_attempt;
        bool sandbox_attempt_known;
        bool container_attempt_known;
} Identity;

/* Fills the fields that are empty in @identity from @other. */
void identity_merge(Identity *identity, const Identity *other);

/*
 * Completes @identity, which annotations have told of the container @id, by what a context file says (@known). About
 * this very id, for a sandbox's own container (@sandbox) also as the sandbox's, that is podspan-cri's own knowledge and
 * annotations come after it; otherwise they come first. A sandbox's own container has neither id nor name besides.
 */
void identity_merge_known(Identity *identity, const Identity *known, const char *id, bool sandbox);
