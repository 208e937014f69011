#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "crimsg.h"
#include "util.h"

/* Slots: the strings from 1 on, then the rest. */
#define S(string) ((uint8_t) ((string) + 1))

enum {
        SLOT_SANDBOX_ATTEMPT = _CRI_STRING_MAX + 1,
        SLOT_CONTAINER_ATTEMPT,
        SLOT_TIMEOUT,
        SLOT_EXIT_CODE,
        SLOT_ANNOTATION,
        SLOT_KEY,
        SLOT_VALUE,
        SLOT_SANDBOX_METADATA_END,
        SLOT_CONTAINER_METADATA_END,
        SLOT_ITEM_END,
};

#define MESSAGE(name, fields_, end_) const PbMessage name = { fields_, ARRAY_SIZE(fields_), end_ }

static const PbField sandbox_metadata_fields[] = {
        { 1, PB_STRING, S(CRI_POD_NAME), NULL },
        { 2, PB_STRING, S(CRI_POD_UID), NULL },
        { 3, PB_STRING, S(CRI_POD_NAMESPACE), NULL },
        { 4, PB_VARINT, SLOT_SANDBOX_ATTEMPT, NULL },
};
static MESSAGE(sandbox_metadata, sandbox_metadata_fields, SLOT_SANDBOX_METADATA_END);

static const PbField annotation_fields[] = {
        { 1, PB_STRING, SLOT_KEY, NULL },
        { 2, PB_STRING, SLOT_VALUE, NULL },
};
static MESSAGE(annotation, annotation_fields, 0);

static const PbField sandbox_config_fields[] = {
        { 1, PB_MESSAGE, 0, &sandbox_metadata },
        { 7, PB_MESSAGE, SLOT_ANNOTATION, &annotation },
};
static MESSAGE(sandbox_config, sandbox_config_fields, 0);

static const PbField container_metadata_fields[] = {
        { 1, PB_STRING, S(CRI_CONTAINER_NAME), NULL },
        { 2, PB_VARINT, SLOT_CONTAINER_ATTEMPT, NULL },
};
static MESSAGE(container_metadata, container_metadata_fields, SLOT_CONTAINER_METADATA_END);

static const PbField image_fields[] = {
        { 1, PB_STRING, S(CRI_IMAGE), NULL },
        { 18, PB_STRING, S(CRI_IMAGE_USER), NULL },
};
static MESSAGE(image, image_fields, 0);

static const PbField container_config_fields[] = {
        { 1, PB_MESSAGE, 0, &container_metadata },
        { 2, PB_MESSAGE, 0, &image },
};
static MESSAGE(container_config, container_config_fields, 0);

static const PbField run_pod_sandbox_request_fields[] = {
        { 1, PB_MESSAGE, 0, &sandbox_config },
        { 2, PB_STRING, S(CRI_RUNTIME_HANDLER), NULL },
};
MESSAGE(cri_run_pod_sandbox_request, run_pod_sandbox_request_fields, 0);

static const PbField sandbox_id_fields[] = {
        { 1, PB_STRING, S(CRI_SANDBOX_ID), NULL },
};
MESSAGE(cri_sandbox_id_request, sandbox_id_fields, 0);
MESSAGE(cri_sandbox_id_reply, sandbox_id_fields, 0);

static const PbField create_container_request_fields[] = {
        { 1, PB_STRING, S(CRI_SANDBOX_ID), NULL },
        { 2, PB_MESSAGE, 0, &container_config },
        { 3, PB_MESSAGE, 0, &sandbox_config },
};
MESSAGE(cri_create_container_request, create_container_request_fields, 0);

static const PbField container_id_fields[] = {
        { 1, PB_STRING, S(CRI_CONTAINER_ID), NULL },
};
MESSAGE(cri_container_id_request, container_id_fields, 0);
MESSAGE(cri_container_id_reply, container_id_fields, 0);

static const PbField stop_container_request_fields[] = {
        { 1, PB_STRING, S(CRI_CONTAINER_ID), NULL },
        { 2, PB_VARINT, SLOT_TIMEOUT, NULL },
};
MESSAGE(cri_stop_container_request, stop_container_request_fields, 0);

static const PbField exec_sync_request_fields[] = {
        { 1, PB_STRING, S(CRI_CONTAINER_ID), NULL },
        { 3, PB_VARINT, SLOT_TIMEOUT, NULL },
};
MESSAGE(cri_exec_sync_request, exec_sync_request_fields, 0);

