#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "clk.h"
#include "exporter.h"
#include "log.h"
#include "otlpsplit.h"
#include "retry.h"
#include "sender.h"

#define SENDER_ENDPOINT_MAX 320
#define SENDER_ERROR_MAX    (EXPORTWIRE_MESSAGE_MAX + 32)

struct Sender {
        Loop *loop;
        const Config *config;
        Exporter *exporter;
        LoopTimer timer; /* when to look again */
        uint64_t due_ns; /* for what it is set, monotonic; 0: not set */
        LoopTimer end;   /* sender_finish()'s bound */
        Store *store;
        Counters *counters;
        SenderFailFn on_fail;
        void *userdata;

        StoreBatch flight[STORE_LIST_MAX]; /* of the request under way */
        int64_t flight_ids[STORE_LIST_MAX];
        size_t n_flight;
        uint64_t n_rejected; /* of the spans of what is settled, in a partial success */
        uint64_t n_refused;  /* of the spans of what is settled as exported */
        Store *flight_store;
        size_t flight_size;
        char flight_endpoint[SENDER_ENDPOINT_MAX]; /* where it goes */

        /* The batch that goes in parts, 0: none. It comes before any other. */
        int64_t part_id;
        size_t part_first; /* spans before it are settled */
        size_t part_n;     /* spans of the next request */
        size_t part_total;
        size_t part_refused; /* bytes; the smallest part that was refused as too large */
        bool part_in_flight;
        bool part_accepted;                       /* any of it */
        uint64_t part_n_rejected, part_n_refused; /* of its spans so far */
        unsigned n_singles;                       /* spans of it refused one by one, in a row */

        size_t new_bytes;    /* since the last request */
        unsigned n_failed;   /* requests in a row that failed */
        uint64_t not_before; /* monotonic: after a failure */
        unsigned n_costly;   /* of them, in a row, those that cost too much processor time */
        uint64_t failing_ns; /* realtime, of the first of them; 0: none */
        size_t request_max;  /* bytes; less after a timeout */
        size_t size_max;     /* bytes; half of what was refused as too large, 0: nothing was */
        uint64_t size_max_until;
        int64_t tokens; /* bytes of backlog that may go now; may be in debt */
        uint64_t tokens_ns;
        bool more;  /* the last request was full: the next follows at once */
        bool moved; /* what is under way goes where the next request does not */
        bool finishing;
        bool last_try;

        /* An outcome that the store could not take yet: nothing is sent before, or it would be sent twice. */
        bool unsettled;
        int unsettled_state;
        char unsettled_error[SENDER_ERROR_MAX]; /* "": it went well */
};

static LogRatelimit log_limit = LOG_RATELIMIT(60, 3);

static int on_answer(Exporter *exporter, const ExporterAnswer *answer, void *userdata);
static int on_timer(LoopTimer *timer);
static int on_end(LoopTimer *timer);

int sender_new(Loop *loop, int spawner_fd, const Config *config, SenderFailFn on_fail, void *userdata, Sender **ret,
               char **reterr_message) {
        _cleanup_(sender_freep) Sender *sender = NULL;
        int r;

        *reterr_message = NULL;

        sender = calloc(1, sizeof(*sender));
        if (!sender)
                return -ENOMEM;
        *sender = (Sender){
                .loop = loop,
                .config = config,
                .timer = LOOP_TIMER_NULL,
                .end = LOOP_TIMER_NULL,
                .on_fail = on_fail,
                .userdata = userdata,
                .request_max = config->tracing_batch_size,
                .tokens = (int64_t) config->tracing_export_rate_bytes,
                .tokens_ns = clk_monotonic(),
        };

        r = exporter_new(loop, spawner_fd, config, on_answer, sender, &sender->exporter, reterr_message);
        if (r == 0)
                r = loop_timer_add(&sender->timer, loop, on_timer);
        if (r == 0)
                r = loop_timer_add(&sender->end, loop, on_end);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(sender);
        return 0;
}

Sender *sender_free(Sender *sender) {
        if (!sender)
                return NULL;

        loop_timer_remove(&sender->timer);
        loop_timer_remove(&sender->end);
        exporter_free(sender->exporter);
        free(sender);
        return NULL;
}

