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

/* Asks for the runtime's cgroup driver, where it has an answer (RuntimeConfig: containerd 2, CRI-O 1.28 and newer). */
void probesteps_cgroup_driver(Probe *probe);

/* Does a runtime refuse a pod with these words because its cgroup_parent is not of its cgroup driver's form? No I/O. */
bool probesteps_is_cgroup_error(const char *message);

/* A refusal of the cgroup parent's form is answered with the other form, once. */
int probesteps_run_sandbox(Probe *probe);
int probesteps_create_container(Probe *probe);
int probesteps_start_container(Probe *probe);

/* Takes away all that the other steps made, and looks for what a RunPodSandbox that failed or was given up may have
 * made. Goes on after
 * errors and returns the first. */
int probesteps_clean_up(Probe *probe);
