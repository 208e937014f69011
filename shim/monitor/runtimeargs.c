#include <assert.h>
#include "runtimeargs.h"

#define WORDS_MAX 18 /* all that is not in globals and options, and the NULL */

const char *runtimeargs_verb(RuntimeVerb verb) {
        static const char *const verbs[] = {
                [RUNTIME_CREATE] = "create",
                [RUNTIME_RESTORE] = "restore",
                [RUNTIME_EXEC] = "exec",
        };

        return verbs[verb];
}

typedef struct Words {
        const char **words;
        size_t n;
} Words;

static void add(Words *words, const char *word) {
        words->words[words->n++] = word;
}

static void add_pair(Words *words, const char *option, const char *value) {
        add(words, option);
        add(words, value);
}

static void add_all(Words *words, const char *const *all, size_t n) {
        for (size_t i = 0; i < n; i++)
                add(words, all[i]);
}

static void add_exec(Words *words, const RuntimeArgs *args, bool tty) {
        add_pair(words, "--pid-file", args->pid_file);
        add_pair(words, "--process", args->process_spec);
        add(words, "--detach");
        if (tty)
                add(words, "--tty");
}

static void add_create(Words *words, const RuntimeArgs *args) {
        add_pair(words, "--bundle", args->bundle);
        add_pair(words, "--pid-file", args->pid_file);
        if (args->no_pivot)
                add(words, "--no-pivot");
        if (args->no_new_keyring)
                add(words, "--no-new-keyring");

        /* A restored container runs at once, so the runtime has to let go of it. */
        if (args->verb == RUNTIME_RESTORE) {
                add(words, "--detach");
                add_pair(words, "--image-path", args->checkpoint);
                add_pair(words, "--work-path", args->bundle);
        }
}

int runtimeargs_build(const RuntimeArgs *args, const char *console_socket, char ***ret) {
        Words words = {};

        assert(args);
        assert(ret);

        words.words = calloc(WORDS_MAX + args->n_globals + args->n_options, sizeof(char *));
        if (!words.words)
                return -ENOMEM;

        add(&words, args->runtime);
        if (args->systemd_cgroup && args->verb != RUNTIME_EXEC)
                add(&words, "--systemd-cgroup");
        add_all(&words, args->globals, args->n_globals);

        add(&words, runtimeargs_verb(args->verb));
        if (args->verb == RUNTIME_EXEC)
                add_exec(&words, args, console_socket != NULL);
        else
                add_create(&words, args);
        add_all(&words, args->options, args->n_options);
        if (console_socket)
                add_pair(&words, "--console-socket", console_socket);
        add(&words, args->id);

        *ret = (char **) words.words;
        return 0;
}
