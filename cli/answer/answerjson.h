#pragma once

/*
 * Answers as JSON
 *
 * The members that `podspan exits --json` and `podspan why --json` share (docs/schemas/). A member whose value is not
 * known is absent.
 */

#include "answer.h"
#include "json.h"

#define ANSWERJSON_SCHEMA 1 /* version of both documents */

/* "pod": {"uid", "name", "namespace", "sandbox_id"}: the whole member, of every answer. NULL and "" are not known. */
void answerjson_pod(Json *json, const char *uid, const char *name, const char *namespace, const char *sandbox_id);

/* "pod", and "container": {"name", "id", "attempt"}: whole members. */
void answerjson_subject(Json *json, const Answer *answer);

/* "facts": {…} */
void answerjson_facts(Json *json, const Answer *answer);

/* "missing": […] of the decision, "disagrees" if it does. */
void answerjson_decision(Json *json, const Answer *answer);

/* The members of one OOM kill, within an open map. */
void answerjson_oom(Json *json, const Answer *answer, const Podspan__Otlp__Event *event);

/* Is @event an OOM kill? */
bool answerjson_is_oom(const Podspan__Otlp__Event *event);
