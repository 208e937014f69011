#pragma once

/*
 * `podspan uninstall --all`: all targets at once, and the rest of podspan.
 */

#include "installrun.h"

CliExit cmd_install_all(InstallRun *run);
