#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "healthcheck.h"
#include "util.h"

#define LINE_MAX_SIZE 4096

/* podman's global options without a value; each other one has its value behind "=" or in the next word. */
static const char *const flags[] = {
        "--help", "-h", "--noout", "--remote", "-r", "--syslog", "--trace", "--transient-store", "--version", "-v",
};

/* The word at *@at, which ends in NUL within @end; NULL: there is none. */
static const char *next_word(const char **at, const char *end) {
        const char *word = *at, *nul = word < end ? memchr(word, '\0', (size_t) (end - word)) : NULL;

        if (!nul)
                return NULL;
        *at = nul + 1;
        return word;
}

static bool has_value(const char *option) {
        if (strchr(option, '='))
                return false;
        /* -cNAME */
        if (option[1] != '-' && strlen(option) > 2)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
                if (strcmp(option, flags[i]) == 0)
                        return false;
        return true;
}

bool healthcheck_line(const char *words, size_t size) {
        const char *end = words + size, *word;

        assert(words || size == 0);

        /* The program: it may be called anything. */
        if (!next_word(&words, end))
                return false;

        while ((word = next_word(&words, end)) && word[0] == '-' && word[1] != '\0') {
                /* Behind "--" there are no options. */
                if (strcmp(word, "--") == 0) {
                        word = next_word(&words, end);
                        break;
                }
                if (has_value(word) && !next_word(&words, end))
                        return false;
        }
        if (!word || strcmp(word, "healthcheck") != 0)
                return false;

        word = next_word(&words, end);
        return word && strcmp(word, "run") == 0;
}

bool healthcheck_process(pid_t pid) {
        _cleanup_close_ int fd = -EBADF;
        char path[64], words[LINE_MAX_SIZE];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/%d/cmdline", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, words, sizeof(words));
        return n > 0 && healthcheck_line(words, (size_t) n);
}
