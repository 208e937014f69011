#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "agent.h"
#include "clk.h"
#include "intake.h"
#include "log.h"
#include "pressure.h"
#include "reading.h"
#include "sender.h"
#include "statedir.h"
#include "stopping.h"

#define FINISH_NS NSEC_PER_SEC                        /* for a last scan */
#define END_NS    (SENDER_LAST_NS + NSEC_PER_SEC / 4) /* for that and the last request */

struct Agent {
        Loop *loop;
        int spawner_fd;
        const Config *config;
        const char *state_dir;
        const char *store_dir;
        char host_name[HOST_NAME_MAX + 1];
        uint64_t started_ns;

        StateDir state;
        Stopping stopping;
        int lock_fd;
        Reading reading;
        Store *store;
        Intake *intake;
        Sender *sender; /* NULL: nothing is exported */
        Pressure pressure;

        LoopTimer turn;
        bool turn_planned;
        LoopTimer tick; /* every AGENT_TICK_NS; with pressure every PRESSURE_PERIOD_NS */
        uint64_t ticked_ns;
        bool scan_needed;
        uint64_t pause_until; /* monotonic; the store failed */
        bool disk_low;
        bool unfinished; /* the last turn left something other than files */
        bool finishing;

        /* Of the last turn: files that are gone, whose names the next transaction forgets. */
        char (*gone)[SPOOL_NAME_MAX + 1];
        size_t n_gone;
        /* Of this turn: files that go after the commit. */
        char (*taken)[SPOOL_NAME_MAX + 1];
        size_t n_taken;
};

static LogRatelimit file_limit = LOG_RATELIMIT(60, 5);
static LogRatelimit store_limit = LOG_RATELIMIT(60, 3);

static int on_change(Collect *collect);
static int on_turn(LoopTimer *timer);
static int on_tick(LoopTimer *timer);
static int on_sender_fail(Sender *sender, int error, void *userdata);

static const char *node_name(const Agent *agent) {
        return agent->config->node_name[0] ? agent->config->node_name : agent->host_name;
}

static int write_facts(Agent *agent) {
        char words[16];
        int r;

        r = store_begin(agent->store);
        if (r == 0)
                r = store_meta_text(agent->store, "node", node_name(agent));
        if (r == 0)
                r = store_meta_text(agent->store, "version", PODSPAN_VERSION);
        if (r == 0)
                r = store_meta_number(agent->store, "started_ns", agent->started_ns);
        if (r == 0)
                r = store_meta_endpoint(agent->store,
                                        config_exports(agent->config) ? agent->config->tracing_endpoint : "none");
        if (r == 0)
                r = store_meta_text(agent->store, "protocol", config_protocol_name(agent->config->tracing_protocol));
        if (r == 0)
                r = store_meta_text(agent->store, "pressure", pressure_words(&agent->pressure, words));
        if (r == 0)
                r = store_commit(agent->store);
        if (r < 0)
                store_rollback(agent->store);
        return r;
}

static StoreLimits store_limits(const Agent *agent) {
        return (StoreLimits){
                .max_size = agent->config->store_max_size,
                .max_age_ns = agent->config->store_max_age_ns,
                .min_free_percent = agent->config->store_min_free_percent,
        };
}

static int open_store(Agent *agent) {
        const StoreLimits limits = store_limits(agent);
        _cleanup_free_ char *aside = NULL;
        int r;

        r = store_open(agent->store_dir, &limits, &agent->store, &aside);
        if (r == -EPROTO)
                return log_error_errno(
                        r, "%s/" STORESCHEMA_FILE ": written by a newer podspan (schema above %d); not touched",
                        agent->store_dir, STORESCHEMA_VERSION);
        if (r < 0)
                return log_error_errno(r, "%s/" STORESCHEMA_FILE ": %m", agent->store_dir);
        if (r == STOREFILE_REPLACED)
                log_error("%s/" STORESCHEMA_FILE " was damaged or of an unknown schema; moved to %s, beginning anew",
                          agent->store_dir, aside);

        r = write_facts(agent);
        if (r < 0 && r != -ENOSPC && r != -EUCLEAN)
                return log_error_errno(r, "%s/" STORESCHEMA_FILE ": %s", agent->store_dir, store_error(agent->store));
        if (agent->sender)
                sender_set_store(agent->sender, agent->store);
        return 0;
}

