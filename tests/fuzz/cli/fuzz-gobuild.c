#include <string.h>
#include "gobuild.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct File {
        const uint8_t *data;
        size_t size;
        uint64_t reads;
} File;

static ssize_t read_memory(void *userdata, uint64_t offset, void *buf, size_t n) {
        File *file = userdata;

        file->reads++;
        if (offset >= file->size)
                return 0;
        if (n > file->size - offset)
                n = file->size - (size_t) offset;
        memcpy(buf, file->data + offset, n);
        return (ssize_t) n;
}

/* Whatever the file says, it is read a bounded number of times, and what comes out are strings. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        File file = { data, size, 0 };
        Gobuild info;

        if (gobuild_read(read_memory, &file, &info) >= 0 &&
            (strnlen(info.path, sizeof(info.path)) == sizeof(info.path) ||
             strnlen(info.version, sizeof(info.version)) == sizeof(info.version)))
                abort();
        if (file.reads > 2 * GOBUILD_SECTIONS_MAX + 4)
                abort();
        gobuild_parse_text((const char *) data, size, &info);
        return 0;
}
