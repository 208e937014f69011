#include <stdlib.h>
#include <string.h>
#include "podof.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_id(const char *id) {
        if (*id && !util_id_valid(id))
                abort();
}

/* A command line and an environment, which a process writes as it likes: ids are ids, and only CNI's variables are
 * kept. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char kept[PODOF_ENVIRON_MAX], *exact = malloc(size > 0 ? size : 1);
        Podof podof;
        size_t n;

        if (!exact)
                return 0;
        if (size > 0)
                memcpy(exact, data, size);
        for (int kind = 0; kind < _PODOF_KIND_MAX; kind++) {
                podof_cmdline((PodofKind) kind, exact, size, &podof);
                check_id(podof.id);
                check_id(podof.pod_uid);
        }
        n = podof_filter(exact, size, kept);
        if (n > sizeof(kept) || (n > 0 && strncmp(kept, "CNI_", 4) != 0))
                abort();
        podof = (Podof){};
        podof_environ(kept, n, &podof);
        check_id(podof.id);
        check_id(podof.pod_uid);
        if (!util_utf8_valid(podof.pod_name, strlen(podof.pod_name)))
                abort();
        free(exact);
        return 0;
}
