/* An exec event: a kind byte, two sizes, then file name, arguments and environment or directory. */

#include <stddef.h>
#include <stdint.h>
#include "command.h"
#include "util.h"

#define DIRECTORY 0x80 /* in the kind byte: a working directory instead of the environment */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Event event = { .type = EVENT_EXEC };
        Command command;
        size_t file, args;

        if (size < 3 || size - 3 > EVENT_DATA_MAX)
                return 0;
        event.flags = data[0] & (EVENT_NAMED | EVENT_ARGS_CUT | EVENT_INSIDE);
        file = MIN((size_t) data[1], size - 3);
        args = MIN((size_t) data[2] * 8, size - 3 - file);
        event.file_size = (uint16_t) file;
        event.args_size = (uint16_t) args;
        if (data[0] & DIRECTORY)
                event.cwd_size = (uint16_t) (size - 3 - file - args);
        else
                event.env_size = (uint16_t) (size - 3 - file - args);
        if (command_parse(&event, (const char *) data + 3, size - 3, &command) == 0 && *command.id &&
            !util_id_valid(command.id))
                __builtin_trap();
        return 0;
}
