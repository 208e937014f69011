#include <stddef.h>
#include <string.h>
#include "identity.h"
#include "util.h"

static void identity_fill(char *field, size_t size, const char *other) {
        if (field[0] == '\0' && other[0] != '\0')
                memcpy(field, other, size);
}

void identity_merge(Identity *identity, const Identity *other) {
        /* Pairs of fields have the same size, both being Identity's. */
        identity_fill(identity->pod_uid, sizeof(identity->pod_uid), other->pod_uid);
        identity_fill(identity->pod_name, sizeof(identity->pod_name), other->pod_name);
        identity_fill(identity->pod_namespace, sizeof(identity->pod_namespace), other->pod_namespace);
        identity_fill(identity->sandbox_id, sizeof(identity->sandbox_id), other->sandbox_id);
        identity_fill(identity->container_id, sizeof(identity->container_id), other->container_id);
        identity_fill(identity->container_name, sizeof(identity->container_name), other->container_name);
        identity_fill(identity->image, sizeof(identity->image), other->image);
        identity_fill(identity->runtime_handler, sizeof(identity->runtime_handler), other->runtime_handler);

        if (!identity->sandbox_attempt_known && other->sandbox_attempt_known) {
                identity->sandbox_attempt = other->sandbox_attempt;
                identity->sandbox_attempt_known = true;
        }
        if (!identity->container_attempt_known && other->container_attempt_known) {
                identity->container_attempt = other->container_attempt;
                identity->container_attempt_known = true;
        }
}

void identity_merge_known(Identity *identity, const Identity *known, const char *id, bool sandbox) {
        if (strcmp(known->container_id, id) == 0 || (sandbox && strcmp(known->sandbox_id, id) == 0)) {
                Identity merged = *known;

                identity_merge(&merged, identity);
                *identity = merged;
        } else {
                identity_merge(identity, known);
        }
        if (sandbox)
                identity->container_id[0] = identity->container_name[0] = '\0';
}