/* What one collector said is no reason to keep the next one waiting. */
static void forget_failures(Sender *sender) {
        sender->n_failed = 0;
        sender->n_costly = 0;
        sender->failing_ns = 0;
        sender->not_before = 0;
        sender->request_max = sender->config->tracing_batch_size;
        sender->size_max = 0;
        sender->part_n = sender->part_total - sender->part_first;
}

void sender_set_store(Sender *sender, Store *store) {
        if (store != sender->store)
                sender->part_id = 0;
        sender->store = store;
}

void sender_set_counters(Sender *sender, Counters *counters) {
        sender->counters = counters;
}

const int64_t *sender_in_flight(const Sender *sender, size_t *ret_n) {
        *ret_n = sender->flight_store == sender->store ? sender->n_flight : 0;
        return sender->flight_ids;
}

/* Looks again after @delay_ns, or earlier if that was planned. */
static int plan(Sender *sender, uint64_t delay_ns) {
        uint64_t due_ns = clk_monotonic() + delay_ns;

        if (due_ns < sender->not_before)
                due_ns = sender->not_before;
        if (sender->due_ns != 0 && sender->due_ns <= due_ns)
                return 0;

        sender->due_ns = due_ns;
        return loop_timer_set(&sender->timer, due_ns - MIN(due_ns, clk_monotonic()), 0);
}

int sender_reload(Sender *sender, char **reterr_message) {
        int r;

        r = exporter_reload(sender->exporter, sender->config, reterr_message);
        if (r < 0)
                return r;
        forget_failures(sender);
        sender->moved = exporter_busy(sender->exporter);
        (void) plan(sender, 0);
        return 0;
}

int sender_notify(Sender *sender, size_t n_bytes) {
        sender->new_bytes += n_bytes;
        return plan(sender, sender->new_bytes >= SENDER_SOON_BYTES ? 0 : SENDER_DELAY_NS);
}

static void refill(Sender *sender) {
        uint64_t rate = sender->config->tracing_export_rate_bytes, now_ns = clk_monotonic();
        uint64_t elapsed_ns = MIN(now_ns - sender->tokens_ns, NSEC_PER_SEC * 10);

        sender->tokens_ns = now_ns;
        /* In microseconds: rates of gigabytes and intervals of seconds stay within 64 bits. */
        sender->tokens += (int64_t) MIN((elapsed_ns / 1000) * (rate / 1000 + 1) / 1000, (uint64_t) INT64_MAX / 4);
        sender->tokens = MIN(sender->tokens, (int64_t) rate + 1);
}

/* Chooses the batches of the next request. Returns their number; 0 with the time after which the backlog may go on. */
static int choose(Sender *sender, uint64_t *ret_wait_ns) {
        uint64_t now_ns = clk_realtime(), rate = sender->config->tracing_export_rate_bytes;
        size_t size = 0;
        int n, n_chosen = 0;

        *ret_wait_ns = 0;
        sender->more = false;
        n = store_pending_list(sender->store, ARRAY_SIZE(sender->flight), sender->flight);
        if (n <= 0)
                return n;

        refill(sender);
        while (n_chosen < n) {
                const StoreBatch *batch = sender->flight + n_chosen;
                bool backlog = now_ns > batch->received_ns && now_ns - batch->received_ns > SENDER_FRESH_NS;

                if (n_chosen > 0 && (size >= sender->request_max || batch->size > sender->request_max - size)) {
                        sender->more = true;
                        break;
                }
                if (backlog && rate > 0) {
                        if (sender->tokens <= 0) {
                                *ret_wait_ns = (uint64_t) (1 - sender->tokens) * 1000 / (rate / 1000 + 1) * 1000 +
                                               10 * NSEC_PER_MSEC;
                                break;
                        }
                        sender->tokens -= (int64_t) batch->size;
                }
                size += batch->size;
                n_chosen++;
        }
        sender->more |= n_chosen == (int) ARRAY_SIZE(sender->flight);
        return n_chosen;
}

static int add_piece(const uint8_t *data, size_t size, void *userdata) {
        exporter_add(userdata, data, size);
        return 0;
}

