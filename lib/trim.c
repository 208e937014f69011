#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "trim.h"
#include "util.h"

#define ANONYMOUS "Anonymous:"

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

static void give_back_mappings(void) {
        _cleanup_free_ char *line = NULL;
        FILE *file = fopen("/proc/self/smaps", "re");
        Mapping mapping = {};
        size_t size = 0;

        if (!file)
                return;
        while (getline(&line, &size, file) > 0) {
                if (parse_mapping(line, &mapping) || !mapping.of_file ||
                    strncmp(line, ANONYMOUS, strlen(ANONYMOUS)) != 0)
                        continue;
                /* Only what is as the file has it: relocated pages are read-only, too, and would be lost. */
                if (strtoul(line + strlen(ANONYMOUS), NULL, 10) == 0)
                        (void) madvise((void *) mapping.begin, mapping.end - mapping.begin, MADV_DONTNEED);
        }
        (void) fclose(file);
}

void trim_memory(void) {
        give_back_mappings();
        (void) malloc_trim(0);
}
