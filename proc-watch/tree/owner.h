#pragma once

/*
 * Owner
 *
 * Whose work a process does: identity, engine and hooks of one container or sandbox, shared by reference between all
 * that is known of it, packed (a few hundred bytes instead of Identity's two thousand).
 */

#include "bundle.h"
#include "tracecontext.h"

typedef struct Owner Owner;

/* A reference to what @identity, @manager and the hooks of @bundle (may be NULL) say. NULL without memory. */
Owner *owner_new(const Identity *identity, Manager manager, const Bundle *bundle);
Owner *owner_ref(Owner *owner);
/* Drops a reference; NULL is fine. Returns NULL. */
Owner *owner_unref(Owner *owner);
DEFINE_CLEANUP(Owner *, owner_unref);

void owner_identity(const Owner *owner, Identity *ret);
Manager owner_manager(const Owner *owner);
/* The container's id, else the sandbox's. */
const char *owner_id(const Owner *owner);

/*
 * The stage of the first hook with @path that is not yet in @used (a bit a hook; it gets its bit), among the stages
 * from @first to @last; NULL if there is none. With an empty @used of its own a command counts its hooks off.
 */
const char *owner_hook_stage(const Owner *owner, const char *path, BundleStage first, BundleStage last, uint32_t *used);
