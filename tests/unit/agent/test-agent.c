#include "fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <sqlite3.h>
#include "agent.h"
#include "collect.h"
#include "counters.h"
#include "reading.h"
#include "storeschema.h"

/* A podspand without its command line. */
typedef struct Rig {
        char dir[64];
        char state_dir[96];
        char store_dir[96];
        int spawner[2];
        Config config;
        Loop *loop;
        Agent *agent;
        unsigned n_files;
} Rig;

static int setup(void **state) {
        Rig *rig = calloc(1, sizeof(*rig));

        assert_non_null(rig);
        (void) strcpy(rig->dir, "/tmp/podspan-test-agent-XXXXXX");
        assert_non_null(mkdtemp(rig->dir));
        (void) snprintf(rig->state_dir, sizeof(rig->state_dir), "%s/state", rig->dir);
        (void) snprintf(rig->store_dir, sizeof(rig->store_dir), "%s/store", rig->dir);
        assert_int_equal(mkdir(rig->state_dir, 0755), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, rig->spawner), 0);
        assert_int_equal(config_defaults(&rig->config), 0);
        free(rig->config.tracing_endpoint);
        rig->config.tracing_endpoint = strdup("none");
        rig->config.store_min_free_percent = 0;
        /* The spans of the fixture are of 2023. */
        rig->config.store_max_age_ns = UINT64_C(4000000000) * NSEC_PER_SEC;
        assert_int_equal(loop_new(&rig->loop), 0);
        *state = rig;
        return 0;
}

static int teardown(void **state) {
        Rig *rig = *state;
        char command[128];

        agent_free(rig->agent);
        loop_free(rig->loop);
        close_fd(rig->spawner[0]);
        close_fd(rig->spawner[1]);
        config_deinit(&rig->config);
        (void) snprintf(command, sizeof(command), "rm -rf -- '%s'", rig->dir);
        assert_int_equal(system(command), 0);
        free(rig);
        return 0;
}

static int begin(Rig *rig) {
        return agent_new(rig->loop, rig->spawner[0], &rig->config, rig->state_dir, rig->store_dir, &rig->agent);
}

static void end(Rig *rig) {
        rig->agent = agent_free(rig->agent);
}

