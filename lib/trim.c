#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include "trim.h"
#include "util.h"

static int trim_object(struct dl_phdr_info *info, size_t size, void *userdata) {
        uintptr_t page = (uintptr_t) getpagesize();

        (void) size;
        (void) userdata;
        for (size_t i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
                uintptr_t begin = (info->dlpi_addr + segment->p_vaddr) & ~(page - 1);
                uintptr_t end = info->dlpi_addr + segment->p_vaddr + segment->p_filesz;

                /* Only what is as the file has it: a page that was written to would be lost. */
                if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W) && end > begin)
                        (void) madvise((void *) begin, end - begin, MADV_DONTNEED);
        }
        return 0;
}

void trim_memory(void) {
        (void) malloc_trim(0);
        (void) dl_iterate_phdr(trim_object, NULL);
}
