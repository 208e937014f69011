#pragma once

/*
 * Probe steps
 *
 * The CRI requests that a probe makes, one function a step. What they learn goes to the probe's identity. All return 0,
 * -EREMOTEIO with the reason in probe->error, or -EINTR where a signal came before a call that would create something.
 */

#include "probe.h"

int probesteps_version(Probe *probe);

/* Is the image there? With the option, pulls it if it is not. */
int probesteps_image(Probe *probe);

int probesteps_run_sandbox(Probe *probe);
int probesteps_create_container(Probe *probe);
int probesteps_start_container(Probe *probe);

/* Takes away all that the other steps made, and looks for what a given-up RunPodSandbox may have made. Goes on after
 * errors and returns the first. */
int probesteps_clean_up(Probe *probe);
