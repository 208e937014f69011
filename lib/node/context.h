#pragma once

/*
 * Context files
 *
 * What environment variables cannot join, these files do: STATE/context/live holds one small file per CRI call in
 * flight, and until it is made a record in the file of the young ones, STATE/context/start one file per sandbox and
 * container, with identity and the context of its start. The names, the encoding, atomicity, the look-up rules and the
 * bounds are in docs/context.md, which is the contract between podspan-cri, the hook, the watcher and the monitors;
 * this module implements it.
 */

#include "contextmatch.h"
#include "contextrecord.h"
#include "contextyoung.h"
#include "counters.h"

#define CONTEXT_LIVE_MAX  1024 /* live files; the oldest is swept above */
#define CONTEXT_START_MAX 4096 /* start files; likewise */

typedef enum ContextKind {
        CONTEXT_LIVE,  /* a call in flight */
        CONTEXT_START, /* how a sandbox or container was started */
        CONTEXT_HOOK,  /* written by podspan-hook at createRuntime, read at poststop */
        _CONTEXT_KIND_MAX,
} ContextKind;

typedef struct Context {
        int kind_fd[_CONTEXT_KIND_MAX]; /* directories; -EBADF where absent */
        Counters *counters;             /* borrowed, may be NULL */
        CountersProducer producer;
        uint32_t pid;
        uint64_t pid_start;
        uint64_t seq;
        unsigned n_live;           /* live files this process has published */
        bool use_young;            /* announced calls go to: */
        ContextYoung *young;       /* NULL: not needed yet, or not to be had; they get their files at once */
        uint32_t n_young_opened;   /* how often it was */
        uint64_t young_checked_ns; /* when it was tried or looked at last */
} Context;

#define CONTEXT_NULL                                  \
        {                                             \
                .kind_fd = { -EBADF, -EBADF, -EBADF } \
        }

/* An announced or published call, to take it away again. */
typedef struct ContextHandle {
        char name[CONTEXT_NAME_MAX + 1]; /* of its file, "": none */
        int young;                       /* its slot among the young calls + 1, 0: none, */
        uint32_t young_opened;           /* in the file that was opened so often */
} ContextHandle;

/* Who looks, and what it looks for. */
typedef struct ContextQuery {
        /* Container id, sandbox id, UID and container name, as known; see docs/context.md for who is the sandbox
         * itself. */
        const Identity *identity;
        const char *const *operations; /* those that can have caused it; NULL-terminated */
        uint64_t time_ns;              /* wall clock: a call that began later has not; 0: none has */
} ContextQuery;

typedef enum ContextFound {
        CONTEXT_FOUND_NONE,       /* nothing known: derive a trace from the sandbox id */
        CONTEXT_FOUND_PARENT,     /* exactly one live call: the parent */
        CONTEXT_FOUND_CANDIDATES, /* several: links, no parent */
        CONTEXT_FOUND_START,      /* none live, but the start is known: a link */
} ContextFound;

#define CONTEXT_CANDIDATES_MAX 8

typedef struct ContextMatch {
        ContextFound found;
        ContextRecord record; /* with PARENT the call, with START the start, with CANDIDATES the newest */
        TraceContext candidates[CONTEXT_CANDIDATES_MAX]; /* with CANDIDATES */
        size_t n_candidates;
} ContextMatch;

/*
 * Opens the directories below @state_fd; with @create makes those that are missing (2750). Returns 0 (also if there are
 * none: publishing then fails with -ENOENT and looking up finds nothing), -EPERM if others than root and we may change
 * them or STATE (dirowner.h; context_refusal() says more), or another negative errno. After an error @context is as if
 * there were none.
 */
int context_init(Context *context, int state_fd, bool create, CountersProducer producer, Counters *counters);

/* Counts (COUNTERS_UNTRUSTED) that context_init() returned -EPERM, and says in @ret (DIROWNER_TEXT_MAX bytes) which
 * directory is wrong and what to do. */
void context_refusal(Context *context, int state_fd, char *ret);
void context_deinit(Context *context);

/* From now on context_announce() makes no file where it need not: for who is in a call's way meanwhile. */
void context_use_young(Context *context);

/*
 * Publishes a call in flight: fills @record's seq, pid, pid_start and writes it atomically. Must be called before the
 * request's last byte is forwarded. Returns 0 with a handle, or a negative errno (counted); -EUSERS above
 * CONTEXT_LIVE_MAX where sweeping did not help.
 */
int context_publish(Context *context, ContextRecord *record, ContextHandle *ret);
/*
 * The same without making a file, where that is possible: then handle.young is set, and context_show() must be called
 * once the call has lasted a while.
 */
int context_announce(Context *context, ContextRecord *record, ContextHandle *ret);
/* Gives an announced call its file, as it was announced. Returns 0 or a negative errno (counted): it stays announced.
 */
int context_show(Context *context, ContextHandle *handle);
/* Takes it away again; an empty handle is fine. */
void context_retract(Context *context, ContextHandle *handle);

/*
 * Takes over the live file of another process, which it has been told of by name: writes it anew, as this process' and
 * with @record's content, in one step and under the same name. @handle is for context_retract() as before. Returns 0 or
 * a negative errno (counted).
 */
int context_adopt(Context *context, ContextRecord *record, ContextHandle *handle);

/*
 * Writes (or replaces), reads or removes the file of @kind START or HOOK for @id. Writing fills @record's seq. Returns
 * 0, -EINVAL where @id is not a file name, -ENOENT, -EBADMSG where what is there cannot be parsed, or another negative
 * errno.
 */
int context_put(Context *context, ContextKind kind, const char *id, ContextRecord *record);
int context_get(const Context *context, ContextKind kind, const char *id, ContextRecord *ret);
int context_remove(Context *context, ContextKind kind, const char *id);

/*
 * Reads the start file of @id for one who knows @asker of itself. Returns as context_get(), and -ENOENT if the file
 * contradicts: it is that of a sandbox or container before, which went without podspan-cri being told.
 */
int context_get_start(const Context *context, const char *id, const Identity *asker, ContextRecord *ret);

/* Reads the live file @name. 0, -ENOENT, -EBADMSG or another negative errno. */
int context_read_live(const Context *context, const char *name, ContextRecord *ret);

/* Looks up by the rules of docs/context.md. Returns 0 with @ret filled (found may be NONE), or a negative errno. */
int context_find(const Context *context, const ContextQuery *query, ContextMatch *ret);

/*
 * Calls @fn for each readable record of @kind, in directory order; @name is the file's, NULL for a call that has none
 * yet. A negative return of @fn ends it and is returned. Bounded by the maxima above; files that cannot be parsed are
 * skipped and counted.
 */
int context_list(const Context *context, ContextKind kind,
                 int (*fn)(const char *name, const ContextRecord *record, void *userdata), void *userdata);

/* Calls @fn for each call that has no file yet; @name is the one it will have. As context_list() otherwise. */
int context_list_young(const Context *context, int (*fn)(const char *name, const ContextRecord *record, void *userdata),
                       void *userdata);

/* When a call last began or ended, or got its file: wall clock in the kernel's ticks; 0: not known. */
uint64_t context_changed_ns(const Context *context);

/* Is the process that wrote @record still there? */
bool context_writer_alive(const ContextRecord *record);
