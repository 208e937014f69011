#pragma once

/*
 * Downloads of images
 *
 * What an engine downloads or unpacks right now, by the files that it has open: containerd's ingest folders and blobs,
 * CRI-O's big files. A folder that nobody writes is a dead download, and is not among them. The names of images are not
 * in these files.
 */

#include "procscan.h"

#define PULLS_MAX        64
#define PULLS_DIGEST_MAX 79 /* "sha256:" and 64 digits, "" where it is not known */

typedef struct Pull {
        bool unpacks;        /* all bytes are here, and are unpacked */
        bool position_known; /* of an unpacking: how far it is */
        uint64_t bytes;      /* downloaded, or unpacked of the compressed */
        uint64_t total;      /* 0: not known */
        uint64_t quiet_ns;   /* how long ago the last byte came; downloads only */
        char digest[PULLS_DIGEST_MAX + 1];
} Pull;

typedef struct Pulls {
        Pull pulls[PULLS_MAX];
        size_t n;
        bool known; /* the engine's files could be read */
} Pulls;

/* What @engine does. A child reads it: where the store hangs, nothing is known. */
void pulls_read(Asides *asides, const Proc *engine, Pulls *ret);

/* What the target @link of an engine's descriptor is. Returns 1 a download, 2 a blob that is read, 3 a download of
 * CRI-O, 0 another file; @ret_digest of a blob. No I/O. */
int pulls_link(const char *link, char ret_digest[static PULLS_DIGEST_MAX + 1]);

/* "1.3 of 4.1 GiB, no byte for 20 s" */
void pulls_words(const Pull *pull, char *ret, size_t size);