static int make_intake(Agent *agent, Intake **ret) {
        const IntakeSettings settings = {
                .ingest = {
                        .host_name = agent->host_name,
                        .node_name = node_name(agent),
                        .service_name = agent->config->service_name,
                        .resource_attributes = agent->config->resource_attributes,
                        .chunk_max = agent->config->tracing_batch_size,
                },
                .rules = {
                        .errors = agent->config->tracing_keep_errors,
                        .slower_than_ns = agent->config->tracing_keep_slower_than_ns,
                },
                .exports = config_exports(agent->config),
                .stopping = { stopping_find, &agent->stopping },
        };

        return intake_new(&settings, agent->state.counters, ret);
}

/* A collector's HTTP port takes no gRPC: who configures it would wait for spans for ever. */
static void check_protocol(const Agent *agent) {
        if (config_exports(agent->config) && agent->config->tracing_protocol != CONFIG_PROTOCOL_GRPC)
                log_warning(
                        "tracing_protocol (OTEL_EXPORTER_OTLP_PROTOCOL): %s is not supported yet, exporting to %s by "
                        "gRPC",
                        config_protocol_name(agent->config->tracing_protocol), agent->config->tracing_endpoint);
}

/* Makes the sender where there is something to be exported, or tells it of the changed configuration. */
static int update_sender(Agent *agent, char **reterr_message) {
        int r;

        if (agent->sender)
                return sender_reload(agent->sender, reterr_message);
        if (!config_exports(agent->config))
                return 0;

        r = sender_new(agent->loop, agent->spawner_fd, agent->config, on_sender_fail, agent, &agent->sender,
                       reterr_message);
        if (r < 0)
                return r;
        sender_set_counters(agent->sender, agent->state.counters);
        sender_set_store(agent->sender, agent->store);
        return sender_notify(agent->sender, 0); /* what an earlier life left */
}

static int open_all(Agent *agent) {
        _cleanup_free_ char *message = NULL;
        _cleanup_close_ int store_fd = -EBADF;
        int r;

        r = statedir_make(agent->store_dir, 02750, &store_fd);
        if (r < 0)
                return log_error_errno(r, "%s: %m", agent->store_dir);
        r = storefile_lock(store_fd, &agent->lock_fd);
        if (r == -EBUSY)
                return log_error_errno(r, "%s: another podspand uses it", agent->store_dir);
        if (r < 0)
                return log_error_errno(r, "%s/podspand.lock: %m", agent->store_dir);
        r = reading_init(&agent->reading, store_fd);
        if (r < 0 && agent->reading.fd < 0)
                return log_error_errno(r, "%s/" READING_FILE ": %m", agent->store_dir);
        if (r < 0)
                (void) log_warning_errno(r, "%s/" READING_FILE " cannot be written, ignoring: %m", agent->store_dir);

        r = statedir_open(&agent->state, agent->state_dir, agent->loop, on_change);
        if (r < 0)
                return r;

        pressure_open(&agent->pressure, PRESSURE_DIR);
        agent->stopping.state_fd = agent->state.fd;
        r = update_sender(agent, &message);
        if (r < 0)
                return log_error_errno(r, "export: %s", message ? message : strerror(-r));

        check_protocol(agent);

        r = make_intake(agent, &agent->intake);
        if (r < 0)
                return log_error_errno(r, "resource_attributes: %m");

        return open_store(agent);
}

int agent_reload(Agent *agent, char **reterr_message) {
        _cleanup_(intake_freep) Intake *intake = NULL;
        const StoreLimits limits = store_limits(agent);
        int r;

        r = make_intake(agent, &intake);
        if (r < 0) {
                if (asprintf(reterr_message, "resource_attributes: %s", strerror(-r)) < 0)
                        *reterr_message = NULL;
                return r;
        }
        r = update_sender(agent, reterr_message);
        if (r < 0)
                return r;

        check_protocol(agent);

        /* Between two turns it holds nothing. */
        intake_free(agent->intake);
        agent->intake = TAKE_PTR(intake);
        store_set_limits(agent->store, &limits);
        r = write_facts(agent);
        if (r < 0)
                (void) log_warning_errno(r, "%s/" STORESCHEMA_FILE ": what the agent is cannot be noted, ignoring: %m",
                                         agent->store_dir);
        return 0;
}