static const PbField exec_sync_reply_fields[] = {
        { 3, PB_VARINT, SLOT_EXIT_CODE, NULL },
};
MESSAGE(cri_exec_sync_reply, exec_sync_reply_fields, 0);

static const PbField pull_image_request_fields[] = {
        { 1, PB_MESSAGE, 0, &image },
        { 3, PB_MESSAGE, 0, &sandbox_config },
};
MESSAGE(cri_pull_image_request, pull_image_request_fields, 0);

static const PbField image_request_fields[] = {
        { 1, PB_MESSAGE, 0, &image },
};
MESSAGE(cri_image_request, image_request_fields, 0);

static const PbField pull_image_reply_fields[] = {
        { 1, PB_STRING, S(CRI_IMAGE_REF), NULL },
};
MESSAGE(cri_pull_image_reply, pull_image_reply_fields, 0);

static const PbField sandbox_item_fields[] = {
        { 1, PB_STRING, S(CRI_SANDBOX_ID), NULL },
        { 2, PB_MESSAGE, 0, &sandbox_metadata },
        { 7, PB_STRING, S(CRI_RUNTIME_HANDLER), NULL },
};
static MESSAGE(sandbox_item, sandbox_item_fields, SLOT_ITEM_END);

static const PbField list_sandboxes_fields[] = {
        { 1, PB_MESSAGE, 0, &sandbox_item },
};
MESSAGE(cri_list_sandboxes_reply, list_sandboxes_fields, 0);

static const PbField container_item_fields[] = {
        { 1, PB_STRING, S(CRI_CONTAINER_ID), NULL },
        { 2, PB_STRING, S(CRI_SANDBOX_ID), NULL },
        { 3, PB_MESSAGE, 0, &container_metadata },
        { 4, PB_MESSAGE, 0, &image },
};
static MESSAGE(container_item, container_item_fields, SLOT_ITEM_END);

static const PbField list_containers_fields[] = {
        { 1, PB_MESSAGE, 0, &container_item },
};
MESSAGE(cri_list_containers_reply, list_containers_fields, 0);

void cri_fields_clear(CriFields *fields) {
        for (unsigned i = 0; i < _CRI_STRING_MAX; i++)
                free(fields->s[i]);
        *fields = (CriFields){};
}

static void fill(char *to, size_t size, const char *from) {
        if (!to[0] && from)
                util_copy_bounded(to, size, from, strlen(from));
}

void cri_fields_identity(const CriFields *fields, Identity *identity) {
        char *const *s = fields->s;

        fill(identity->pod_uid, sizeof(identity->pod_uid), s[CRI_POD_UID]);
        fill(identity->pod_name, sizeof(identity->pod_name), s[CRI_POD_NAME]);
        fill(identity->pod_namespace, sizeof(identity->pod_namespace), s[CRI_POD_NAMESPACE]);
        fill(identity->sandbox_id, sizeof(identity->sandbox_id), s[CRI_SANDBOX_ID]);
        fill(identity->container_id, sizeof(identity->container_id), s[CRI_CONTAINER_ID]);
        fill(identity->container_name, sizeof(identity->container_name), s[CRI_CONTAINER_NAME]);
        fill(identity->image, sizeof(identity->image), s[CRI_IMAGE_USER] ? s[CRI_IMAGE_USER] : s[CRI_IMAGE]);
        fill(identity->runtime_handler, sizeof(identity->runtime_handler), s[CRI_RUNTIME_HANDLER]);

        if (!identity->sandbox_attempt_known && fields->sandbox_metadata) {
                identity->sandbox_attempt = fields->sandbox_attempt;
                identity->sandbox_attempt_known = true;
        }
        if (!identity->container_attempt_known && fields->container_metadata) {
                identity->container_attempt = fields->container_attempt;
                identity->container_attempt_known = true;
        }
}

void cri_links_parse(const char *s, CriLinks *ret) {
        CriLinks links = {};

        while (s && *s && links.n < CRIMSG_LINKS_MAX) {
                const char *end = strchrnul(s, ',');
                const char *next = *end ? end + 1 : end;

                while (s < end && (*s == ' ' || *s == '\t'))
                        s++;
                while (end > s && (end[-1] == ' ' || end[-1] == '\t'))
                        end--;
                if (end > s && end - s <= CRIMSG_ANNOTATION_MAX)
                        memcpy(links.key[links.n++], s, (size_t) (end - s));
                s = next;
        }

        *ret = links;
}