/* The spans of the batch in parts whose turn it is. */
static int add_part(const uint8_t *data, size_t size, void *userdata) {
        Sender *sender = userdata;
        _cleanup_free_ uint8_t *part = NULL;
        size_t part_size, n;
        int r;

        r = otlpsplit_take(data, size, sender->part_first, sender->part_n, &part, &part_size, &n);
        if (r == -EBADMSG)
                return -EUCLEAN;
        if (r < 0)
                return r;
        if (n == 0)
                return -EUCLEAN; /* its row names more spans than it has */

        sender->flight[0] = (StoreBatch){ .id = sender->part_id, .n_spans = n, .size = part_size };
        exporter_add(sender->exporter, part, part_size);
        return 0;
}

/* The ledger has every span of a batch that was exported as exported; @n of them were not. */
static int not_exported(Sender *sender, const char *key, uint64_t n) {
        int r;

        if (n == 0)
                return 0;
        r = store_ledger_add(sender->store, key, (int64_t) n);
        return r < 0 ? r : store_ledger_add(sender->store, STORESCHEMA_LEDGER_EXPORTED, -(int64_t) n);
}

/* Enters the outcome into the store: the new state of what was sent (negative: as it is), and the facts for `status`
 * and `doctor`. */
static int settle(Sender *sender, int state, const char *error) {
        uint64_t now_ns = clk_realtime();
        int r;

        if (error && sender->failing_ns == 0)
                sender->failing_ns = now_ns;
        else if (!error)
                sender->failing_ns = 0;

        r = store_begin(sender->store);
        for (size_t i = 0; r == 0 && state >= 0 && i < sender->n_flight; i++)
                r = store_batch_set_state(sender->store, sender->flight_ids[i], state);
        if (r == 0)
                r = not_exported(sender, STORESCHEMA_LEDGER_REJECTED, sender->n_rejected);
        if (r == 0)
                r = not_exported(sender, STORESCHEMA_LEDGER_REFUSED, sender->n_refused);
        if (r == 0 && error)
                r = store_meta_text(sender->store, "last_export_error", error);
        if (r == 0)
                r = store_meta_number(sender->store,
                                      error || state == STORESCHEMA_STATE_REFUSED ? "last_export_error_ns"
                                                                                  : "last_export_ok_ns",
                                      now_ns);
        if (r == 0)
                r = store_meta_text(sender->store, error ? "last_export_error_endpoint" : "last_export_ok_endpoint",
                                    sender->flight_endpoint);
        if (r == 0)
                r = store_meta_number(sender->store, "export_failing_since_ns", sender->failing_ns);
        if (r == 0)
                r = store_commit(sender->store);
        if (r < 0)
                store_rollback(sender->store);

        sender->unsettled = r < 0 && state >= 0;
        sender->unsettled_state = state;
        if (error != sender->unsettled_error)
                util_copy_bounded(sender->unsettled_error, sizeof(sender->unsettled_error), error ?: "",
                                  error ? strlen(error) : 0);
        return r;
}

static void land(Sender *sender) {
        sender->n_flight = 0;
        sender->n_rejected = 0;
        sender->n_refused = 0;
        sender->flight_store = NULL;
        sender->unsettled = false;
        sender->part_in_flight = false;
}

/* Adds what the next request holds to the exporter and to flight. Returns how many batches, 0 where nothing is due, or
 * the store's error. */
static int fill(Sender *sender) {
        uint64_t wait_ns;
        int n, r;

        if (sender->part_id != 0) {
                r = store_batch_read(sender->store, sender->part_id, add_part, sender);
                if (r == 0) {
                        sender->flight_ids[0] = sender->part_id;
                        sender->part_in_flight = true;
                        return 1;
                }
                /* By retention, meanwhile. */
                sender->part_id = 0;
                if (r != -ENOENT)
                        return r;
        }

        n = choose(sender, &wait_ns);
        if (n <= 0)
                return n == 0 && wait_ns > 0 ? plan(sender, wait_ns) : n;

        for (int i = 0; i < n; i++) {
                r = store_batch_read(sender->store, sender->flight[i].id, add_piece, sender->exporter);
                if (r < 0 && r != -ENOENT)
                        return r;
                sender->flight_ids[i] = sender->flight[i].id;
        }
        return n;
}