int agent_new(Loop *loop, int spawner_fd, const Config *config, const char *state_dir, const char *store_dir,
              Agent **ret) {
        _cleanup_(agent_freep) Agent *agent = NULL;
        uint64_t tick_ns;
        int r;

        agent = calloc(1, sizeof(*agent));
        if (!agent)
                return log_error_errno(-ENOMEM, "%m");
        *agent = (Agent){
                .loop = loop,
                .spawner_fd = spawner_fd,
                .config = config,
                .state_dir = state_dir,
                .store_dir = store_dir,
                .started_ns = clk_realtime(),
                .state = STATEDIR_NULL,
                .lock_fd = -EBADF,
                .reading = READING_NULL,
                .pressure = PRESSURE_NULL,
                .turn = LOOP_TIMER_NULL,
                .tick = LOOP_TIMER_NULL,
                .scan_needed = true,
        };
        (void) gethostname(agent->host_name, sizeof(agent->host_name) - 1);

        agent->gone = calloc(AGENT_TURN_FILES, sizeof(*agent->gone));
        agent->taken = calloc(AGENT_TURN_FILES, sizeof(*agent->taken));
        if (!agent->gone || !agent->taken)
                return log_error_errno(-ENOMEM, "%m");

        r = open_all(agent);
        if (r < 0)
                return r;

        r = loop_timer_add(&agent->turn, loop, on_turn);
        if (r == 0)
                r = loop_timer_add(&agent->tick, loop, on_tick);
        tick_ns = pressure_is_on(&agent->pressure) ? PRESSURE_PERIOD_NS : AGENT_TICK_NS;
        if (r == 0)
                r = loop_timer_set(&agent->tick, tick_ns, tick_ns);
        if (r == 0)
                r = loop_timer_set(&agent->turn, 0, 0);
        if (r < 0)
                return log_error_errno(r, "timer: %m");
        agent->turn_planned = true;

        *ret = TAKE_PTR(agent);
        return 0;
}

Agent *agent_free(Agent *agent) {
        if (!agent)
                return NULL;

        loop_timer_remove(&agent->turn);
        loop_timer_remove(&agent->tick);
        sender_free(agent->sender);
        statedir_close(&agent->state);
        intake_free(agent->intake);
        store_free(agent->store);
        reading_deinit(&agent->reading);
        pressure_close(&agent->pressure);
        close_fd(agent->lock_fd);
        free(agent->gone);
        free(agent->taken);
        free(agent);
        return NULL;
}

static int plan_turn(Agent *agent, uint64_t delay_ns) {
        uint64_t now_ns = clk_monotonic();

        if (agent->turn_planned || agent->finishing)
                return 0;
        if (agent->pause_until > now_ns)
                delay_ns = MAX(delay_ns, agent->pause_until - now_ns);
        agent->turn_planned = true;
        return loop_timer_set(&agent->turn, delay_ns, 0);
}

static int on_change(Collect *collect) {
        Agent *agent = container_of(collect, Agent, state.collect);

        agent->scan_needed = true;
        return plan_turn(agent, AGENT_TURN_DELAY_NS);
}

/* A damaged store is replaced; with any other failure the spool holds the spans until it is over. */
static int on_store_error(Agent *agent, int error) {
        if (log_ratelimit(&store_limit))
                log_error("%s/" STORESCHEMA_FILE ": %s", agent->store_dir,
                          agent->store ? store_error(agent->store) : strerror(-error));

        agent->pause_until = clk_monotonic() + AGENT_PAUSE_NS;
        agent->n_gone = 0;
        if (error == -EUCLEAN) {
                _cleanup_free_ char *aside = NULL;
                int r;

                if (agent->sender)
                        sender_set_store(agent->sender, NULL);
                agent->store = store_free(agent->store);
                r = storefile_move_aside(agent->store_dir, &aside);
                if (r < 0)
                        return log_error_errno(r, "%s/" STORESCHEMA_FILE " is damaged and cannot be moved aside: %m",
                                               agent->store_dir);
                log_error("%s/" STORESCHEMA_FILE " is damaged; moved to %s, beginning anew", agent->store_dir, aside);
                r = open_store(agent);
                if (r < 0)
                        return r;
        }

        agent->scan_needed = true;
        return plan_turn(agent, 0);
}

static int on_sender_fail(Sender *sender, int error, void *userdata) {
        (void) sender;
        return on_store_error(userdata, error);
}