static bool equals(const PbValue *value, const char *literal) {
        return !value->cut && value->len == strlen(literal) && memcmp(value->s, literal, value->len) == 0;
}

static int annotation_slot(const CriScan *scan, const PbValue *key) {
        if (equals(key, "kubernetes.io/config.seen"))
                return CRI_CONFIG_SEEN;
        if (equals(key, "kubernetes.io/config.source"))
                return CRI_CONFIG_SOURCE;
        for (unsigned i = 0; scan->links && i < scan->links->n; i++)
                if (equals(key, scan->links->key[i]))
                        return CRI_LINK_0 + (int) i;
        return -1;
}

/* The last one of a field counts, as protobuf says. Without memory the old value goes: better none than a wrong one. */
static void store(CriFields *fields, unsigned string, const PbValue *value) {
        char *s = NULL;

        if (value->len > 0) {
                size_t size = MIN(value->len, (size_t) CRIMSG_VALUE_MAX) + 1;

                s = malloc(size);
                if (s)
                        util_copy_bounded(s, size, value->s, value->len);
        }
        free(fields->s[string]);
        fields->s[string] = s;
}

static void on_field(void *userdata, uint8_t slot, const PbValue *value) {
        CriScan *scan = userdata;
        CriFields *fields = scan->fields;

        if (slot <= _CRI_STRING_MAX) {
                store(fields, slot - 1U, value);
                return;
        }

        switch (slot) {
        case SLOT_SANDBOX_ATTEMPT:
                fields->sandbox_attempt = (uint32_t) value->number;
                break;
        case SLOT_CONTAINER_ATTEMPT:
                fields->container_attempt = (uint32_t) value->number;
                break;
        case SLOT_TIMEOUT:
                fields->timeout_s = (int64_t) value->number;
                fields->has_timeout = true;
                break;
        case SLOT_EXIT_CODE:
                fields->exit_code = (int32_t) value->number;
                break;
        case SLOT_SANDBOX_METADATA_END:
                fields->sandbox_metadata = true;
                break;
        case SLOT_CONTAINER_METADATA_END:
                fields->container_metadata = true;
                break;
        case SLOT_ANNOTATION:
                scan->wanted = -1;
                break;
        case SLOT_KEY:
                scan->wanted = (int8_t) annotation_slot(scan, value);
                break;
        case SLOT_VALUE:
                if (scan->wanted >= 0)
                        store(fields, (unsigned) scan->wanted, value);
                break;
        case SLOT_ITEM_END:
                if (scan->item)
                        scan->item(scan->userdata, fields);
                cri_fields_clear(fields);
                break;
        default:
                break;
        }
}

void cri_scan_init(CriScan *scan, const PbMessage *message, uint64_t len, CriFields *fields, const CriLinks *links,
                   CriItemFn item, void *userdata) {
        scan->fields = fields;
        scan->links = links;
        scan->item = item;
        scan->userdata = userdata;
        scan->wanted = -1;
        pbscan_init(&scan->pb, message, len, on_field, scan);
}

int cri_scan_feed(CriScan *scan, const uint8_t *data, size_t len) {
        return pbscan_feed(&scan->pb, data, len);
}

int cri_scan_finish(CriScan *scan) {
        return pbscan_finish(&scan->pb);
}

void cri_fields_pack(const CriFields *fields, Pack *pack) {
        for (unsigned i = 0; i < _CRI_STRING_MAX; i++)
                pack_string(pack, fields->s[i]);
        pack_number(pack, fields->sandbox_attempt);
        pack_number(pack, fields->container_attempt);
        pack_number(pack, (uint64_t) fields->timeout_s);
        pack_number(pack, fields->sandbox_metadata);
        pack_number(pack, fields->container_metadata);
        pack_number(pack, fields->has_timeout);
}

