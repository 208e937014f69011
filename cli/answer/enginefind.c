#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include "enginefind.h"

/* Calls @fn for each socket of the process, until it says true. */
static bool each_socket(pid_t pid, bool (*fn)(uint64_t ino, void *userdata), void *userdata) {
        char path[48], link[64];
        const struct dirent *entry;
        size_t n_seen = 0;
        bool found = false;
        DIR *dir;

        (void) snprintf(path, sizeof(path), "/proc/%d/fd", (int) pid);
        dir = opendir(path);
        while (dir && !found && (entry = readdir(dir)) && n_seen++ < ENGINEFIND_FDS_MAX) {
                ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);
                uint64_t ino;

                if (n <= 0)
                        continue;
                link[n] = '\0';
                ino = procfile_link_inode(link, "socket");
                found = ino != 0 && fn(ino, userdata);
        }
        if (dir)
                (void) closedir(dir);
        return found;
}

static bool is_socket(uint64_t ino, void *userdata) {
        return ino == *(const uint64_t *) userdata;
}

typedef struct Search {
        const Proc *const *engines;
        size_t n_engines;
        const Sockdiag *diag;
        const Proc *found;
} Search;

static bool look_at(uint64_t ino, void *userdata) {
        Search *search = userdata;
        const SockdiagSocket *socket = sockdiag_find(search->diag, ino), *other;
        uint64_t other_ino;

        /* A client's socket has no name: kubelet's connections bear that of podspan-cri. */
        if (!socket || *socket->name)
                return false;
        other = socket->peer != 0 ? sockdiag_find(search->diag, socket->peer) : sockdiag_listener_of(search->diag, ino);
        if (!other || !*other->name)
                return false;
        other_ino = other->ino;
        for (size_t i = 0; i < search->n_engines; i++)
                if (each_socket(search->engines[i]->stat.pid, is_socket, &other_ino)) {
                        search->found = search->engines[i];
                        return true;
                }
        return false;
}

const Proc *enginefind_of(pid_t pid, const Proc *const *engines, size_t n_engines, const Sockdiag *diag) {
        Search search = { engines, n_engines, diag, NULL };

        (void) each_socket(pid, look_at, &search);
        return search.found;
}
