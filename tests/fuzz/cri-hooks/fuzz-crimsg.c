#include <string.h>
#include "crimsg.h"
#include "grpcmsg.h"
#include "util.h"

/* A stream of gRPC messages read as one of the CRI's; the first byte says which, the second how it comes in pieces. */

static void on_item(void *userdata, const CriFields *item) {
        Identity identity = {};

        cri_fields_identity(item, &identity);
        (*(unsigned *) userdata)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const PbMessage *const messages[] = {
                &cri_run_pod_sandbox_request, &cri_create_container_request, &cri_pull_image_request,
                &cri_exec_sync_request,       &cri_list_sandboxes_reply,     &cri_list_containers_reply,
        };
        CriFields fields = CRI_FIELDS_NULL;
        const PbMessage *message;
        Identity identity = {};
        unsigned n_items = 0;
        GrpcMsg msg = {};
        bool active = false;
        CriLinks links;
        CriScan scan;
        size_t step;

        if (size < 2)
                return 0;
        message = messages[data[0] % ARRAY_SIZE(messages)];
        step = data[1] ? data[1] : size;
        cri_links_parse("tracing.k8s.io/traceparent,a", &links);

        for (size_t at = 2; at < size; at += step) {
                size_t len = MIN(step, size - at), n;
                const uint8_t *p = data + at, *chunk;
                int r;

                while ((r = grpcmsg_next(&msg, &p, &len, &chunk, &n)) > GRPCMSG_NONE)
                        switch (r) {
                        case GRPCMSG_BEGIN:
                                cri_scan_init(&scan, message, msg.left, &fields, &links, on_item, &n_items);
                                active = true;
                                break;
                        case GRPCMSG_CHUNK:
                                if (!active)
                                        abort();
                                (void) cri_scan_feed(&scan, chunk, n);
                                break;
                        default:
                                (void) cri_scan_finish(&scan);
                                active = false;
                                break;
                        }
                if (r < 0)
                        break;
        }

        for (unsigned i = 0; i < _CRI_STRING_MAX; i++)
                if (fields.s[i] && strlen(fields.s[i]) > CRIMSG_VALUE_MAX)
                        abort();
        cri_fields_identity(&fields, &identity);
        cri_fields_clear(&fields);
        return 0;
}
