#pragma once

/*
 * Configuration files
 *
 * podspan.conf and its drop-ins, over what a Config holds: defaults or earlier files' values. For config_load() and
 * doctor.
 */

#include "config.h"

/*
 * Parses @len bytes of one configuration file into @config, which holds defaults or earlier files' values; @name is
 * used in messages. No I/O. Returns 0 or -EINVAL / -ENOMEM with a message. For tests and the fuzz target.
 */
int configfile_parse(Config *config, const char *name, const char *s, size_t len, char **reterr_message);

/* Reads the file @name of the folder @dir_fd (AT_FDCWD); @shown is its name in messages. @regular_only: others are no
 * files of ours. */
int configfile_read(Config *config, int dir_fd, const char *name, const char *shown, bool regular_only,
                    char **reterr_message);

/* Reads @path/podspan.conf and the files of @path/conf.d over what @config holds: config_load() with CONFIG_DIR. No
 * directory is fine. */
int configfile_read_dir(Config *config, const char *path, char **reterr_message);
