#pragma once

/*
 * Kubelet on this node
 *
 * Where its CRI endpoints stand: in the KubeletConfiguration (containerRuntimeEndpoint, imageServiceEndpoint; the file
 * of --config, those of --config-dir, kubeadm's instance-config.yaml), and in the flags --container-runtime-endpoint
 * and
 * --image-service-endpoint, which win. These flags are taken from the command line that systemd makes of
 * kubelet.service, its drop-ins and environment files (kubeadm-flags.env, /etc/default/kubelet …), and from the kubelet
 * that runs.
 */

#include "nodeproc.h"

#define KUBE_PLACES_MAX 64

#define KUBE_DEFAULT_CONFIG   "/var/lib/kubelet/config.yaml"
#define KUBE_DEFAULT_ENDPOINT "unix:///run/containerd/containerd.sock"

/* By this end of the endpoint kubelet knows that cAdvisor reads the statistics of CRI-O's containers (its
 * cadvisor.UsingLegacyCadvisorStats(), CrioSocketSuffix); otherwise it asks the CRI. */
#define KUBE_CRIO_SUFFIX "run/crio/crio.sock"

typedef enum KubeKind {
        KUBE_CONFIG, /* a KubeletConfiguration */
        KUBE_FLAGS,  /* a unit or environment file: an argument that systemd passes to kubelet */
} KubeKind;

typedef struct KubePlace {
        char *path;
        char *edit_path; /* the file to write: a vendor's unit is overridden by a copy in /etc */
        KubeKind kind;
        bool image;  /* the image service's endpoint */
        bool patch;  /* kubeadm's instance-config.yaml: keys for the next upgrade, no configuration of its own */
        char *value; /* as it stands there */
        unsigned line;
        /* Flags only: */
        size_t from, to;     /* the value in the file */
        bool known;          /* `value` is the whole value */
        bool maybe;          /* whether kubelet gets it depends on a wrapper */
        const char *refusal; /* why it cannot be edited; NULL: it can be */
} KubePlace;

typedef struct Kube {
        Nodeprocs procs;        /* all that are called kubelet */
        const Nodeproc *proc;   /* the one that is it, maybe in another mount namespace; NULL: none is believed */
        char *config_file;      /* the KubeletConfiguration that is there; NULL: none */
        char *config_dir;       /* of --config-dir; NULL */
        char *running_endpoint; /* flags of the one that runs; NULL: not given there */
        char *running_image;
        KubePlace places[KUBE_PLACES_MAX];
        size_t n_places;
        char *seen[KUBE_PLACES_MAX]; /* files looked at, by device and inode, each once */
        size_t n_seen;
} Kube;

#define KUBE_NULL \
        {}

/* Looks at the node below @root_fd. Returns 0 or a negative errno; what is not there is left out. */
int kube_find(int root_fd, Kube *ret);
void kube_deinit(Kube *kube);

/* Is @text a KubeletConfiguration, by its apiVersion and kind? With @patch it may lack both. */
bool kube_is_configuration(const Bytes *text, bool patch);

/* The endpoint that counts when kubelet starts anew (@image: of the image service), and the place which says so, NULL
 * if none does. Points into @kube or is a literal. */
const char *kube_endpoint(const Kube *kube, bool image, const KubePlace **ret_place);

/* The path of @endpoint: without unix://, /var/run as /run. Returns a buffer owned by the caller or NULL without
 * memory. */
char *kube_path(const char *endpoint);

/* "crio" or "containerd" by the socket's path, NULL if it is neither's. */
const char *kube_runtime(const char *path);

/* Kubelet's rule for the source of statistics: true is cAdvisor, false the CRI. */
bool kube_cadvisor_stats(const char *endpoint);
