#include <string.h>
#include "exportwire.h"
#include "retry.h"

/* One item of a set-up: this, and @size bytes of text, the last of which is its only NUL. */
typedef struct Item {
        uint32_t kind;
        uint32_t size;
} Item;

typedef enum Kind {
        KIND_TARGET = 1,
        KIND_TLS,
        KIND_GZIP,
        KIND_ROOTS,
        KIND_CERTIFICATE,
        KIND_KEY,
        KIND_HEADER_NAME,
        KIND_HEADER_VALUE,
} Kind;

typedef struct Writer {
        uint8_t *data; /* NULL: only measured */
        size_t size;
} Writer;

static void put(Writer *writer, Kind kind, const char *s) {
        Item item;

        if (!s)
                return;

        item = (Item){ .kind = kind, .size = (uint32_t) MIN(strlen(s) + 1, (size_t) UINT32_MAX) };
        if (writer->data) {
                memcpy(writer->data + writer->size, &item, sizeof(item));
                memcpy(writer->data + writer->size + sizeof(item), s, item.size);
        }
        writer->size += sizeof(item) + item.size;
}

static void put_all(Writer *writer, const ExportwireSetup *setup) {
        put(writer, KIND_TARGET, setup->target);
        put(writer, KIND_TLS, setup->tls ? "" : NULL);
        put(writer, KIND_GZIP, setup->gzip ? "" : NULL);
        put(writer, KIND_ROOTS, setup->roots);
        put(writer, KIND_CERTIFICATE, setup->certificate);
        put(writer, KIND_KEY, setup->key);
        for (size_t i = 0; i < setup->n_headers; i++) {
                put(writer, KIND_HEADER_NAME, setup->headers[i].name);
                put(writer, KIND_HEADER_VALUE, setup->headers[i].value);
        }
}

int exportwire_setup_pack(const ExportwireSetup *setup, uint8_t **ret, size_t *ret_size) {
        Writer writer = {};

        put_all(&writer, setup);
        if (writer.size > EXPORTWIRE_SETUP_MAX)
                return -E2BIG;

        writer.data = malloc(MAX(writer.size, (size_t) 1));
        if (!writer.data)
                return -ENOMEM;
        writer.size = 0;
        put_all(&writer, setup);

        *ret = writer.data;
        *ret_size = writer.size;
        return 0;
}

static int take(ExportwireSetup *setup, uint32_t kind, const char *text) {
        ExportwireHeader *header;

        switch (kind) {
        case KIND_TARGET:
                setup->target = text;
                return 0;
        case KIND_TLS:
                setup->tls = true;
                return 0;
        case KIND_GZIP:
                setup->gzip = true;
                return 0;
        case KIND_ROOTS:
                setup->roots = text;
                return 0;
        case KIND_CERTIFICATE:
                setup->certificate = text;
                return 0;
        case KIND_KEY:
                setup->key = text;
                return 0;
        case KIND_HEADER_NAME:
                if (setup->n_headers == ARRAY_SIZE(setup->headers))
                        return -EBADMSG;
                setup->headers[setup->n_headers++].name = text;
                return 0;
        case KIND_HEADER_VALUE:
                header = setup->n_headers > 0 ? setup->headers + setup->n_headers - 1 : NULL;
                if (!header || header->value)
                        return -EBADMSG;
                header->value = text;
                return 0;
        default:
                return -EBADMSG;
        }
}

int exportwire_setup_parse(const uint8_t *data, size_t size, ExportwireSetup *ret) {
        ExportwireSetup setup = {};
        size_t at = 0;
        Item item;
        int r;

        if (size > EXPORTWIRE_SETUP_MAX)
                return -EBADMSG;

        while (at < size) {
                if (size - at < sizeof(item))
                        return -EBADMSG;
                memcpy(&item, data + at, sizeof(item));
                at += sizeof(item);
                if (item.size == 0 || item.size > size - at ||
                    memchr(data + at, '\0', item.size) != data + at + item.size - 1)
                        return -EBADMSG;
                r = take(&setup, item.kind, (const char *) data + at);
                if (r < 0)
                        return r;
                at += item.size;
        }

        if (!setup.target)
                return -EBADMSG;
        for (size_t i = 0; i < setup.n_headers; i++)
                if (!setup.headers[i].value)
                        return -EBADMSG;

        *ret = setup;
        return 0;
}

int exportwire_order_parse(const void *data, size_t size, ExportwireOrder *ret) {
        ExportwireOrder order;

        if (size != sizeof(order))
                return -EBADMSG;
        memcpy(&order, data, sizeof(order));
        if (order.type == EXPORTWIRE_SETUP ? order.size > EXPORTWIRE_SETUP_MAX
                                           : order.type != EXPORTWIRE_START || order.size > EXPORTWIRE_REQUEST_MAX)
                return -EBADMSG;

        *ret = order;
        return 0;
}

static bool text_valid(const char *s) {
        size_t len = strnlen(s, EXPORTWIRE_MESSAGE_MAX);

        return len < EXPORTWIRE_MESSAGE_MAX && util_utf8_valid(s, len);
}

int exportwire_answer_parse(const void *data, size_t size, ExportwireAnswer *ret) {
        ExportwireAnswer answer;

        if (size != sizeof(answer))
                return -EBADMSG;
        memcpy(&answer, data, sizeof(answer));
        if (answer.type != EXPORTWIRE_ANSWER || answer.code >= _GRPC_STATUS_MAX || answer.local > 1 ||
            answer.told > 1 || answer.response_bad > 1 || answer.delay_ns > RETRY_INFO_MAX_NS ||
            !text_valid(answer.message) || !text_valid(answer.partial))
                return -EBADMSG;

        *ret = answer;
        return 0;
}

void exportwire_set_text(char ret[static EXPORTWIRE_MESSAGE_MAX], const char *s, size_t len) {
        util_copy_bounded(ret, EXPORTWIRE_MESSAGE_MAX, s, len);
        if (util_utf8_valid(ret, strlen(ret)))
                return;

        for (char *p = ret; *p; p++)
                if ((unsigned char) *p >= 0x80)
                        *p = '?';
}
