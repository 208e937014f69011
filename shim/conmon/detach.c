#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "atomicfile.h"
#include "detach.h"
#include "report.h"
#include "util.h"

int detach_process(const char *pidfile) {
        char text[16];
        pid_t pid;
        int r, n;

        pid = fork();
        if (pid < 0) {
                r = -errno;
                report_error("Failed to fork the create command %s", strerrordesc_np(-r));
                return r;
        }
        if (pid == 0)
                return 0;

        if (pidfile) {
                n = snprintf(text, sizeof(text), "%d", (int) pid);
                r = atomicfile_write_path(pidfile, text, (size_t) n);
                if (r < 0) {
                        report_error("Failed to write conmon pidfile: %s", strerrordesc_np(-r));
                        _exit(EXIT_FAILURE);
                }
        }
        _exit(EXIT_SUCCESS);
}

int detach_stdio(void) {
        _cleanup_close_ int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
                if (fd < 0 || dup2(fd, i) < 0) {
                        int error = -errno;

                        report_error("Failed to open /dev/null %s", strerrordesc_np(-error));
                        return error;
                }
        return 0;
}
