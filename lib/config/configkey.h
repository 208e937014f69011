#pragma once

/*
 * Configuration keys
 *
 * The table of all keys, and what can be done with one: set it from text, print it, free it. For config.c.
 */

#include "config.h"

#define CONFIGKEY_N 30

typedef enum ConfigType {
        CONFIG_BOOL,
        CONFIG_U32,
        CONFIG_SIZE,
        CONFIG_DURATION,
        CONFIG_STRING,
        CONFIG_ENDPOINT,
        CONFIG_HEADERS,
        CONFIG_ATTRIBUTES,
        CONFIG_COMPRESSION,
        CONFIG_PROTOCOL,
        CONFIG_SEMCONV,
        CONFIG_LOG_LEVEL,
} ConfigType;

typedef struct ConfigKey {
        const char *name;
        ConfigType type;
        size_t offset;
        const char *initial;
        uint64_t min, max; /* of numbers */
        bool clamp;        /* above max is max */
} ConfigKey;

extern const ConfigKey configkey_table[CONFIGKEY_N];

/* Where a value came from: @name alone, or with @line a file's. NULL: the default. */
typedef struct ConfigOrigin {
        const char *name;
        unsigned line;
} ConfigOrigin;

struct ConfigOrigins {
        ConfigOrigin keys[CONFIGKEY_N];
        char *files[CONFIG_FILES_MAX + 1]; /* own the names; conf.d's and the main file */
        size_t n_files;
};

/* The key of that name, or NULL. */
const ConfigKey *configkey_find(const char *name);

/* Gives @key the value @s. Returns 0, -ENOMEM, or -EINVAL with a reason: static text which continues "KEY: ". */
int configkey_set(Config *config, const ConfigKey *key, const char *s, const char **ret_reason);

/* Notes where @key's value came from; @name lives as long as @config. */
void configkey_set_origin(Config *config, const ConfigKey *key, const char *name, unsigned line);

/* The value of @key as text that configkey_set() takes, but for headers, whose values are hidden. 0 or -ENOMEM. */
int configkey_format(const Config *config, const ConfigKey *key, char **ret);

/* Frees what @key's value owns. */
void configkey_clear(Config *config, const ConfigKey *key);

/*
 * Makes the message of an error and returns @error. *reterr_message is the caller's to free, and NULL if there is no
 * memory.
 */
int _printf_(3, 4) configkey_fail(char **reterr_message, int error, const char *format, ...);
