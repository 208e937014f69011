#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include "clk.h"
#include "exporter.h"
#include "log.h"
#include "retry.h"
#include "sender.h"

struct Sender {
        Loop *loop;
        const Config *config;
        Exporter *exporter;
        LoopSource source; /* the exporter's eventfd */
        LoopTimer timer;   /* when to look again */
        uint64_t due_ns;   /* for what it is set, monotonic; 0: not set */
        LoopTimer end;     /* sender_finish()'s bound */
        Store *store;
        Counters *counters;
        SenderFailFn on_fail;
        void *userdata;

        StoreBatch flight[STORE_LIST_MAX]; /* of the request under way */
        int64_t flight_ids[STORE_LIST_MAX];
        size_t n_flight;
        uint64_t n_rejected; /* of them, in a partial success */
        Store *flight_store;

        size_t new_bytes;    /* since the last request */
        unsigned n_failed;   /* requests in a row that failed */
        uint64_t not_before; /* monotonic: after a failure */
        size_t request_max;  /* bytes; less after a timeout */
        int64_t tokens;      /* bytes of backlog that may go now; may be in debt */
        uint64_t tokens_ns;
        bool more;  /* the last request was full: the next follows at once */
        bool moved; /* what is under way goes where the next request does not */
        bool finishing;
        bool last_try;

        /* An outcome that the store could not take yet: nothing is sent before, or it would be sent twice. */
        bool unsettled;
        int unsettled_state;
};

static LogRatelimit log_limit = LOG_RATELIMIT(60, 3);

static int on_answer(LoopSource *source, uint32_t events);
static int on_timer(LoopTimer *timer);
static int on_end(LoopTimer *timer);

int sender_new(Loop *loop, const Config *config, SenderFailFn on_fail, void *userdata, Sender **ret,
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
                .source = LOOP_SOURCE_NULL,
                .timer = LOOP_TIMER_NULL,
                .end = LOOP_TIMER_NULL,
                .on_fail = on_fail,
                .userdata = userdata,
                .request_max = config->tracing_batch_size,
                .tokens = (int64_t) config->tracing_export_rate_bytes,
                .tokens_ns = clk_monotonic(),
        };

        r = exporter_new(config, &sender->exporter, reterr_message);
        if (r == 0)
                r = loop_source_add(&sender->source, loop, exporter_event_fd(sender->exporter), EPOLLIN, on_answer);
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
        loop_source_remove(&sender->source);
        exporter_free(sender->exporter);
        free(sender);
        return NULL;
}

/* What one collector said is no reason to keep the next one waiting. */
static void forget_failures(Sender *sender) {
        sender->n_failed = 0;
        sender->not_before = 0;
        sender->request_max = sender->config->tracing_batch_size;
}

void sender_set_store(Sender *sender, Store *store) {
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
        return exporter_add(userdata, data, size);
}

/* Enters the outcome into the store: the new state of what was sent (negative: as it is), and the facts for `status`.
 */
static int settle(Sender *sender, int state, const char *error) {
        uint64_t now_ns = clk_realtime();
        int r;

        r = store_begin(sender->store);
        for (size_t i = 0; r == 0 && state >= 0 && i < sender->n_flight; i++)
                r = store_batch_set_state(sender->store, sender->flight_ids[i], state);
        if (r == 0 && sender->n_rejected > 0)
                r = store_ledger_add(sender->store, STORESCHEMA_LEDGER_REJECTED, (int64_t) sender->n_rejected);
        if (r == 0 && sender->n_rejected > 0)
                r = store_ledger_add(sender->store, STORESCHEMA_LEDGER_EXPORTED, -(int64_t) sender->n_rejected);
        if (r == 0 && error)
                r = store_meta_text(sender->store, "last_export_error", error);
        if (r == 0)
                r = store_meta_number(sender->store,
                                      error || state == STORESCHEMA_STATE_REFUSED ? "last_export_error_ns"
                                                                                  : "last_export_ok_ns",
                                      now_ns);
        if (r == 0)
                r = store_commit(sender->store);
        if (r < 0)
                store_rollback(sender->store);

        sender->unsettled = r < 0 && state >= 0;
        sender->unsettled_state = state;
        return r;
}

static void land(Sender *sender) {
        sender->n_flight = 0;
        sender->n_rejected = 0;
        sender->flight_store = NULL;
        sender->unsettled = false;
}

