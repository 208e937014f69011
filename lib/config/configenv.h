#pragma once

/*
 * Configuration from the environment
 *
 * For config_load().
 */

#include "config.h"

/*
 * Applies the OTEL_* variables of @envp as the OpenTelemetry specification defines them; an empty one is as good as
 * none. Unlike there, a wrong value is an error, naming the variable.
 */
int configenv_apply(Config *config, char *const *envp, char **reterr_message);
