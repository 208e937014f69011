/* A spool file: whatever it says, what comes out can be taken in again, with the same number of spans. */

#include "ingest.h"

typedef struct Again {
        Ingest *ingest;
        size_t n;
} Again;

static int on_chunk(IngestTarget target, const uint8_t *data, size_t size, const IngestRow *rows, size_t n_rows,
                    void *userdata) {
        Again *again = userdata;
        size_t n, n_invalid;
        IngestRow *got;

        (void) target;
        (void) rows;

        if (ingest_parse(again->ingest, data, size, &got, &n, &n_invalid) != 0 || n != n_rows || n_invalid != 0)
                abort();
        again->n += n;
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const IngestSettings settings = {
                .host_name = "h", .node_name = "n", .service_name = "", .resource_attributes = "a=b", .chunk_max = 1024
        };
        static Ingest *ingest;
        static Again again;
        size_t n, n_invalid, n_too_large;
        IngestRow *rows;

        if (!ingest && (ingest_new(&settings, &ingest) < 0 || ingest_new(&settings, &again.ingest) < 0))
                abort();
        if (ingest_parse(ingest, data, size, &rows, &n, &n_invalid) < 0)
                return 0;

        again.n = 0;
        for (size_t i = 0; i < n; i += 3)
                rows[i].kept = "error";
        for (int target = INGEST_LOCAL; target <= INGEST_EXPORT; target++)
                if (ingest_encode(ingest, (IngestTarget) target, on_chunk, &again, &n_too_large) < 0)
                        return 0;
        if (again.n != n)
                abort();
        return 0;
}