/* Sends what is due. Returns 0 also where nothing is. */
static int send_next(Sender *sender, uint64_t timeout_ns) {
        uint64_t wait_ns;
        int n, r;

        if (exporter_busy(sender->exporter) || !sender->store)
                return 0;

        if (sender->unsettled && sender->flight_store == sender->store) {
                r = settle(sender, sender->unsettled_state, NULL);
                if (r == -EUCLEAN)
                        return sender->on_fail(sender, r, sender->userdata);
                if (r < 0)
                        return plan(sender, SENDER_DELAY_NS);
        }
        land(sender);
        if (!config_exports(sender->config))
                return 0;

        n = choose(sender, &wait_ns);
        if (n < 0)
                return sender->on_fail(sender, n, sender->userdata);
        if (n == 0)
                return wait_ns > 0 ? plan(sender, wait_ns) : 0;

        for (int i = 0; i < n; i++) {
                r = store_batch_read(sender->store, sender->flight[i].id, add_piece, sender->exporter);
                if (r < 0 && r != -ENOENT) {
                        exporter_discard(sender->exporter);
                        return sender->on_fail(sender, r, sender->userdata);
                }
                sender->flight_ids[i] = sender->flight[i].id;
        }

        r = exporter_start(sender->exporter, timeout_ns);
        if (r < 0) {
                log_warning_errno(r, "export: cannot start a request, trying again: %m");
                sender->not_before = clk_monotonic() + RETRY_DELAY_MAX_NS;
                return plan(sender, 0);
        }
        sender->n_flight = (size_t) n;
        sender->flight_store = sender->store;
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

static int on_accepted(Sender *sender, const ExporterAnswer *answer) {
        size_t n_spans = count_spans(sender);
        RetryPartial partial = {};
        int r;

        if (answer->response && retry_partial_parse(answer->response, answer->response_size, &partial) < 0 &&
            log_ratelimit(&log_limit))
                log_warning("export: the collector's response cannot be parsed, ignoring");

        partial.n_rejected = MIN(partial.n_rejected, (uint64_t) n_spans);
        if (partial.n_rejected > 0 && log_ratelimit(&log_limit))
                log_warning("export: the collector rejected %zu of %zu spans: %s", (size_t) partial.n_rejected, n_spans,
                            partial.message);
        else if (partial.message[0] && log_ratelimit(&log_limit))
                log_warning("export: the collector says: %s", partial.message);

        if (sender->n_failed > 0)
                log_notice("export: the collector answers again");
        sender->n_failed = 0;
        sender->not_before = 0;
        sender->request_max = MIN(sender->request_max * 2, (size_t) sender->config->tracing_batch_size);

        sender->n_rejected = partial.n_rejected;
        /* Counted last: who sees the number may rely on the store. */
        r = settle(sender, STORESCHEMA_STATE_EXPORTED, NULL);
        counters_add(sender->counters, COUNTERS_AGENT, COUNTERS_AGENT_EXPORTED, n_spans - partial.n_rejected);
        counters_add(sender->counters, COUNTERS_AGENT, COUNTERS_AGENT_REJECTED, partial.n_rejected);
        return r;
}

static void describe(const ExporterAnswer *answer, char *ret, size_t size) {
        (void) snprintf(ret, size, "%s%s%s", retry_code_name(answer->code), answer->message[0] ? ": " : "",
                        answer->message);
}

static int on_refused(Sender *sender, const ExporterAnswer *answer) {
        char error[EXPORTER_MESSAGE_MAX + 32];
        size_t n_spans = count_spans(sender);
        int r;

        describe(answer, error, sizeof(error));
        if (log_ratelimit(&log_limit))
                log_error("export: the collector refused %zu spans, dropped: %s", n_spans, error);
        sender->n_failed = 0;
        sender->not_before = 0;

        r = settle(sender, STORESCHEMA_STATE_REFUSED, error);
        counters_add(sender->counters, COUNTERS_AGENT, COUNTERS_AGENT_DROP_REFUSED, n_spans);
        return r;
}

static int on_postponed(Sender *sender, const ExporterAnswer *answer, uint64_t delay_ns) {
        char error[EXPORTER_MESSAGE_MAX + 32];

        describe(answer, error, sizeof(error));
        if (log_ratelimit(&log_limit))
                log_warning("export: trying again in %.1f s: %s", (double) delay_ns / (double) NSEC_PER_SEC, error);

        counters_add(sender->counters, COUNTERS_AGENT, COUNTERS_AGENT_RETRIES, 1);
        if (answer->code == RETRY_CODE_DEADLINE_EXCEEDED) {
                counters_add(sender->counters, COUNTERS_AGENT, COUNTERS_AGENT_TIMEOUTS, 1);
                /* Perhaps it was too much for the time; a slow collector would otherwise never get through. */
                if (sender->request_max > SENDER_REQUEST_MIN)
                        sender->request_max = MAX(sender->request_max / 2, (size_t) SENDER_REQUEST_MIN);
        }
        sender->not_before = clk_monotonic() + delay_ns;
        sender->due_ns = 0;
        return settle(sender, -1, error);
}

static int on_answer(LoopSource *source, uint32_t events) {
        Sender *sender = container_of(source, Sender, source);
        _cleanup_(exporter_answer_deinit) ExporterAnswer answer = {};
        uint64_t delay_ns = 0;
        uint32_t random = 0;
        int r;

        (void) events;

        if (!exporter_take(sender->exporter, &answer))
                return 0;
        if (sender->flight_store != sender->store || !sender->store) {
                land(sender);
                return sender->store ? plan(sender, 0) : 0;
        }

        (void) util_random(&random, sizeof(random));
        switch (retry_decide(answer.code, answer.details, answer.details_size, ++sender->n_failed, random, &delay_ns)) {
        case RETRY_DONE:
                sender->n_failed--;
                r = on_accepted(sender, &answer);
                break;
        case RETRY_NEVER:
                r = on_refused(sender, &answer);
                break;
        default:
                r = on_postponed(sender, &answer, delay_ns);
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
                /* What was under way is done; what came since gets its one try. */
                if (!sender->last_try && sender->not_before == 0) {
                        sender->last_try = true;
                        r = send_next(sender, SENDER_LAST_NS);
                        if (r < 0)
                                return r;
                }
                if (!exporter_busy(sender->exporter))
                        loop_exit(sender->loop, 0);
                return 0;
        }

        /* Connected by the time we try again, if that can be. */
        if (sender->n_failed > 0 && answer.code == RETRY_CODE_UNAVAILABLE)
                exporter_reconnect(sender->exporter);
        return plan(sender, sender->more || sender->new_bytes >= SENDER_SOON_BYTES ? 0 : SENDER_DELAY_NS);
}

static int on_end(LoopTimer *timer) {
        Sender *sender = container_of(timer, Sender, end);

        loop_exit(sender->loop, 0);
        return 0;
}

int sender_finish(Sender *sender) {
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
        return loop_timer_set(&sender->end, SENDER_LAST_NS, 0);
}
