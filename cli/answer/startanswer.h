#pragma once

/*
 * Where a start's time went
 *
 * The answer of `podspan why POD --start`: the parts of the pod's newest start (startpart.h), how it compares with the
 * other starts of this node, the pressure meanwhile, and what is not known. startanswer_load() reads the store;
 * startanswer_print() and startanswer_json() write.
 */

#include "cli.h"
#include "startpart.h"

#define STARTANSWER_SENTENCE_MAX 384
#define STARTANSWER_UNUSUAL_MAX  8
#define STARTANSWER_RANK_MIN     5 /* fewer starts are not compared */

/* A CRI call that took longer than most calls of its method on this node. */
typedef struct StartUnusual {
        char method[64];
        uint64_t ns;
        uint64_t median_ns;
        unsigned n_others;
} StartUnusual;

typedef struct StartAnswer {
        char *pod_uid;
        char *pod_name;
        char *pod_namespace;
        Start start;
        char *failure; /* of the last failed call, where the start is not complete; NULL: none failed */
        char *failed_method;

        unsigned n_others; /* other starts of this node that are complete */
        unsigned n_faster; /* of these */

        StartUnusual unusual[STARTANSWER_UNUSUAL_MAX];
        size_t n_unusual;

        bool has_pressure;
        uint64_t pressure_seconds;        /* seconds that the figures cover */
        int64_t cpu_us, io_us, memory_us; /* "some"; negative: not known */

        char sentence[STARTANSWER_SENTENCE_MAX];
} StartAnswer;

#define STARTANSWER_NULL \
        {}

/* Reads and divides the newest start of the pod @uid. Returns 0, -ENOENT if the store has no RunPodSandbox of it, or
 * another negative errno. The caller ends @ret with startanswer_deinit(). */
int startanswer_load(StoreDb *db, const char *uid, StartAnswer *ret);
void startanswer_deinit(StartAnswer *answer);

/* Text for people on standard output. */
void startanswer_print(const Cli *cli, const StartAnswer *answer);

/* Writes the whole document (docs/schemas/why-start.json). */
void startanswer_json(Json *json, const StartAnswer *answer);

/*
 * Answers for the pod called @what: its name, NAMESPACE/NAME, UID or the begin of one. Returns 0 with @ret_code after
 * having printed, -ENOENT if the store has no start of such a pod, or another negative errno; nothing is printed then.
 */
int startanswer_ask(Cli *cli, StoreDb *db, const char *what, CliExit *ret_code);
