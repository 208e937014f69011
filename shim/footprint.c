#include <elf.h>
#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>
#include "footprint.h"

/* Segments that are only read have nothing in them that the file does not have. */
static void trim_segment(uintptr_t begin, size_t size, uintptr_t page) {
        uintptr_t end = begin + size;

        begin = (begin + page - 1) & ~(page - 1);
        end &= ~(page - 1);
        if (end > begin)
                (void) madvise((void *) begin, end - begin, MADV_DONTNEED);
}

void footprint_trim(void) {
        const ElfW(Phdr) *headers = (const ElfW(Phdr) *) getauxval(AT_PHDR);
        size_t n = getauxval(AT_PHNUM);
        uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE), base = 0;

        (void) malloc_trim(0);
        if (!headers)
                return;

        /* Where the program is, if not where it was linked for. */
        for (size_t i = 0; i < n; i++)
                if (headers[i].p_type == PT_PHDR)
                        base = (uintptr_t) headers - headers[i].p_vaddr;
        for (size_t i = 0; i < n; i++)
                if (headers[i].p_type == PT_LOAD && !(headers[i].p_flags & PF_W))
                        trim_segment(base + headers[i].p_vaddr, headers[i].p_memsz, page);
}
