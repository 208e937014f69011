/*
 * Sets a key in one document after the other, for tests/conf/test_yamledit.py, which has another parser judge the
 * result.
 *
 *     yamltool KEY VALUE <FRAMES >FRAMES
 *
 * A frame is its length as eight hex digits, then its bytes. What is refused comes back as a byte of 1 and "LINE WHAT".
 */

#include <stdio.h>
#include <string.h>
#include "yamledit.h"

static int one(const char *key, const char *value, size_t n) {
        _cleanup_free_ char *text = malloc(n + 1), *refusal = NULL;
        _cleanup_bytes_ Bytes out = BYTES_NULL;
        YamlProblem problem = {};
        int r;

        if (!text || fread(text, 1, n, stdin) != n)
                return -EIO;
        r = yamledit_set(text, n, key, value, &out, &problem);
        if (r < 0) {
                r = asprintf(&refusal, "\001%u %s", problem.line, problem.what);
                if (r < 0)
                        return -ENOMEM;
                return printf("%08zx%s", strlen(refusal), refusal) < 0 ? -EIO : 0;
        }
        printf("%08zx", out.n);
        return fwrite(out.p, 1, out.n, stdout) == out.n ? 0 : -EIO;
}

int main(int argc, char **argv) {
        char head[9] = "";

        if (argc != 3)
                return 2;
        while (fread(head, 1, 8, stdin) == 8)
                if (one(argv[1], argv[2], strtoul(head, NULL, 16)) < 0)
                        return 1;
        return fflush(stdout) == 0 ? 0 : 1;
}