/* After the commit, never before. */
static void remove_taken(Agent *agent) {
        agent->n_gone = 0;
        for (size_t i = 0; i < agent->n_taken; i++) {
                int r = collect_remove(&agent->state.collect, agent->taken[i]);

                if (r < 0) {
                        /* Its name stays in the store, so that its spans come in once. */
                        if (log_ratelimit(&file_limit))
                                log_warning_errno(r, "%s/spool/%s cannot be removed, ignoring it from now on: %m",
                                                  agent->state_dir, agent->taken[i]);
                        continue;
                }
                (void) strcpy(agent->gone[agent->n_gone++], agent->taken[i]);
        }
        agent->n_taken = 0;
}

/*
 * May @name be read now? 1, or 0 where it was set aside. -EAGAIN: not in this turn, since podspand died over it and a
 * second death shall have one possible reason.
 */
static int begin_reading(Agent *agent, const char *name, bool alone) {
        unsigned deaths = reading_deaths(&agent->reading, name);
        int r;

        if (deaths > 0 && !alone)
                return -EAGAIN;
        if (deaths >= READING_DEATHS_MAX) {
                r = collect_set_aside(&agent->state.collect, name);
                log_error("%s/spool/%s: podspand ended %u times while it read this file; it is set aside%s",
                          agent->state_dir, name, deaths, r < 0 ? ", but cannot be renamed" : " as " COLLECT_ASIDE "…");
                counters_add(agent->state.counters, COUNTERS_AGENT, COUNTERS_AGENT_SET_ASIDE, 1);
                reading_forget(&agent->reading, name);
                return 0;
        }

        r = reading_begin(&agent->reading, name);
        if (r < 0 && log_ratelimit(&file_limit))
                log_warning_errno(r, "%s/" READING_FILE " cannot be written, ignoring: %m", agent->store_dir);
        return 1;
}

static void end_reading(Agent *agent) {
        int r = reading_end(&agent->reading);

        if (r < 0 && log_ratelimit(&file_limit))
                log_warning_errno(r, "%s/" READING_FILE " cannot be written, ignoring: %m", agent->store_dir);
}

/* Takes one file in. Adds to @size what was read. -EAGAIN: it is for the next turn; else negative: the store failed. */
static int take_file(Agent *agent, const char *name, size_t *size) {
        _cleanup_free_ uint8_t *data = NULL;
        size_t n = 0;
        int refused = 0, r;

        r = store_file_known(agent->store, name);
        if (r < 0)
                return r;
        if (r > 0)
                reading_forget(&agent->reading, name);
        else {
                r = begin_reading(agent, name, agent->n_taken == 0);
                if (r <= 0)
                        return r;
                r = collect_read(&agent->state.collect, name, &data, &n);
                if (r == -EBADMSG) {
                        refused = r;
                        intake_count_file(agent->intake, false);
                } else if (r < 0)
                        /* Gone, or the next scan brings it again. */
                        return r == -ENOMEM ? r : 0;
                else {
                        r = intake_add(agent->intake, data, n, &refused);
                        if (r < 0)
                                return r;
                }
                r = store_file_add(agent->store, name);
                if (r < 0)
                        return r;
                if (refused < 0 && log_ratelimit(&file_limit))
                        log_warning("%s/spool/%s is %s, removed", agent->state_dir, name,
                                    refused == -E2BIG ? "too large" : "no spool file");
        }

        (void) strcpy(agent->taken[agent->n_taken++], name);
        *size += n;
        return 0;
}

static int take_files(Agent *agent, bool *ret_more) {
        size_t size = 0;
        int r;

        for (size_t i = 0; i < agent->n_gone; i++) {
                r = store_file_forget(agent->store, agent->gone[i]);
                if (r < 0)
                        return r;
        }

        *ret_more = true;
        while (agent->n_taken < AGENT_TURN_FILES && size < AGENT_TURN_BYTES &&
               intake_made_bytes(agent->intake) < INTAKE_MADE_MAX) {
                const char *name = collect_next(&agent->state.collect);
                bool suspect;

                if (!name) {
                        *ret_more = false;
                        return 0;
                }
                suspect = reading_deaths(&agent->reading, name) > 0;
                r = take_file(agent, name, &size);
                if (r == -EAGAIN)
                        collect_back(&agent->state.collect);
                else if (r < 0)
                        return r;
                if (suspect)
                        return 0;
        }
        return 0;
}

