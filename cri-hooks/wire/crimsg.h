#pragma once

/*
 * Identity in CRI messages
 *
 * Which fields of which CRI messages say whose work a call is, by field number (k8s.io/cri-api, runtime/v1/api.proto;
 * v1alpha2 has the same numbers), and their collection through pbscan. Never looked at: AuthConfig, environment,
 * command, arguments, mounts, labels, annotations other than those asked for. No I/O.
 */

#include "identity.h"
#include "pbscan.h"

#define CRIMSG_LINKS_MAX      4   /* annotation keys that name a trace to link to */
#define CRIMSG_ANNOTATION_MAX 253 /* characters of such a key */
#define CRIMSG_VALUE_MAX      511 /* bytes of any value kept */

/* Strings a message may hold; the index into CriFields.s. */
typedef enum CriString {
        CRI_POD_UID,
        CRI_POD_NAME,
        CRI_POD_NAMESPACE,
        CRI_SANDBOX_ID,
        CRI_CONTAINER_ID,
        CRI_CONTAINER_NAME,
        CRI_IMAGE,
        CRI_IMAGE_USER, /* what the pod's author wrote, where IMAGE has become a digest */
        CRI_IMAGE_REF,  /* reply to PullImage */
        CRI_RUNTIME_HANDLER,
        CRI_CONFIG_SEEN,   /* annotation kubernetes.io/config.seen */
        CRI_CONFIG_SOURCE, /* annotation kubernetes.io/config.source */
        CRI_LINK_0,        /* the configured link annotations */
        _CRI_STRING_MAX = CRI_LINK_0 + CRIMSG_LINKS_MAX,
} CriString;

typedef struct CriFields {
        char *s[_CRI_STRING_MAX]; /* owned; NULL: not known */
        uint32_t sandbox_attempt;
        uint32_t container_attempt;
        int64_t timeout_s;     /* StopContainer, ExecSync, CheckpointContainer */
        int32_t exit_code;     /* reply to ExecSync; CRI-O says -1 after a timeout. Not packed: the end is next */
        bool sandbox_metadata; /* read whole, so that an attempt of 0 is known */
        bool container_metadata;
        bool has_timeout;
} CriFields;

#define CRI_FIELDS_NULL \
        {}

void cri_fields_clear(CriFields *fields);

/* Fills the fields of @identity that are empty there and known here. */
void cri_fields_identity(const CriFields *fields, Identity *identity);

/* The annotations that name a trace: comma-separated keys, blanks around them allowed. */
typedef struct CriLinks {
        char key[CRIMSG_LINKS_MAX][CRIMSG_ANNOTATION_MAX + 1];
        unsigned n;
} CriLinks;

/* Parses @s; what is beyond the limits is left out. */
void cri_links_parse(const char *s, CriLinks *ret);

typedef struct CriScan CriScan;
typedef void (*CriItemFn)(void *userdata, const CriFields *item);

struct CriScan {
        PbScan pb;
        CriFields *fields;     /* borrowed: filled */
        const CriLinks *links; /* borrowed; may be NULL */
        CriItemFn item;        /* for List replies: called for each item, @fields is then cleared */
        void *userdata;
        int8_t wanted; /* the CriString the current annotation's key names, or -1 */
};

/* The messages that can be scanned. */
extern const PbMessage cri_run_pod_sandbox_request;
extern const PbMessage cri_sandbox_id_request; /* pod_sandbox_id = 1: Stop, Remove, Status, PortForward … */
extern const PbMessage cri_create_container_request;
extern const PbMessage cri_container_id_request; /* container_id = 1: Start, Remove, Status, Exec … */
extern const PbMessage cri_stop_container_request;
extern const PbMessage cri_exec_sync_request; /* CheckpointContainer has the same numbers */
extern const PbMessage cri_pull_image_request;
extern const PbMessage cri_image_request; /* image = 1: RemoveImage, ImageStatus */
extern const PbMessage cri_sandbox_id_reply;
extern const PbMessage cri_container_id_reply;
extern const PbMessage cri_exec_sync_reply;
extern const PbMessage cri_pull_image_reply;
extern const PbMessage cri_list_sandboxes_reply;  /* also the messages of StreamPodSandboxes */
extern const PbMessage cri_list_containers_reply; /* also the messages of StreamContainers */

/* Begins to read a @message of @len bytes into @fields. @item may be NULL. */
void cri_scan_init(CriScan *scan, const PbMessage *message, uint64_t len, CriFields *fields, const CriLinks *links,
                   CriItemFn item, void *userdata);
/* As pbscan_feed() and pbscan_finish(). */
int cri_scan_feed(CriScan *scan, const uint8_t *data, size_t len);
int cri_scan_finish(CriScan *scan);

/* For the podspan-cri that takes over: as pack.h has it. @ret must be empty, and is to be cleared in any case. */
void cri_fields_pack(const CriFields *fields, Pack *pack);
void cri_fields_unpack(Unpack *unpack, CriFields *ret);
/* As pbscan_pack() and pbscan_unpack(); the latter after cri_scan_init(). */
void cri_scan_pack(const CriScan *scan, Pack *pack);
int cri_scan_unpack(CriScan *scan, Unpack *unpack);

/*
 * An RFC 3339 time with up to nine digits of fraction, as kubelet writes kubernetes.io/config.seen. Returns 0 with
 * nanoseconds since the epoch, or -EBADMSG (also before 1970 and after 2262).
 */
int cri_time_parse(const char *s, size_t len, uint64_t *ret_ns);
