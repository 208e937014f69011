#pragma once

/*
 * Whom a question is about
 *
 * POD is NAME, NAMESPACE/NAME, a UID, or the begin of a sandbox's id; CONTAINER is a name or the begin of an id. A pod
 * stands for the newest end among its containers, failed starts included.
 */

#include "starts.h"

#define SUBJECT_CHOICES_MAX 10    /* things that a name can mean, which are listed */
#define SUBJECT_CHOICE_MAX  600   /* bytes of one */
#define SUBJECT_SEEN_MAX    20000 /* newest spans in which a pod without an end is looked for */

typedef enum SubjectResult {
        SUBJECT_FOUND,
        SUBJECT_AMBIGUOUS, /* see choices */
        SUBJECT_ALIVE,     /* the pod is known, and nothing of it ended */
        SUBJECT_UNKNOWN,
} SubjectResult;

typedef struct Subject {
        Answer answer;
        char choices[SUBJECT_CHOICES_MAX][SUBJECT_CHOICE_MAX];
        size_t n_choices;
} Subject;

/* Finds the newest end that @what names, with its facts, not settled yet. The caller owns @ret (subject_deinit()).
 * Returns a SubjectResult or a negative errno. */
int subject_find(StoreDb *db, const char *what, Subject *ret);
void subject_deinit(Subject *subject);
