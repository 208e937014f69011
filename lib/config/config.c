#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "config.h"
#include "configenv.h"
#include "configfile.h"
#include "configkey.h"

void config_deinit(Config *config) {
        for (size_t i = 0; i < CONFIGKEY_N; i++)
                configkey_clear(config, &configkey_table[i]);

        if (config->origins) {
                for (size_t i = 0; i < config->origins->n_files; i++)
                        free(config->origins->files[i]);
                free(config->origins);
        }

        *config = (Config) CONFIG_NULL;
}

int config_defaults(Config *ret) {
        _cleanup_(config_deinit) Config config = CONFIG_NULL;

        config.origins = calloc(1, sizeof(*config.origins));
        if (!config.origins)
                return -ENOMEM;

        for (size_t i = 0; i < CONFIGKEY_N; i++) {
                const char *reason = NULL;
                int r;

                r = configkey_set(&config, &configkey_table[i], configkey_table[i].initial, &reason);
                if (r < 0)
                        return r;
        }

        *ret = TAKE(config, (Config) CONFIG_NULL);
        return 0;
}

/* The one file that is read instead of CONFIG_DIR, or NULL. */
static const char *config_choose_file(const char *file) {
        if (!file)
                file = getenv("PODSPAN_CONFIG");
        return file && file[0] != '\0' ? file : NULL;
}

int config_folder(const char *file, char **ret) {
        const char *slash;
        char *folder;

        file = config_choose_file(file);
        slash = file ? strrchr(file, '/') : NULL;
        if (!file)
                folder = strdup(CONFIG_DIR);
        else if (!slash)
                folder = strdup(".");
        else
                folder = strndup(file, slash == file ? 1 : (size_t) (slash - file));
        if (!folder)
                return -ENOMEM;

        *ret = folder;
        return 0;
}

int config_load_files(const char *file, Config *ret, char **reterr_message) {
        _cleanup_(config_deinit) Config config = CONFIG_NULL;
        int r;

        *reterr_message = NULL;

        r = config_defaults(&config);
        if (r < 0)
                return r;

        file = config_choose_file(file);
        if (file)
                r = configfile_read(&config, AT_FDCWD, file, file, false, reterr_message);
        else
                r = configfile_read_dir(&config, CONFIG_DIR, reterr_message);
        if (r < 0)
                return r;

        *ret = TAKE(config, (Config) CONFIG_NULL);
        return 0;
}

int config_load(const char *file, Config *ret, char **reterr_message) {
        _cleanup_(config_deinit) Config config = CONFIG_NULL;
        int r;

        r = config_load_files(file, &config, reterr_message);
        if (r < 0)
                return r;

        r = configenv_apply(&config, environ, reterr_message);
        if (r < 0)
                return r;

        *ret = TAKE(config, (Config) CONFIG_NULL);
        return 0;
}

int config_dump(const Config *config, int (*fn)(const char *key, const char *value, const char *origin, void *userdata),
                void *userdata) {
        for (size_t i = 0; i < CONFIGKEY_N; i++) {
                const ConfigKey *key = &configkey_table[i];
                const ConfigOrigin *origin = &config->origins->keys[i];
                _cleanup_free_ char *value = NULL, *place = NULL;
                int r;

                r = configkey_format(config, key, &value);
                if (r < 0)
                        return r;

                if (origin->line > 0 && asprintf(&place, "%s:%u", origin->name, origin->line) < 0) {
                        place = NULL;
                        return -ENOMEM;
                }

                r = fn(key->name, value, place ? place : origin->name ? origin->name : "default", userdata);
                if (r < 0)
                        return r;
        }

        return 0;
}

bool config_exports(const Config *config) {
        return config->enable_tracing && config->tracing_endpoint && config->tracing_endpoint[0] != '\0' &&
               strcmp(config->tracing_endpoint, "none") != 0;
}

static const char *config_choose(const char *arg, const char *variable, const char *initial) {
        const char *env;

        if (arg)
                return arg;

        env = getenv(variable);
        return env && env[0] != '\0' ? env : initial;
}

const char *config_state_dir(const char *arg) {
        return config_choose(arg, "PODSPAN_STATE_DIR", CONFIG_STATE_DIR);
}

const char *config_store_dir(const char *arg) {
        return config_choose(arg, "PODSPAN_STORE_DIR", CONFIG_STORE_DIR);
}
