#pragma once

/*
 * From a call to its leaf
 *
 * For each call in flight: the processes that run for it, from the engine down to the one that the others wait for, the
 * leaf, with what that one waits for. Where no context file names a call, the processes of each pod are a chain without
 * a call. A process of another pod is never in a chain.
 *
 * Use: chain_run(), then the chains, then chain_deinit(). Only /proc, cgroups and the context files are read, so this
 * works with everything else stopped.
 */

#include "podowner.h"
#include "waitlook.h"

#define CHAIN_TEXT_MAX   (WAIT_TEXT_MAX + 128)
#define CHAIN_LINKS_MAX  16                       /* processes of one chain */
#define CHAIN_CALLS_MAX  (CONTEXT_LIVE_MAX + 256) /* chains of one run */
#define CHAIN_STUCK_MAX  64                       /* processes in state D and zombies that are kept */
#define CHAIN_SETTLE_NS  (1 * NSEC_PER_SEC)       /* processes younger than this are no chain without a call */
#define CHAIN_ENGINE_MAX 8

typedef struct ChainLink {
        const Proc *proc;
        Wait wait;
        bool is_peer; /* not of the chain: what the link before waits for */
} ChainLink;

/* Why the chain has no leaf. */
typedef enum ChainNone {
        CHAIN_LEAF,       /* it has one: the last link that is no peer */
        CHAIN_NO_PROCESS, /* nothing runs for it: the engine works on it itself */
        CHAIN_NO_ENGINE,  /* and no engine that podspan believes runs here */
} ChainNone;

typedef struct Chain {
        bool has_call;
        bool unattributed; /* a child of kubelet, and nothing says which pod it works for */
        bool stale;        /* the podspan-cri that wrote the call is gone */
        ContextRecord call;
        Identity identity; /* of the call, or of the processes */
        char guess[32];    /* without a call: which it must be, by what the processes do; "": not known */
        uint64_t age_ns;   /* of the call, else of the oldest process that works for it */
        ChainLink links[CHAIN_LINKS_MAX];
        size_t n;
        ChainNone none;
        const Proc *engine; /* NULL: none, or several */
        char engine_state;  /* 'F': frozen */
} Chain;

typedef struct ChainStuck {
        const Proc *proc;
        const Owner *owner;
        Wait wait;
} ChainStuck;

typedef struct ChainOptions {
        int state_fd;        /* of podspan's state directory; negative: there is none */
        bool all;            /* also calls that are stale */
        bool peers;          /* also what the processes wait for that the leaves wait for */
        const char *pod;     /* only this one: name, namespace/name or UID; NULL: all */
        const char *created; /* of this pod also a container that was created and not started; NULL: of none */
        bool no_leaf;        /* only the calls: no process is looked at */
} ChainOptions;

typedef struct Chains {
        Asides asides;
        Procs procs;
        Owners owners;
        Waitlook look;
        Chain *chains; /* oldest first */
        size_t n, n_allocated;
        ChainStuck stuck[CHAIN_STUCK_MAX];
        size_t n_stuck, n_stuck_all;
        const Proc *engines[CHAIN_ENGINE_MAX];
        size_t n_engines;
        uint64_t now_ns; /* wall clock */
} Chains;

#define CHAINS_NULL \
        {}

/* Returns 0 or a negative errno. */
int chain_run(const ChainOptions *options, Chains *ret);
void chain_deinit(Chains *chains);

/* Is it this pod: its name, NAMESPACE/NAME, or its UID? Of what is no pod: the container's name. */
bool chain_is_pod(const Identity *identity, const char *pod);

/* The leaf; NULL: the chain has none. */
const ChainLink *chain_leaf(const Chain *chain);

/* One clause about the leaf: "CNI plugin bridge (pid 2718) waits for the lock of …". Not safe for a terminal. */
void chain_words(const Chain *chain, char ret[static CHAIN_TEXT_MAX]);

/* What kind of process this is: "CNI plugin", "hook", "shim" …; "" is a process of the container itself. */
const char *chain_role(const Proc *proc);
