#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "trim.h"
#include "util.h"

#define ANONYMOUS    "Anonymous:"
#define MAPPINGS_MAX 128 /* of files; what is more is left */

typedef struct Mapping {
        uintptr_t begin, end;
        bool of_file; /* read-only, private, of a file */
} Mapping;

/* The first line of a mapping in proc(5)'s smaps. */
static bool parse_mapping(const char *line, Mapping *ret) {
        unsigned long inode;
        Mapping mapping;
        char rights[5];

        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*x %*x:%*x %lu", &mapping.begin, &mapping.end, rights,
                   &inode) != 4)
                return false;
        mapping.of_file = inode != 0 && rights[0] == 'r' && rights[1] == '-' && rights[3] == 'p';
        *ret = mapping;
        return true;
}

/* What is as the file has it: relocated pages are read-only, too, and would be lost. Returns the number. */
static size_t find_mappings(Mapping ret[static MAPPINGS_MAX]) {
        _cleanup_free_ char *line = NULL;
        FILE *file = fopen("/proc/self/smaps", "re");
        Mapping mapping = {};
        size_t size = 0, n = 0;

        if (!file)
                return 0;
        while (n < MAPPINGS_MAX && getline(&line, &size, file) > 0) {
                if (parse_mapping(line, &mapping) || !mapping.of_file ||
                    strncmp(line, ANONYMOUS, strlen(ANONYMOUS)) != 0)
                        continue;
                if (strtoul(line + strlen(ANONYMOUS), NULL, 10) == 0)
                        ret[n++] = mapping;
        }
        (void) fclose(file);
        return n;
}

void trim_memory(void) {
        Mapping mappings[MAPPINGS_MAX];
        size_t n = find_mappings(mappings);

        (void) malloc_trim(0);
        /* Last: where the library is linked in, whatever runs after this brings its own pages back. */
        for (size_t i = 0; i < n; i++)
                (void) madvise((void *) mappings[i].begin, mappings[i].end - mappings[i].begin, MADV_DONTNEED);
}