static void make_spool(Rig *rig) {
        int fd = open(rig->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_int_equal(spool_create(fd), 0);
        close_fd(fd);
}

/* Puts a file into the spool as a producer does. Returns its name. */
static const char *put(Rig *rig, const void *data, size_t size) {
        static char name[64];
        char path[256], from[256];
        int fd;

        (void) snprintf(name, sizeof(name), "1-%020u-1-1.otlp", ++rig->n_files);
        (void) snprintf(from, sizeof(from), "%s/spool/.new", rig->state_dir);
        (void) snprintf(path, sizeof(path), "%s/spool/%s", rig->state_dir, name);
        fd = open(from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
        close_fd(fd);
        assert_int_equal(rename(from, path), 0);
        return name;
}

static const char *put_spans(Rig *rig, size_t n, uint32_t flags) {
        _cleanup_free_ uint8_t *data = NULL;
        Fixture spans[FIXTURE_SPANS_MAX] = {};
        size_t size;

        for (size_t i = 0; i < n; i++)
                spans[i] =
                        (Fixture){ .trace = (uint8_t) (rig->n_files + 1), .span = (uint8_t) (i + 1), .flags = flags };
        data = fixture_pack(spans, n, &size);
        return put(rig, data, size);
}

static bool in_spool(Rig *rig, const char *name) {
        char path[256];

        (void) snprintf(path, sizeof(path), "%s/spool/%s", rig->state_dir, name);
        return access(path, F_OK) == 0;
}

static int64_t ask(Rig *rig, const char *sql) {
        sqlite3_stmt *stmt;
        char path[128];
        sqlite3 *db;
        int64_t n = -1;

        (void) snprintf(path, sizeof(path), "%s/" STORESCHEMA_FILE, rig->store_dir);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
        if (sqlite3_step(stmt) == SQLITE_ROW)
                n = sqlite3_column_int64(stmt, 0);
        (void) sqlite3_finalize(stmt);
        (void) sqlite3_close(db);
        return n;
}

static int64_t n_spans(Rig *rig) {
        return ask(rig, "SELECT count(*) FROM span");
}

static uint64_t counted(Rig *rig, CountersId id) {
        int fd = open(rig->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(counters_freep) Counters *counters = counters_open(fd, false);
        uint64_t n = counters_get(counters, COUNTERS_AGENT, id);

        close_fd(fd);
        return n;
}

/* Turns until the spool has no file @name. */
static void until_taken(Rig *rig, const char *name) {
        for (unsigned i = 0; i < 500 && in_spool(rig, name); i++)
                assert_int_equal(loop_turn(rig->loop, 20), 0);
        assert_false(in_spool(rig, name));
}

/* What is there at the start and what comes later becomes rows, and the files go. */
static void takes(void **state) {
        Rig *rig = *state;

        make_spool(rig);
        (void) put_spans(rig, 2, 1);
        (void) put_spans(rig, 3, 0);
        assert_int_equal(begin(rig), 0);
        assert_non_null(strstr(agent_status(rig->agent), "/state/spool, not exporting"));
        until_taken(rig, "1-00000000000000000002-1-1.otlp");
        assert_false(in_spool(rig, "1-00000000000000000001-1-1.otlp"));
        assert_int_equal(n_spans(rig), 5);
        /* Nothing is exported: they are the node's own. */
        assert_int_equal(ask(rig, "SELECT count(*) FROM batch WHERE state <> 0"), 0);
        until_taken(rig, put_spans(rig, 1, 1));
        assert_int_equal(n_spans(rig), 6);
        assert_int_equal(counted(rig, COUNTERS_AGENT_FILES), 3);
        assert_int_equal(counted(rig, COUNTERS_AGENT_SPANS), 6);
        assert_int_equal(ask(rig, "SELECT value = 'none' FROM meta WHERE key = 'endpoint'"), 1);
        assert_int_equal(ask(rig, "SELECT value = 'grpc' FROM meta WHERE key = 'protocol'"), 1);
        assert_int_equal(ask(rig, "SELECT value = '" PODSPAN_VERSION "' FROM meta WHERE key = 'version'"), 1);
        assert_int_equal(ask(rig, "SELECT value > 1700000000000000000 FROM meta WHERE key = 'started_ns'"), 1);
        assert_int_equal(ask(rig, "SELECT length(value) > 0 FROM meta WHERE key = 'node'"), 1);
}

/* A file's spans come in once, also where podspand died between the commit and the removal. */
static void once(void **state) {
        Rig *rig = *state;
        const char *name;

        make_spool(rig);
        name = put_spans(rig, 2, 1);
        assert_int_equal(begin(rig), 0);
        until_taken(rig, name);
        end(rig);
        rig->n_files--;
        name = put_spans(rig, 2, 1);
        {
                sqlite3 *db;
                char path[128];

                (void) snprintf(path, sizeof(path), "%s/" STORESCHEMA_FILE, rig->store_dir);
                assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
                assert_int_equal(sqlite3_exec(db,
                                              "DELETE FROM file; INSERT INTO file VALUES "
                                              "('1-00000000000000000001-1-1.otlp')",
                                              NULL, NULL, NULL),
                                 SQLITE_OK);
                (void) sqlite3_close(db);
        }
        assert_int_equal(begin(rig), 0);
        until_taken(rig, name);
        assert_int_equal(n_spans(rig), 2);
        assert_int_equal(ask(rig, "SELECT n FROM ledger WHERE key = 'in'"), 2);

        /* The name is forgotten with the next turn: another file may have it. */
        until_taken(rig, put_spans(rig, 1, 1));
        assert_int_equal(ask(rig, "SELECT count(*) FROM file WHERE name LIKE '%0001-1-1.otlp'"), 0);
}

/* What is no spool file goes, and is counted. */
static void garbage(void **state) {
        Rig *rig = *state;
        char path[256];

        make_spool(rig);
        (void) put(rig, "\377\377\377", 3);
        (void) snprintf(path, sizeof(path), "%s/spool/hello", rig->state_dir);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(begin(rig), 0);
        until_taken(rig, put_spans(rig, 1, 1));
        assert_false(in_spool(rig, "hello"));
        assert_false(in_spool(rig, "1-00000000000000000001-1-1.otlp"));
        assert_int_equal(n_spans(rig), 1);
        assert_int_equal(counted(rig, COUNTERS_AGENT_FOREIGN), 1);
        assert_int_equal(counted(rig, COUNTERS_INPUT_BAD), 1);
}

/* One podspand a store, and one a spool. */
static void alone(void **state) {
        Rig *rig = *state;
        Agent *other = NULL;
        char path[128];

        (void) snprintf(path, sizeof(path), "%s/other", rig->dir);
        assert_int_equal(begin(rig), 0);
        assert_int_equal(agent_new(rig->loop, -1, &rig->config, path, rig->store_dir, &other), -EBUSY);
        assert_int_equal(agent_new(rig->loop, -1, &rig->config, rig->state_dir, path, &other), -EBUSY);
        assert_null(other);
        end(rig);
        assert_int_equal(begin(rig), 0);
}

/* A store of a newer podspan is left alone; a damaged one is moved out of the way. */
static void other_stores(void **state) {
        Rig *rig = *state;
        char path[128];
        int fd;

        assert_int_equal(begin(rig), 0);
        end(rig);
        assert_int_equal(ask(rig, "UPDATE meta SET value = 99 WHERE key = 'schema'"), -1);
        assert_int_equal(begin(rig), -EPROTO);
        assert_int_equal(ask(rig, "SELECT value FROM meta WHERE key = 'schema'"), 99);

        (void) snprintf(path, sizeof(path), "%s/" STORESCHEMA_FILE, rig->store_dir);
        fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
        for (unsigned i = 0; i < 1000; i++)
                assert_int_equal(write(fd, "not a database ", 15), 15);
        close_fd(fd);
        assert_int_equal(begin(rig), 0);
        assert_int_equal(ask(rig, "SELECT value FROM meta WHERE key = 'schema'"), STORESCHEMA_VERSION);
        until_taken(rig, put_spans(rig, 1, 1));
        assert_int_equal(n_spans(rig), 1);
}

/* On a disk that is too full spans are dropped and counted, so that the spool does not fill up. */
static void disk_is_low(void **state) {
        Rig *rig = *state;

        rig->config.store_min_free_percent = 100;
        make_spool(rig);
        (void) put_spans(rig, 2, 1);
        assert_int_equal(begin(rig), 0);
        until_taken(rig, put_spans(rig, 3, 1));
        assert_int_equal(n_spans(rig), 0);
        assert_int_equal(counted(rig, COUNTERS_AGENT_DROP_STORE_FULL), 5);

        /* Until there is room again. */
        {
                _cleanup_free_ char *message = NULL;

                rig->config.store_min_free_percent = 0;
                assert_int_equal(agent_reload(rig->agent, &message), 0);
        }
        until_taken(rig, put_spans(rig, 1, 1));
        assert_int_equal(n_spans(rig), 1);
}

/* A file over which podspand died is read alone; after the second death it is set aside. */
static void deadly_file(void **state) {
        Rig *rig = *state;
        const char *name;
        char deadly[64], aside[96];
        int fd;

        make_spool(rig);
        (void) put_spans(rig, 1, 1);
        name = put_spans(rig, 2, 1);
        (void) strcpy(deadly, name);
        assert_int_equal(mkdir(rig->store_dir, 0750), 0);
        fd = open(rig->store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (unsigned i = 0; i < READING_DEATHS_MAX; i++) {
                Reading reading = READING_NULL;

                assert_int_equal(reading_init(&reading, fd), 0);
                assert_int_equal(reading_begin(&reading, deadly), 0);
                reading_deinit(&reading);
                if (i + 1 == READING_DEATHS_MAX)
                        break;
        }
        close_fd(fd);
        assert_int_equal(begin(rig), 0);
        until_taken(rig, deadly);
        (void) snprintf(aside, sizeof(aside), COLLECT_ASIDE "%s", deadly);
        assert_true(in_spool(rig, aside));
        assert_int_equal(counted(rig, COUNTERS_AGENT_SET_ASIDE), 1);
        until_taken(rig, put_spans(rig, 1, 1));
        assert_int_equal(n_spans(rig), 2);
        assert_int_equal(counted(rig, COUNTERS_AGENT_SET_ASIDE), 1);
}

static void suspect_is_read_again(void **state) {
        Rig *rig = *state;
        Reading reading = READING_NULL;
        const char *name;
        int fd;

        make_spool(rig);
        (void) put_spans(rig, 1, 1);
        name = put_spans(rig, 2, 1);
        assert_int_equal(mkdir(rig->store_dir, 0750), 0);
        fd = open(rig->store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(reading_init(&reading, fd), 0);
        assert_int_equal(reading_begin(&reading, name), 0);
        reading_deinit(&reading);
        close_fd(fd);
        assert_int_equal(begin(rig), 0);
        until_taken(rig, name);
        assert_int_equal(n_spans(rig), 3);
        assert_int_equal(counted(rig, COUNTERS_AGENT_SET_ASIDE), 0);
}

/* The last scan takes what came a moment ago; then the loop ends. */
static void finish(void **state) {
        Rig *rig = *state;
        const char *name;

        assert_int_equal(begin(rig), 0);
        name = put_spans(rig, 2, 1);
        assert_int_equal(agent_finish(rig->agent), 0);
        assert_int_equal(agent_finish(rig->agent), 0);
        assert_int_equal(loop_run(rig->loop), 0);
        assert_false(in_spool(rig, name));
        assert_int_equal(n_spans(rig), 2);
}

/* What the configuration says now holds from now on; what is wrong changes nothing. */
static void reload(void **state) {
        Rig *rig = *state;
        _cleanup_free_ char *message = NULL, *bad = NULL;

        assert_int_equal(begin(rig), 0);
        free(rig->config.node_name);
        rig->config.node_name = strdup("node-7");
        free(rig->config.tracing_endpoint);
        rig->config.tracing_endpoint = strdup("localhost:4317");
        assert_int_equal(agent_reload(rig->agent, &message), 0);
        assert_int_equal(ask(rig, "SELECT value = 'node-7' FROM meta WHERE key = 'node'"), 1);
        assert_int_equal(ask(rig, "SELECT value = 'localhost:4317' FROM meta WHERE key = 'endpoint'"), 1);
        assert_non_null(strstr(agent_status(rig->agent), ", exporting to localhost:4317"));

        free(rig->config.resource_attributes);
        rig->config.resource_attributes = strdup("no pair");
        assert_true(agent_reload(rig->agent, &bad) < 0);
        assert_non_null(strstr(bad, "resource_attributes"));

        /* What is sampled is sent: somebody is asked for a process that does it. */
        until_taken(rig, put_spans(rig, 1, 1));
        for (unsigned i = 0; i < 500 && poll(&(struct pollfd){ .fd = rig->spawner[1], .events = POLLIN }, 1, 0) == 0;
             i++)
                assert_int_equal(loop_turn(rig->loop, 20), 0);
        assert_int_equal(poll(&(struct pollfd){ .fd = rig->spawner[1], .events = POLLIN }, 1, 0), 1);
        assert_int_equal(ask(rig, "SELECT count(*) FROM batch WHERE state = 1"), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(takes, setup, teardown),
                cmocka_unit_test_setup_teardown(once, setup, teardown),
                cmocka_unit_test_setup_teardown(garbage, setup, teardown),
                cmocka_unit_test_setup_teardown(alone, setup, teardown),
                cmocka_unit_test_setup_teardown(other_stores, setup, teardown),
                cmocka_unit_test_setup_teardown(disk_is_low, setup, teardown),
                cmocka_unit_test_setup_teardown(deadly_file, setup, teardown),
                cmocka_unit_test_setup_teardown(suspect_is_read_again, setup, teardown),
                cmocka_unit_test_setup_teardown(finish, setup, teardown),
                cmocka_unit_test_setup_teardown(reload, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
