#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "clk.h"
#include "pulls.h"
#include "text.h"

#define FDS_MAX  4096
#define QUIET_NS (3 * NSEC_PER_SEC) /* silence that is worth a word */

enum { LINK_OTHER, LINK_INGEST, LINK_BLOB, LINK_BIG_FILE };

static bool ends_with(const char *s, const char *suffix) {
        size_t n = strlen(s), suffix_n = strlen(suffix);

        return n >= suffix_n && strcmp(s + n - suffix_n, suffix) == 0;
}

int pulls_link(const char *link, char ret_digest[static PULLS_DIGEST_MAX + 1]) {
        static const char blobs[] = "/io.containerd.content.v1.content/blobs/sha256/",
                          big[] = "/container_images_storage";
        const char *at;

        *ret_digest = '\0';
        if (*link != '/')
                return LINK_OTHER;
        if (strstr(link, "/io.containerd.content.v1.content/ingest/") && ends_with(link, "/data"))
                return LINK_INGEST;
        at = strstr(link, blobs);
        if (at) {
                at += sizeof(blobs) - 1;
                if (strlen(at) != 64 || strspn(at, "0123456789abcdef") != 64)
                        return LINK_OTHER;
                (void) snprintf(ret_digest, PULLS_DIGEST_MAX + 1, "sha256:%.64s", at);
                return LINK_BLOB;
        }
        at = strstr(link, big);
        if (at) {
                /* container_images_storageNNN/K */
                at += sizeof(big) - 1;
                at += strspn(at, "0123456789");
                if (*at == '/' && at[1] && at[1 + strspn(at + 1, "0123456789")] == '\0')
                        return LINK_BIG_FILE;
        }
        return LINK_OTHER;
}

/* A small file beside the data. */
static size_t read_beside(const char *link, const char *name, char *ret, size_t size) {
        char path[4200];
        const char *slash = strrchr(link, '/');
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        (void) snprintf(path, sizeof(path), "%.*s/%s", (int) (slash - link), link, name);
        fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, ret, size - 1);
        ret[MAX(n, 0)] = '\0';
        return n > 0 ? (size_t) n : 0;
}

static bool read_fdinfo(int dir_fd, const char *number, ProcfileFdinfo *ret) {
        char path[48], text[PROCFILE_SMALL_MAX];
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        (void) snprintf(path, sizeof(path), "../fdinfo/%.20s", number);
        fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof(text));
        return n > 0 && procfile_fdinfo(text, (size_t) n, ret) == 0;
}

/* "k8s.io/1/layer-sha256:DIGEST", as containerd names a download. */
static void read_ref(const char *link, Pull *pull) {
        char text[512];
        const char *at;

        (void) read_beside(link, "ref", text, sizeof(text));
        at = strstr(text, "sha256:");
        if (at && strspn(at + 7, "0123456789abcdef") >= 64)
                (void) snprintf(pull->digest, sizeof(pull->digest), "%.71s", at);
        if (read_beside(link, "total", text, sizeof(text)) > 0)
                (void) util_parse_u64(text, strcspn(text, "\n"), &pull->total);
}

/* In the child, which may ask the engine's own file system. */
static bool read_pull(int dir_fd, const char *number, const char *link, Pull *ret) {
        uint64_t now = clk_realtime(), changed;
        ProcfileFdinfo info;
        struct stat st;
        Pull pull = {};
        int kind = pulls_link(link, pull.digest);

        if (kind == LINK_OTHER || !read_fdinfo(dir_fd, number, &info) || fstatat(dir_fd, number, &st, 0) < 0 ||
            !S_ISREG(st.st_mode))
                return false;
        changed = (uint64_t) st.st_mtim.tv_sec * NSEC_PER_SEC + (uint64_t) st.st_mtim.tv_nsec;
        pull.quiet_ns = now > changed ? now - changed : 0;
        pull.bytes = (uint64_t) st.st_size;
        /* A blob that is read from its begin to its end, or a big file that is read again, is unpacked. */
        if (kind == LINK_BLOB || (kind == LINK_BIG_FILE && (info.flags & O_ACCMODE) == O_RDONLY)) {
                pull.unpacks = true;
                pull.total = (uint64_t) st.st_size;
                pull.position_known = info.pos > 0;
                pull.bytes = info.pos;
        } else if (kind == LINK_INGEST)
                read_ref(link, &pull);
        *ret = pull;
        return true;
}

static void read_all(int out, void *userdata) {
        const Proc *engine = userdata;
        char path[48], link[4096];
        const struct dirent *entry;
        size_t n_seen = 0, n_found = 0;
        DIR *dir;

        (void) snprintf(path, sizeof(path), "/proc/%d/fd", (int) engine->stat.pid);
        dir = opendir(path);
        while (dir && (entry = readdir(dir)) && n_seen++ < FDS_MAX && n_found < PULLS_MAX) {
                ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);
                Pull pull;

                if (n <= 0)
                        continue;
                link[n] = '\0';
                if (read_pull(dirfd(dir), entry->d_name, link, &pull)) {
                        n_found++;
                        if (util_write_all(out, &pull, sizeof(pull)) < 0)
                                return;
                }
        }
}

void pulls_read(Asides *asides, const Proc *engine, Pulls *ret) {
        union {
                const void *in;
                void *out;
        } userdata = { .in = engine };
        ssize_t n;

        *ret = (Pulls){};
        n = aside_ask(asides, read_all, userdata.out, ret->pulls, sizeof(ret->pulls));
        ret->known = n >= 0;
        ret->n = n > 0 ? (size_t) n / sizeof(*ret->pulls) : 0;
}

void pulls_words(const Pull *pull, char *ret, size_t size) {
        char bytes[TEXT_SIZE_MAX], total[TEXT_SIZE_MAX], quiet[TEXT_DURATION_MAX];
        size_t n;

        text_size(pull->bytes, bytes);
        text_size(pull->total, total);
        text_duration(pull->quiet_ns, quiet);
        if (pull->unpacks && !pull->position_known)
                n = (size_t) snprintf(ret, size, "unpacking %s for %s", total, quiet);
        else if (pull->unpacks)
                n = (size_t) snprintf(ret, size, "unpacked %s of %s", bytes, total);
        else if (pull->total > 0)
                n = (size_t) snprintf(ret, size, "%s of %s", bytes, total);
        else
                n = (size_t) snprintf(ret, size, "%s of a size that is not known", bytes);
        if (!pull->unpacks && pull->quiet_ns >= QUIET_NS && n < size)
                (void) snprintf(ret + n, size - n, ", no byte for %s", quiet);
}
