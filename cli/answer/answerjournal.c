#include <string.h>
#include "answerjournal.h"
#include "nodejournal.h"
#include "sentence.h"

#define BEFORE_NS (10 * NSEC_PER_SEC) /* of a failed start: what led to it */

typedef struct Reading {
        Answerjournal *journal;
        const Answer *answer;
        LoglineSubject subject;
        const char *reason; /* static; of the container, else of the pod */
        bool of_container;
        bool probe;
} Reading;

static unsigned rank_of(const Logline *line) {
        if (line->decisive)
                return 3;
        return line->severity == LOGLINE_ERROR ? 2 : line->severity == LOGLINE_WARNING;
}

/* Newest first: a line goes to the front. Of too many one of the lowest rank goes, the oldest of these. */
static void keep(Answerjournal *journal, const NodejournalLine *line, const Logline *read) {
        unsigned rank = rank_of(read);
        AnswerjournalLine *to;

        if (journal->n == ANSWERJOURNAL_LINES) {
                size_t least = 0;

                for (size_t i = 1; i < journal->n; i++)
                        if (journal->lines[i].rank < journal->lines[least].rank)
                                least = i;
                if (journal->lines[least].rank >= rank)
                        return;
                memmove(journal->lines + least, journal->lines + least + 1,
                        (journal->n - least - 1) * sizeof(journal->lines[0]));
                journal->n--;
        }
        memmove(journal->lines + 1, journal->lines, journal->n * sizeof(journal->lines[0]));
        journal->n++;
        to = journal->lines;
        *to = (AnswerjournalLine){ .at_ns = line->at_ns, .severity = read->severity, .rank = rank };
        util_copy_bounded(to->program, sizeof(to->program), line->program, strlen(line->program));
        util_copy_bounded(to->text, sizeof(to->text), line->text, line->n);
}

static bool on_line(const NodejournalLine *line, void *userdata) {
        Reading *reading = userdata;
        Logline read;

        logline_read(line->text, line->n, &reading->subject, &read);
        if (!read.about || rank_of(&read) == 0)
                return true;
        keep(reading->journal, line, &read);
        /* What is written after the end is no cause of it. Lines come newest first: the last word counts. */
        if (strcmp(line->program, "kubelet") != 0 || line->at_ns > reading->answer->end_ns)
                return true;
        reading->probe |= read.probe;
        if (read.reason && (!reading->reason || (read.probe && !reading->of_container))) {
                reading->reason = read.reason;
                reading->of_container = read.probe;
        }
        return true;
}

int answerjournal_read(const char *dir, Answer *answer, Answerjournal *ret) {
        Reading reading = {
                .journal = ret,
                .answer = answer,
                .subject = { answer->pod_uid, answer->pod_name, answer->pod_namespace, answer->sandbox_id,
                             answer->container_name, answer->container_id },
        };
        int r;

        *ret = (Answerjournal){ .since_ns = answer->call && answer->start_ns > BEFORE_NS ? answer->start_ns - BEFORE_NS
                                                                                         : answer->start_ns };
        r = nodejournal_lines(dir, ret->since_ns, answer->end_ns + ANSWERJOURNAL_AFTER_NS, on_line, &reading,
                              &ret->from_ns);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                ret->absent = true;
                return 0;
        }
        return answer_kubelet(answer, reading.reason, reading.probe);
}

int answerjournal_evidence(const Answerjournal *journal, Answer *answer) {
        char clock[SENTENCE_CLOCK_MAX];
        int r = 0;

        if (journal->absent)
                return answer_add_unknown(answer, "what kubelet and the runtime wrote: no journal that can be read");
        for (size_t i = 0; i < journal->n && r >= 0; i++)
                r = answer_add(answer, "journal", "journal", NULL, "%s %s%s%s: %s",
                               sentence_clock(journal->lines[i].at_ns, clock), journal->lines[i].program,
                               journal->lines[i].severity > LOGLINE_INFO ? " " : "",
                               journal->lines[i].severity > LOGLINE_INFO
                                       ? logline_severity_word(journal->lines[i].severity)
                                       : "",
                               journal->lines[i].text);
        if (r >= 0 && journal->from_ns > journal->since_ns)
                r = answer_add_unknown(answer, "what the journal has before %s: it is too much to read",
                                       sentence_clock(journal->from_ns, clock));
        return r;
}
