#pragma once

/*
 * Engine configuration
 *
 * Where containerd, CRI-O and podman keep bundles, by their configuration files (TOML). No I/O: bytes in, result out.
 * Of the files only a few keys with a string as their value are looked at, of tables that are written as [table].
 */

#include <stddef.h>

#define ENGINECONF_SIZE_MAX (1024U * 1024) /* bytes of a file */
#define ENGINECONF_PATH_MAX 255            /* characters of a path */

typedef enum EngineconfKind {
        ENGINECONF_CONTAINERD, /* config.toml: state */
        ENGINECONF_CRIO,       /* crio.conf: [crio] root, runroot */
        ENGINECONF_STORAGE,    /* storage.conf: [storage] graphroot, runroot */
} EngineconfKind;

/* A folder that bundles lie below; valid during the call. A negative return ends the reading. */
typedef int (*EngineconfFn)(void *userdata, const char *path);

/*
 * Calls @fn for each folder that the @len bytes of @s name. What is no string, too long or no absolute path is passed
 * over, see engineconf_path_valid(). Returns 0, -EFBIG, or what @fn returns.
 */
int engineconf_read(EngineconfKind kind, const char *s, size_t len, EngineconfFn fn, void *userdata);

#include <stdbool.h>

/* Can bundles lie below @path: is it absolute, not the root, without "." and ".." in it, and not too long? */
bool engineconf_path_valid(const char *path);