/* Sends what is due. Returns 0 also where nothing is. */
static int send_next(Sender *sender, uint64_t timeout_ns) {
        int n, r;

        if (exporter_busy(sender->exporter) || !sender->store)
                return 0;

        if (sender->unsettled && sender->flight_store == sender->store) {
                r = settle(sender, sender->unsettled_state,
                           sender->unsettled_error[0] ? sender->unsettled_error : NULL);
                if (r == -EUCLEAN)
                        return sender->on_fail(sender, r, sender->userdata);
                if (r < 0)
                        return plan(sender, SENDER_DELAY_NS);
        }
        land(sender);
        if (!config_exports(sender->config))
                return 0;

        n = fill(sender);
        if (n < 0) {
                exporter_discard(sender->exporter);
                return sender->on_fail(sender, n, sender->userdata);
        }
        if (n == 0)
                return 0;

        r = exporter_start(sender->exporter, timeout_ns);
        if (r < 0) {
                log_warning_errno(r, "export: cannot start a request, trying again: %m");
                sender->part_in_flight = false;
                sender->not_before = clk_monotonic() + RETRY_DELAY_MAX_NS;
                return plan(sender, 0);
        }
        sender->n_flight = (size_t) n;
        sender->flight_store = sender->store;
        sender->flight_size = 0;
        for (int i = 0; i < n; i++)
                sender->flight_size += sender->flight[i].size;
        util_copy_bounded(sender->flight_endpoint, sizeof(sender->flight_endpoint), sender->config->tracing_endpoint,
                          strlen(sender->config->tracing_endpoint));
        sender->new_bytes = 0;
        return 0;
}

static int on_timer(LoopTimer *timer) {
        Sender *sender = container_of(timer, Sender, timer);

        sender->due_ns = 0;
        if (sender->finishing)
                return 0;
        return send_next(sender, sender->config->tracing_timeout_ns);
}

static size_t count_spans(const Sender *sender) {
        size_t n = 0;

        for (size_t i = 0; i < sender->n_flight; i++)
                n += sender->flight[i].n_spans;
        return n;
}

/*
 * The outcome of what is in flight: its new state and, unless it went well, why. Of a batch in parts the state is known
 * when the last of it has been answered.
 */
static int settle_flight(Sender *sender, bool accepted, uint64_t n_rejected, const char *error) {
        int state = accepted ? STORESCHEMA_STATE_EXPORTED : STORESCHEMA_STATE_REFUSED;
        size_t left;

        if (!sender->part_in_flight) {
                sender->n_rejected = n_rejected;
                return settle(sender, state, error);
        }

        sender->part_accepted |= accepted;
        sender->part_n_rejected += n_rejected;
        sender->part_n_refused += accepted ? 0 : sender->flight[0].n_spans;
        sender->part_first += sender->flight[0].n_spans;
        if (accepted && sender->flight_size < sender->part_refused / 2)
                sender->part_n *= 2;
        left = sender->part_total > sender->part_first ? sender->part_total - sender->part_first : 0;
        sender->part_n = MIN(sender->part_n, left);
        if (sender->part_n > 0)
                return settle(sender, -1, error);
        sender->part_id = 0;
        if (sender->part_accepted) {
                state = STORESCHEMA_STATE_EXPORTED;
                sender->n_rejected = sender->part_n_rejected;
                sender->n_refused = sender->part_n_refused;
        }
        return settle(sender, state, error);
}

