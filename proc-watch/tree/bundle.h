#pragma once

/*
 * Bundle
 *
 * What a container's config.json (OCI Runtime Specification) says about whose it is, and which hooks it runs. No I/O:
 * bytes in, result out. Annotations are mostly a pod author's, so a pod is named only by the keys of the manager that
 * is really there, told by the bundle's path (see bundle_identity()).
 */

#include <stdbool.h>
#include <stddef.h>
#include "identity.h"
#include "manager.h"
#include "util.h"

#define BUNDLE_SIZE_MAX      (4U * 1024 * 1024) /* bytes of config.json */
#define BUNDLE_HOOKS_MAX     32
#define BUNDLE_HOOK_PATH_MAX 255

typedef enum BundleStage {
        BUNDLE_PRESTART,
        BUNDLE_CREATE_RUNTIME,
        BUNDLE_CREATE_CONTAINER,
        BUNDLE_START_CONTAINER,
        BUNDLE_POSTSTART,
        BUNDLE_POSTSTOP,
        _BUNDLE_STAGE_MAX,
} BundleStage;

typedef struct BundleHook {
        BundleStage stage;
        char path[BUNDLE_HOOK_PATH_MAX + 1];
} BundleHook;

typedef struct Bundle {
        struct {
                char type[16];
                char sandbox_id[IDENTITY_ID_MAX + 1];
                char pod_uid[IDENTITY_ID_MAX + 1];
                char pod_name[IDENTITY_NAME_MAX + 1];
                char pod_namespace[IDENTITY_NAME_MAX + 1];
                char container_name[IDENTITY_NAME_MAX + 1];
        } containerd, crio;
        char manager[16];
        BundleHook hooks[BUNDLE_HOOKS_MAX]; /* in the order in which they run, within a stage */
        size_t n_hooks;
} Bundle;

typedef struct BundleParser BundleParser;

/* Fills @bundle (borrowed, cleared here). NULL without memory. */
BundleParser *bundle_parser_new(Bundle *bundle);
BundleParser *bundle_parser_free(BundleParser *parser);
DEFINE_CLEANUP(BundleParser *, bundle_parser_free);

/* Feeds @len bytes; the last call has none. 0, -EBADMSG, -ENOMEM, or -EFBIG above
 * BUNDLE_SIZE_MAX; then not to be fed again. */
int bundle_parser_feed(BundleParser *parser, const char *bytes, size_t len);

/* Who runs the container @id whose bundle is at @path. */
Manager bundle_manager(const Bundle *bundle, const char *path, const char *id);

/* Whose container @id is. Of a sandbox's own, container_id equals sandbox_id and container_name is empty. */
void bundle_identity(const Bundle *bundle, Manager manager, const char *id, Identity *ret);

const char *bundle_stage_name(BundleStage stage);
