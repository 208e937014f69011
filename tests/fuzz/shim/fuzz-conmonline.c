#include <stdint.h>
#include <string.h>
#include "conmonline.h"

#define WORDS_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input's lines are the words. What is kept points into them, and lists end with a NULL. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *words = malloc(size + 1);
        char *argv[WORDS_MAX + 2] = { (char *) "conmon" }, message[CONMONLINE_MESSAGE_MAX] = "";
        ConmonLine line;
        bool usage;
        int argc = 1;

        if (!words)
                return 0;
        memcpy(words, data, size);
        words[size] = '\0';
        for (char *word = words; word && argc <= WORDS_MAX; argc++) {
                char *newline = strchr(word, '\n');

                argv[argc] = word;
                if (newline)
                        *newline = '\0';
                word = newline ? newline + 1 : NULL;
        }

        if (conmonline_parse(argc, argv, &line, message) < 0) {
                if (message[0] == '\0' || !memchr(message, '\0', sizeof(message)))
                        abort();
                return 0;
        }
        (void) conmonline_check(&line, &usage);
        if ((line.runtime_args.n > 0 && line.runtime_args.words[line.runtime_args.n]) ||
            (line.cid && (line.cid < words || line.cid > words + size)))
                abort();
        conmonline_deinit(&line);
        return 0;
}