static int on_accepted(Sender *sender, const ExportwireAnswer *answer) {
        size_t n_spans = count_spans(sender);
        uint64_t n_rejected = MIN(answer->n_rejected, (uint64_t) n_spans);
        int r;

        if (answer->response_bad && log_ratelimit(&log_limit))
                log_warning("export: the collector's response cannot be parsed, ignoring");
        if (n_rejected > 0 && log_ratelimit(&log_limit))
                log_warning("export: the collector rejected %zu of %zu spans: %s", (size_t) n_rejected, n_spans,
                            answer->partial);
        else if (answer->partial[0] && log_ratelimit(&log_limit))
                log_warning("export: the collector says: %s", answer->partial);

        if (sender->n_failed > 0)
                log_notice("export: the collector answers again");
        sender->n_failed = 0;
        sender->n_costly = 0;
        sender->not_before = 0;
        sender->n_singles = 0;
        if (clk_monotonic() >= sender->size_max_until)
                sender->size_max = 0;
        sender->request_max = MIN(sender->request_max * 2, (size_t) sender->config->tracing_batch_size);
        if (sender->size_max > 0)
                sender->request_max = MIN(sender->request_max, sender->size_max);

        /* Counted last: who sees the number may rely on the store. */
        r = settle_flight(sender, true, n_rejected, NULL);
        counters_add(sender->counters, COUNTERS_AGENT, COUNTERS_AGENT_EXPORTED, n_spans - n_rejected);
        counters_add(sender->counters, COUNTERS_AGENT, COUNTERS_AGENT_REJECTED, n_rejected);
        return r;
}

static void describe(const ExportwireAnswer *answer, char *ret, size_t size) {
        (void) snprintf(ret, size, "%s%s%s", grpc_status_name((int) answer->code), answer->message[0] ? ": " : "",
                        answer->message);
}

static int on_refused(Sender *sender, const ExportwireAnswer *answer) {
        char error[SENDER_ERROR_MAX];
        size_t n_spans = count_spans(sender);
        int r;

        describe(answer, error, sizeof(error));
        if (log_ratelimit(&log_limit))
                log_error("export: the collector refused %zu spans, dropped: %s", n_spans, error);
        sender->n_failed = 0;
        sender->not_before = 0;

        r = settle_flight(sender, false, 0, error);
        counters_add(sender->counters, COUNTERS_AGENT, COUNTERS_AGENT_DROP_REFUSED, n_spans);
        return r;
}

/* Less in the next request than in the one before: fewer batches, else a part of the only one. False: it is one span.
 */
static bool halve(Sender *sender) {
        sender->request_max = MAX(sender->flight_size / 2, (size_t) 1);
        if (sender->n_flight > 1)
                return true;
        if (sender->flight[0].n_spans <= 1)
                return false;

        if (!sender->part_in_flight) {
                sender->part_id = sender->flight[0].id;
                sender->part_first = 0;
                sender->part_total = sender->flight[0].n_spans;
                sender->part_refused = SIZE_MAX;
                sender->part_accepted = false;
                sender->part_n_rejected = 0;
                sender->part_n_refused = 0;
                sender->n_singles = 0;
        }
        sender->part_refused = MIN(sender->part_refused, sender->flight_size);
        sender->part_n = (sender->flight[0].n_spans + 1) / 2;
        return true;
}

/* The request may have been too large. What is left of it goes at once, in halves. */
static int on_too_large(Sender *sender, const ExportwireAnswer *answer) {
        char error[SENDER_ERROR_MAX];

        if (halve(sender)) {
                describe(answer, error, sizeof(error));
                if (log_ratelimit(&log_limit))
                        log_warning("export: a request of %zu bytes was refused, halving it: %s", sender->flight_size,
                                    error);
                /* A smaller limit is met batch by batch, in parts. */
                sender->size_max = MAX(sender->request_max, (size_t) SENDER_REQUEST_MIN);
                sender->size_max_until = clk_monotonic() + SENDER_SIZE_NS;
                sender->n_failed = 0;
                sender->not_before = 0;
                sender->due_ns = 0;
                counters_add(sender->counters, COUNTERS_AGENT, COUNTERS_AGENT_RETRIES, 1);
                return settle(sender, -1, error);
        }

        /* So many in a row, each alone: the collector takes none, whatever their size, and OTLP says not to insist. */
        if (sender->part_in_flight && ++sender->n_singles >= SENDER_SINGLES_MAX)
                sender->flight[0].n_spans = sender->part_total - sender->part_first;
        return on_refused(sender, answer);
}

