#include <stdio.h>
#include <string.h>
#include "subject.h"

void subject_deinit(Subject *subject) {
        answer_deinit(&subject->answer);
}

typedef struct Finding {
        Subject *subject;
        const char *what;
        bool found;
        bool by_pod;
} Finding;

static bool begins(const char *s, const char *prefix) {
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool is_pod(const Death *death, const char *what) {
        const char *slash = strchr(what, '/');

        if (slash)
                return strlen(death->pod_namespace) == (size_t) (slash - what) && begins(what, death->pod_namespace) &&
                       strcmp(death->pod_name, slash + 1) == 0;
        return strcmp(death->pod_name, what) == 0 || strcmp(death->pod_uid, what) == 0 ||
               (strlen(what) >= 4 && begins(death->sandbox_id, what));
}

static void add_choice(Subject *subject, const char *choice) {
        for (size_t i = 0; i < subject->n_choices; i++)
                if (strcmp(subject->choices[i], choice) == 0)
                        return;
        if (subject->n_choices < SUBJECT_CHOICES_MAX)
                util_copy_bounded(subject->choices[subject->n_choices++], SUBJECT_CHOICE_MAX, choice, strlen(choice));
}

/* What a person could write instead. A pod that was made anew under its name is the newest of them. */
static void choice_of(const Death *death, bool by_pod, const char *what, char ret[static SUBJECT_CHOICE_MAX]) {
        bool by_id = !by_pod && strcmp(death->container_name, what) != 0;

        if (by_id || !*death->pod_name)
                (void) snprintf(ret, SUBJECT_CHOICE_MAX, "%.64s", death->container_id);
        else if (by_pod)
                (void) snprintf(ret, SUBJECT_CHOICE_MAX, "%.253s/%.253s", death->pod_namespace, death->pod_name);
        else
                /* A container's name alone says nothing about which pod's. */
                (void) snprintf(ret, SUBJECT_CHOICE_MAX, "%.253s/%.253s", death->pod_namespace, death->pod_name);
}

static int on_death(const Death *death, void *userdata) {
        Finding *finding = userdata;
        bool by_pod = is_pod(death, finding->what);
        char choice[SUBJECT_CHOICE_MAX];

        if (finding->found && finding->by_pod && !by_pod)
                return 0;
        /* A pod of this name goes before a container of this name. */
        if (finding->found && by_pod && !finding->by_pod) {
                answer_deinit(&finding->subject->answer);
                finding->subject->n_choices = 0;
                finding->found = false;
        }
        choice_of(death, by_pod, finding->what, choice);
        add_choice(finding->subject, choice);
        if (finding->found)
                return finding->subject->n_choices == SUBJECT_CHOICES_MAX;
        finding->found = true;
        finding->by_pod = by_pod;
        return answer_from_death(death, &finding->subject->answer);
}

static int on_seen(const DeathCall *call _unused_, void *userdata) {
        *(bool *) userdata = true;
        return 1;
}

static int take_start(Subject *subject, Starts *starts) {
        answer_deinit(&subject->answer);
        subject->answer = starts->answers[0];
        starts->answers[0] = (Answer) ANSWER_NULL;
        return SUBJECT_FOUND;
}

/* A failed start is the answer if nothing ended later, and it is not that of the end itself. */
static int compare_starts(StoreDb *db, const Finding *finding) {
        _cleanup_starts_ Starts starts = STARTS_NULL;
        Subject *subject = finding->subject;
        DeathFilter filter = { .any = finding->what };
        int r;

        if (finding->found) {
                if (!*subject->answer.pod_uid || !finding->by_pod)
                        return SUBJECT_FOUND;
                filter = (DeathFilter){ .pod_uid = subject->answer.pod_uid };
        }
        r = starts_load(db, &filter, &starts);
        if (r < 0)
                return r;
        if (!finding->found) {
                for (size_t i = 0; i < starts.n; i++) {
                        char choice[SUBJECT_CHOICE_MAX];

                        (void) snprintf(choice, sizeof(choice), "%.253s/%.253s", starts.answers[i].pod_namespace,
                                        starts.answers[i].pod_name);
                        add_choice(subject, choice);
                }
                if (subject->n_choices > 1)
                        return SUBJECT_AMBIGUOUS;
                return starts.n > 0 ? take_start(subject, &starts) : SUBJECT_UNKNOWN;
        }
        if (starts.n == 0 || starts.answers[0].end_ns <= subject->answer.end_ns ||
            (*starts.answers[0].container_id &&
             strcmp(starts.answers[0].container_id, subject->answer.container_id) == 0))
                return SUBJECT_FOUND;
        return take_start(subject, &starts);
}

int subject_find(StoreDb *db, const char *what, Subject *ret) {
        Finding finding = { .subject = ret, .what = what };
        bool uid = strlen(what) == 36 && what[8] == '-' && what[13] == '-', seen = false;
        DeathFilter filter = { .any = what };
        int r;

        *ret = (Subject){};
        if (uid) {
                filter = (DeathFilter){ .pod_uid = what };
                ret->n_choices = 0;
        }
        r = deathdb_list(db, &filter, on_death, &finding);
        if (r < 0)
                return r;
        if (finding.found && ret->n_choices > 1)
                return SUBJECT_AMBIGUOUS;
        ret->n_choices = 0;
        r = compare_starts(db, &finding);
        if (r == SUBJECT_FOUND) {
                int error = answer_facts(db, &ret->answer);

                return error < 0 ? error : SUBJECT_FOUND;
        }
        if (r != SUBJECT_UNKNOWN)
                return r;
        r = deathdb_seen(db, what, SUBJECT_SEEN_MAX, on_seen, &seen);
        return r < 0 ? r : seen ? SUBJECT_ALIVE : SUBJECT_UNKNOWN;
}
