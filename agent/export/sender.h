#pragma once

/*
 * Sender
 *
 * Decides what is exported when: the store's pending batches, the newest first, joined to requests of at most
 * `tracing_batch_size`, one at a time. What is older than SENDER_FRESH_NS is backlog and goes at most at
 * `tracing_export_rate_bytes`, behind what is fresh. A batch leaves the queue on the collector's answer only.
 *
 * A request that is refused as too large is halved: fewer batches, then a part of one batch's spans, then one span,
 * which alone is dropped. While a batch goes in parts, how far it got is known in memory only: after a kill its first
 * parts are sent again.
 */

#include "config.h"
#include "counters.h"
#include "loop.h"
#include "store.h"

#define SENDER_FRESH_NS    (10 * NSEC_PER_SEC)  /* received within this: not backlog */
#define SENDER_DELAY_NS    (1 * NSEC_PER_SEC)   /* a request waits this long for company … */
#define SENDER_LAST_NS     (2 * NSEC_PER_SEC)   /* the deadline of a last request */
#define SENDER_SOON_BYTES  (512U * 1024)        /* … unless there is this much */
#define SENDER_REQUEST_MIN (64U * 1024)         /* requests that time out get smaller, but not below */
#define SENDER_SIZE_NS     (600 * NSEC_PER_SEC) /* a size that was refused as too large is not tried again for so long */
#define SENDER_SINGLES_MAX 16                   /* spans refused one by one after which size is not the reason */
#define SENDER_COSTLY_NS   (10 * NSEC_PER_SEC) /* wait after a request that cost too much processor time: doubles … */
#define SENDER_COSTLY_MAX  (60 * NSEC_PER_SEC) /* … up to this */

typedef struct Sender Sender;
typedef int (*SenderFailFn)(Sender *sender, int error, void *userdata);

/*
 * @config and @spawner_fd are borrowed. @on_fail is called with what the store failed with; what it returns goes to the
 * loop. Returns 0 or, as exporter_new(), a negative errno with a message.
 */
int sender_new(Loop *loop, int spawner_fd, const Config *config, SenderFailFn on_fail, void *userdata, Sender **ret,
               char **reterr_message);
/*
 * The configuration has changed: what is sent from now on goes where it says, or nothing is. What is under way ends as
 * it began. Returns 0, or as exporter_new(); then nothing has changed.
 */
int sender_reload(Sender *sender, char **reterr_message);
Sender *sender_free(Sender *sender);
DEFINE_CLEANUP(Sender *, sender_free);

/* Sets or changes what it works on (borrowed). A request under way that belongs to another store is forgotten when it
 * ends. */
void sender_set_store(Sender *sender, Store *store);
void sender_set_counters(Sender *sender, Counters *counters);

/* @n_bytes of new pending batches were committed. */
int sender_notify(Sender *sender, size_t n_bytes);

/* The batches of the request under way: retention leaves them. */
const int64_t *sender_in_flight(const Sender *sender, size_t *ret_n);

/*
 * The last attempt: sends what is pending (after what is under way) and calls loop_exit(0) when that has ended, after
 * @limit_ns at the latest.
 */
int sender_finish(Sender *sender, uint64_t limit_ns);