static int on_postponed(Sender *sender, const ExporterAnswer *answer, uint64_t delay_ns) {
        char error[SENDER_ERROR_MAX];

        if (answer->costly) {
                uint64_t wait_ns = SENDER_COSTLY_NS << MIN(sender->n_costly++, 6U);

                wait_ns = MIN(wait_ns, SENDER_COSTLY_MAX);
                delay_ns = MAX(delay_ns, wait_ns);
        }
        describe(&answer->wire, error, sizeof(error));
        if (log_ratelimit(&log_limit))
                log_warning("export: trying again in %.1f s: %s", (double) delay_ns / (double) NSEC_PER_SEC, error);

        counters_add(sender->counters, COUNTERS_AGENT, COUNTERS_AGENT_RETRIES, 1);
        if (answer->wire.code == GRPC_DEADLINE_EXCEEDED) {
                counters_add(sender->counters, COUNTERS_AGENT, COUNTERS_AGENT_TIMEOUTS, 1);
                /* Perhaps it was too much for the time; a slow collector would otherwise never get through. */
                if (sender->flight_size > SENDER_REQUEST_MIN)
                        (void) halve(sender);
                sender->request_max = MAX(sender->request_max, (size_t) SENDER_REQUEST_MIN);
        }
        /* A connection that has gone silent, or that the collector let die, is not used again. */
        exporter_drop(sender->exporter);
        sender->not_before = clk_monotonic() + delay_ns;
        sender->due_ns = 0;
        return settle(sender, -1, error);
}

static RetryVerdict decide(Sender *sender, const ExportwireAnswer *wire, uint64_t *ret_delay_ns) {
        const RetryAnswer answer = {
                .code = (int) wire->code,
                .local = wire->local,
                .told = wire->told,
                .delay_ns = wire->delay_ns,
                .message = wire->message,
        };
        uint32_t random = 0;

        (void) util_random(&random, sizeof(random));
        return retry_decide(&answer, sender->n_failed + 1, random, ret_delay_ns);
}

static int on_answer(Exporter *exporter, const ExporterAnswer *answer, void *userdata) {
        Sender *sender = userdata;
        RetryVerdict verdict;
        uint64_t delay_ns = 0;
        int r;

        if (sender->flight_store != sender->store || !sender->store) {
                land(sender);
                return sender->store ? plan(sender, 0) : 0;
        }

        verdict = decide(sender, &answer->wire, &delay_ns);
        switch (verdict) {
        case RETRY_DONE:
                r = on_accepted(sender, &answer->wire);
                break;
        case RETRY_SMALLER:
                r = on_too_large(sender, &answer->wire);
                break;
        case RETRY_NEVER:
                r = on_refused(sender, &answer->wire);
                break;
        default:
                sender->n_failed++;
                r = on_postponed(sender, answer, delay_ns);
                break;
        }
        if (r == 0)
                land(sender);
        else if (r == -EUCLEAN)
                return sender->on_fail(sender, r, sender->userdata);
        else if (log_ratelimit(&log_limit))
                log_warning_errno(r, "export: the store does not take the outcome, trying again: %m");

        if (TAKE(sender->moved, false))
                forget_failures(sender);

        if (sender->finishing) {
                /* What was under way is done; what came since gets its one try, in as many parts as it takes. */
                if ((!sender->last_try || verdict == RETRY_SMALLER || sender->part_id != 0) &&
                    sender->not_before == 0) {
                        sender->last_try = true;
                        r = send_next(sender, SENDER_LAST_NS);
                        if (r < 0)
                                return r;
                }
                if (!exporter_busy(exporter))
                        loop_exit(sender->loop, 0);
                return 0;
        }

        return plan(sender, verdict == RETRY_SMALLER || sender->part_id != 0 || sender->more ||
                                            sender->new_bytes >= SENDER_SOON_BYTES
                                    ? 0
                                    : SENDER_DELAY_NS);
}

static int on_end(LoopTimer *timer) {
        Sender *sender = container_of(timer, Sender, end);

        loop_exit(sender->loop, 0);
        return 0;
}

int sender_finish(Sender *sender, uint64_t limit_ns) {
        int r;

        sender->finishing = true;
        if (!exporter_busy(sender->exporter)) {
                sender->last_try = true;
                r = send_next(sender, SENDER_LAST_NS);
                if (r < 0)
                        return r;
        }
        if (!exporter_busy(sender->exporter)) {
                loop_exit(sender->loop, 0);
                return 0;
        }
        return loop_timer_set(&sender->end, limit_ns, 0);
}