static int retain(Agent *agent, StoreRetained *ret) {
        const int64_t *spare = NULL;
        size_t n_spare = 0;

        if (agent->sender)
                spare = sender_in_flight(agent->sender, &n_spare);
        return store_retain(agent->store, clk_realtime(), spare, n_spare, ret);
}

static int store_pressure(Agent *agent) {
        static_assert(_PRESSURE_MAX == STORE_PRESSURE_N, "some and full of three");

        for (size_t i = 0; i < agent->pressure.n_rows; i++) {
                const PressureRow *row = agent->pressure.rows + i;
                int r = store_pressure_add(agent->store, row->at_ns, row->seconds, row->us);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* One transaction. Returns 0 with whether there is more to do, or the store's error (rolled back). */
static int turn(Agent *agent, bool *ret_more) {
        bool more_files = false, more_traces = false;
        StoreRetained retained = {};
        int r;

        r = intake_begin(agent->intake, agent->store, clk_realtime());
        if (r == 0)
                r = take_files(agent, &more_files);
        if (r == 0)
                r = store_pressure(agent);
        if (r == 0)
                r = retain(agent, &retained);
        if (r == 0)
                r = intake_commit(agent->intake, &more_traces);
        end_reading(agent);
        if (r < 0) {
                agent->n_taken = 0;
                intake_rollback(agent->intake);
                return r;
        }

        counters_add(agent->state.counters, COUNTERS_AGENT, COUNTERS_AGENT_DROP_RETENTION, retained.n_spans_pending);
        if (retained.n_spans_pending > 0 && log_ratelimit(&store_limit))
                log_warning("%zu spans that were never exported went by the store's bounds", retained.n_spans_pending);

        pressure_clear(&agent->pressure);
        remove_taken(agent);
        agent->unfinished = more_traces || retained.more;
        *ret_more = more_files || agent->unfinished;
        return 0;
}

/* The disk is full: what comes is counted and goes, so that the spool does not fill up and nobody is held up. */
static int refuse_turn(Agent *agent, bool *ret_more) {
        *ret_more = true;
        for (size_t n = 0; n < AGENT_TURN_FILES; n++) {
                _cleanup_free_ uint8_t *data = NULL;
                const char *name = collect_next(&agent->state.collect);
                size_t size;
                int r;

                if (!name) {
                        *ret_more = false;
                        break;
                }
                /* Its spans are in the store already. */
                r = store_file_known(agent->store, name);
                if (r < 0)
                        return r;
                if (r == 0) {
                        r = begin_reading(agent, name, /* alone= */ n == 0);
                        if (r == -EAGAIN) {
                                collect_back(&agent->state.collect);
                                break;
                        }
                        if (r == 0)
                                continue;
                        r = collect_read(&agent->state.collect, name, &data, &size);
                        if (r == 0)
                                r = intake_refuse(agent->intake, data, size);
                        if (r < 0 && r != -EBADMSG)
                                continue;
                }
                (void) collect_remove(&agent->state.collect, name);
        }
        end_reading(agent);
        return 0;
}

static bool check_disk(Agent *agent) {
        bool low = store_disk_low(agent->store) > 0;

        if (low != agent->disk_low) {
                if (low)
                        log_error("%s: less than %u %% of the disk is free, spans are dropped", agent->store_dir,
                                  agent->config->store_min_free_percent);
                else
                        log_notice("%s: enough of the disk is free again", agent->store_dir);
        }
        agent->disk_low = low;
        return low;
}

static void count_foreign(Agent *agent) {
        size_t n = collect_take_foreign(&agent->state.collect);

        counters_add(agent->state.counters, COUNTERS_AGENT, COUNTERS_AGENT_FOREIGN, n);
        if (n > 0 && log_ratelimit(&file_limit))
                log_warning("%s/spool: %zu names that are no spool file's were removed", agent->state_dir, n);
}

/* Scans if need be, and takes one turn's files. */
static int work(Agent *agent, bool *ret_more) {
        int r;

        if (agent->scan_needed) {
                r = collect_scan(&agent->state.collect);
                if (r < 0) {
                        if (log_ratelimit(&file_limit))
                                log_warning_errno(r, "%s/spool cannot be read, trying again: %m", agent->state_dir);
                        *ret_more = false;
                        return 0;
                }
                agent->scan_needed = false;
                count_foreign(agent);
        }

        if (check_disk(agent))
                return refuse_turn(agent, ret_more);

        /* The usual tick of an idle node: no transaction. */
        if (collect_empty(&agent->state.collect) && agent->n_gone == 0 && !agent->unfinished &&
            !(agent->finishing && agent->pressure.n_rows > 0) && !pressure_due(&agent->pressure, clk_realtime())) {
                StoreUndecided undecided;

                (void) reading_clear(&agent->reading);
                r = store_retain_due(agent->store, clk_realtime());
                if (r == 0)
                        r = store_undecided_next(agent->store, clk_realtime(), &undecided);
                if (r <= 0) {
                        *ret_more = false;
                        return r;
                }
        }

        r = turn(agent, ret_more);
        if (r == -ENOSPC) {
                /* The same as below the bound; the next turn asks the disk again. */
                agent->scan_needed = true;
                r = collect_scan(&agent->state.collect);
                if (r == 0)
                        r = refuse_turn(agent, ret_more);
                if (log_ratelimit(&store_limit))
                        log_error("%s: the disk is full, spans are dropped", agent->store_dir);
        }
        return r;
}

static int on_turn(LoopTimer *timer) {
        Agent *agent = container_of(timer, Agent, turn);
        bool more = false;
        size_t n_bytes;
        int r;

        agent->turn_planned = false;
        r = work(agent, &more);
        if (r < 0)
                return on_store_error(agent, r);

        n_bytes = intake_committed_bytes(agent->intake);
        if (agent->sender && n_bytes > 0) {
                r = sender_notify(agent->sender, n_bytes);
                if (r < 0)
                        return r;
        }

        if (more)
                return plan_turn(agent, 0);
        return agent->scan_needed ? plan_turn(agent, AGENT_TURN_DELAY_NS) : 0;
}

/* Somebody removed STATE, or mounted something over the spool. */
static int check_state(Agent *agent) {
        int r;

        if (statedir_current(&agent->state))
                return 0;

        if (log_ratelimit(&file_limit))
                log_notice("%s or its spool was replaced, opening it anew", agent->state_dir);
        intake_set_counters(agent->intake, NULL);
        if (agent->sender)
                sender_set_counters(agent->sender, NULL);
        statedir_close(&agent->state);

        /* Logged. The next tick tries again; what was open is of no use to anybody. */
        r = statedir_open(&agent->state, agent->state_dir, agent->loop, on_change);
        agent->stopping.state_fd = agent->state.fd;
        intake_set_counters(agent->intake, agent->state.counters);
        if (agent->sender)
                sender_set_counters(agent->sender, agent->state.counters);
        return r;
}

static int on_tick(LoopTimer *timer) {
        Agent *agent = container_of(timer, Agent, tick);
        Clk now = clk_now();
        int r;

        if (agent->finishing)
                return 0;
        pressure_take(&agent->pressure, &now);
        if (now.monotonic_ns - agent->ticked_ns < AGENT_TICK_NS - PRESSURE_PERIOD_NS / 2)
                return 0;
        agent->ticked_ns = now.monotonic_ns;

        r = check_state(agent);
        if (r < 0)
                return 0;
        agent->scan_needed = true;
        return plan_turn(agent, 0);
}

int agent_finish(Agent *agent) {
        uint64_t begin_ns = clk_monotonic(), elapsed_ns;
        bool more = true;
        int r = 0;

        if (agent->finishing)
                return 0;
        agent->finishing = true;
        agent->scan_needed = true;
        while (more && r == 0 && clk_monotonic() - begin_ns < FINISH_NS)
                r = work(agent, &more);
        if (r < 0)
                log_error("%s/" STORESCHEMA_FILE ": %s; what is in the spool stays there", agent->store_dir,
                          store_error(agent->store));

        if (agent->sender && r == 0) {
                elapsed_ns = clk_monotonic() - begin_ns;
                return sender_finish(agent->sender, END_NS - MIN(elapsed_ns, END_NS - SENDER_LAST_NS / 4));
        }
        loop_exit(agent->loop, 0);
        return 0;
}

const char *agent_status(const Agent *agent) {
        static char status[256];
        bool exports = config_exports(agent->config);

        (void) snprintf(status, sizeof(status), "Collecting %s/spool, %s%s", agent->state_dir,
                        exports ? "exporting to " : "not exporting", exports ? agent->config->tracing_endpoint : "");
        return status;
}