void cri_fields_unpack(Unpack *unpack, CriFields *ret) {
        for (unsigned i = 0; i < _CRI_STRING_MAX; i++)
                ret->s[i] = unpack_string(unpack, CRIMSG_VALUE_MAX);
        ret->sandbox_attempt = (uint32_t) unpack_number(unpack, UINT32_MAX);
        ret->container_attempt = (uint32_t) unpack_number(unpack, UINT32_MAX);
        ret->timeout_s = (int64_t) unpack_number(unpack, UINT64_MAX);
        ret->sandbox_metadata = unpack_bool(unpack);
        ret->container_metadata = unpack_bool(unpack);
        ret->has_timeout = unpack_bool(unpack);
}

void cri_scan_pack(const CriScan *scan, Pack *pack) {
        pack_number(pack, (uint64_t) (scan->wanted + 1));
        pbscan_pack(&scan->pb, pack);
}

int cri_scan_unpack(CriScan *scan, Unpack *unpack) {
        scan->wanted = (int8_t) ((int) unpack_number(unpack, _CRI_STRING_MAX) - 1);
        return pbscan_unpack(&scan->pb, unpack);
}

/* Days from 1970-01-01 to a date of the Gregorian calendar, by counting leap days in whole years before it. */
static int64_t days_from_epoch(unsigned year, unsigned month, unsigned day) {
        static const uint16_t before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        int64_t y = (int64_t) year - 1;

        return y * 365 + y / 4 - y / 100 + y / 400 - 719162 + before[month - 1] + (leap && month > 2) + (day - 1);
}

static int digits(const char **s, const char *end, unsigned n, unsigned *ret) {
        unsigned v = 0;

        if ((size_t) (end - *s) < n)
                return -EBADMSG;
        for (unsigned i = 0; i < n; i++) {
                char c = *(*s)++;

                if (c < '0' || c > '9')
                        return -EBADMSG;
                v = v * 10 + (unsigned) (c - '0');
        }
        *ret = v;
        return 0;
}

static int literal(const char **s, const char *end, char c) {
        if (*s == end || **s != c)
                return -EBADMSG;
        (*s)++;
        return 0;
}

static bool date_valid(unsigned year, unsigned month, unsigned day) {
        static const uint8_t length[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

        return month >= 1 && month <= 12 && day >= 1 && day <= (unsigned) length[month - 1] + (leap && month == 2);
}

int cri_time_parse(const char *s, size_t len, uint64_t *ret_ns) {
        const char *end = s + len;
        unsigned year, month, day, hour, minute, second, nanosecond = 0, offset_hour = 0, offset_minute = 0;
        int64_t t, offset = 0;

        if (digits(&s, end, 4, &year) < 0 || literal(&s, end, '-') < 0 || digits(&s, end, 2, &month) < 0 ||
            literal(&s, end, '-') < 0 || digits(&s, end, 2, &day) < 0 || literal(&s, end, 'T') < 0 ||
            digits(&s, end, 2, &hour) < 0 || literal(&s, end, ':') < 0 || digits(&s, end, 2, &minute) < 0 ||
            literal(&s, end, ':') < 0 || digits(&s, end, 2, &second) < 0)
                return -EBADMSG;
        if (!date_valid(year, month, day) || hour > 23 || minute > 59 || second > 60)
                return -EBADMSG;

        if (s < end && *s == '.') {
                unsigned scale = NSEC_PER_SEC / 10, n = 0;

                for (s++; s < end && *s >= '0' && *s <= '9'; s++, n++) {
                        nanosecond += (unsigned) (*s - '0') * scale;
                        scale /= 10;
                }
                if (n == 0 || n > 9)
                        return -EBADMSG;
        }

        if (s == end)
                return -EBADMSG;
        if (*s == '+' || *s == '-') {
                bool west = *s++ == '-';

                if (digits(&s, end, 2, &offset_hour) < 0 || literal(&s, end, ':') < 0 ||
                    digits(&s, end, 2, &offset_minute) < 0 || offset_hour > 23 || offset_minute > 59)
                        return -EBADMSG;
                offset = (int64_t) offset_hour * 3600 + offset_minute * 60;
                if (west)
                        offset = -offset;
        } else if (*s++ != 'Z')
                return -EBADMSG;
        if (s != end)
                return -EBADMSG;

        t = days_from_epoch(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
        if (t < 0 || t >= INT64_MAX / (int64_t) NSEC_PER_SEC)
                return -EBADMSG;

        *ret_ns = (uint64_t) t * NSEC_PER_SEC + nanosecond;
        return 0;
}
