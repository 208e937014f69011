#pragma once

/*
 * Go build information
 *
 * What Go's linker writes into each executable (the format that Go's debug/buildinfo reads, since Go 1.18): the path of
 * the main package, the main module with its version, and the flags of the build. Only reads, never executes. The file
 * is hostile: its tables are bounded, and every offset is checked by the read that uses it.
 */

#include <stdint.h>
#include <sys/types.h>

#define GOBUILD_SECTIONS_MAX 1024U
#define GOBUILD_INFO_MAX     (256U * 1024) /* bytes of the section .go.buildinfo */

typedef struct Gobuild {
        char path[128];   /* of the main package, "k8s.io/kubernetes/cmd/kubelet" */
        char version[64]; /* of the main module, or what -ldflags set as the version; "" if neither says */
} Gobuild;

/* Reads up to @n bytes at @offset into @buf. Returns how many, fewer only at the end, or a negative errno. */
typedef ssize_t (*GobuildRead)(void *userdata, uint64_t offset, void *buf, size_t n);

/* Returns 0; -ENOENT (an executable without the information); -EOPNOTSUPP (of Go before 1.18); -EBADMSG (no ELF file,
 * or broken); or another negative errno, @read's included. */
int gobuild_read(GobuildRead read, void *userdata, Gobuild *ret);

/* The same of an open file, which may be O_PATH. */
int gobuild_read_fd(int fd, Gobuild *ret);

/* Parses the text of the information: lines of "path", "mod", "dep", "build" and tabs. No I/O. */
void gobuild_parse_text(const char *s, size_t n, Gobuild *ret);
