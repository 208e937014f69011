/*
 * A static program's start-up, in glibc, looks up the program's own path in /proc for the sake of dlopen(3) and
 * $ORIGIN. That takes as long as writing a span, and nothing here loads anything. This definition is found before the C
 * library's; -1 is what that returns where /proc is not mounted. A C library without such a function never sees it.
 */

const char *_dl_get_origin(void);

const char *_dl_get_origin(void) {
        return (const char *) -1;
}
