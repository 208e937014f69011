#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "gobuild.h"
#include "util.h"

#define SENTINEL "0123456789abcdef"
#define NAMES    "\0.text\0.go.buildinfo\0.shstrtab"

/* An executable with the three sections that matter: the null one, the information, the names. */
typedef struct File {
        uint8_t bytes[8192];
        size_t n;
        bool big;
        uint64_t reads;
} File;

static void put(File *file, size_t at, uint64_t value, size_t n) {
        for (size_t i = 0; i < n; i++)
                file->bytes[at + (file->big ? n - 1 - i : i)] = (uint8_t) (value >> (8 * i));
}

#define PUT(file, base, type, name, value) \
        put((file), (base) + offsetof(type, name), (uint64_t) (value), sizeof(((type *) NULL)->name))

static size_t put_string(File *file, size_t at, const char *s, size_t n) {
        size_t rest = n;

        do {
                file->bytes[at++] = (uint8_t) ((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
                rest >>= 7;
        } while (rest > 0);
        memcpy(file->bytes + at, s, n);
        return at + n;
}

#define HEAD(file, ehdr, shdr, n_sections, names_at)                             \
        do {                                                                     \
                PUT(file, 0, ehdr, e_shoff, 128);                                \
                PUT(file, 0, ehdr, e_shnum, n_sections);                         \
                PUT(file, 0, ehdr, e_shentsize, sizeof(shdr));                   \
                PUT(file, 0, ehdr, e_shstrndx, 2);                               \
                PUT(file, 128 + sizeof(shdr), shdr, sh_name, 7);                 \
                PUT(file, 128 + sizeof(shdr), shdr, sh_offset, 1024);            \
                PUT(file, 128 + sizeof(shdr), shdr, sh_size, end - 1024);        \
                PUT(file, 128 + 2 * sizeof(shdr), shdr, sh_offset, names_at);    \
                PUT(file, 128 + 2 * sizeof(shdr), shdr, sh_size, sizeof(NAMES)); \
        } while (false)

static void make(File *file, bool wide, bool big, uint8_t flags, const char *text) {
        _cleanup_free_ char *whole = NULL;
        size_t end;
        int n;

        *file = (File){ .big = big };
        n = asprintf(&whole, SENTINEL "%s" SENTINEL, text);
        assert_true(n > 0);
        memcpy(file->bytes, ELFMAG, SELFMAG);
        file->bytes[EI_CLASS] = wide ? ELFCLASS64 : ELFCLASS32;
        file->bytes[EI_DATA] = big ? ELFDATA2MSB : ELFDATA2LSB;
        memcpy(file->bytes + 512, NAMES, sizeof(NAMES));
        memcpy(file->bytes + 1040, "\xff Go buildinf:", 14); /* the search goes by 16 bytes */
        file->bytes[1054] = 8;
        file->bytes[1055] = flags;
        end = put_string(file, 1072, "go1.26.8", 8);
        end = put_string(file, end, whole, (size_t) n);
        if (wide)
                HEAD(file, Elf64_Ehdr, Elf64_Shdr, 3, 512);
        else
                HEAD(file, Elf32_Ehdr, Elf32_Shdr, 3, 512);
        file->n = end;
}

static ssize_t read_file(void *userdata, uint64_t offset, void *buf, size_t n) {
        File *file = userdata;

        file->reads++;
        if (offset >= file->n)
                return 0;
        n = MIN(n, file->n - (size_t) offset);
        memcpy(buf, file->bytes + offset, n);
        return (ssize_t) n;
}

static const struct {
        const char *text;
        const char *path;
        const char *version;
} cases[] = {
        { "path\tk8s.io/kubernetes/cmd/kubelet\nmod\tk8s.io/kubernetes\tv1.34.1\t\nbuild\tGOOS=linux\n",
          "k8s.io/kubernetes/cmd/kubelet", "v1.34.1" },
        { "path\tk8s.io/kubernetes/cmd/kubelet\nmod\tk8s.io/kubernetes\t(devel)\t\n"
          "build\t-ldflags=\"-X 'k8s.io/component-base/version.gitVersion=v1.29.0' -s -w\"\n",
          "k8s.io/kubernetes/cmd/kubelet", "v1.29.0" },
        { "path\tgithub.com/containerd/containerd/v2/cmd/containerd\nmod\tgithub.com/containerd/containerd/"
          "v2\t(devel)\t\n"
          "build\t-ldflags=\" -X github.com/containerd/containerd/v2/version.Version=v2.1.4 -X a.Revision=1\"\n",
          "github.com/containerd/containerd/v2/cmd/containerd", "v2.1.4" },
        { "path\tx\nmod\tx\tv0.0.0-20240101000000-abcdefabcdef\th1:x=\ndep\ty\tv1.2.3\n", "x", "" },
        { "path\tx\nmod\tx\n", "x", "" },
        { "nothing", "", "" },
};

static void test_versions(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases) * 4; i++) {
                Gobuild info;
                File file;

                make(&file, i & 1, i & 2, 2, cases[i / 4].text);
                assert_int_equal(gobuild_read(read_file, &file, &info), 0);
                assert_string_equal(info.path, cases[i / 4].path);
                assert_string_equal(info.version, cases[i / 4].version);
        }
}

static void test_truncated(void **state) {
        File file;

        (void) state;
        make(&file, true, false, 2, cases[0].text);
        for (size_t n = file.n; n-- > 0;) {
                Gobuild info = { "untouched", "" };

                file.n = n;
                assert_true(gobuild_read(read_file, &file, &info) < 0);
                assert_string_equal(info.path, "untouched");
        }
}

/* Each byte of the tables, with the worst values: an error or an answer, in a bounded number of reads. */
static void test_hostile(void **state) {
        static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
        Gobuild info;
        File file;

        (void) state;
        for (size_t at = 0; at < 1100; at++)
                for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
                        make(&file, true, false, 2, cases[0].text);
                        file.bytes[at] = values[i];
                        (void) gobuild_read(read_file, &file, &info);
                        assert_true(file.reads <= 2 * GOBUILD_SECTIONS_MAX + 4);
                }
}

static void test_errors(void **state) {
        Gobuild info;
        File file;

        (void) state;
        make(&file, true, false, 0, cases[0].text);
        assert_int_equal(gobuild_read(read_file, &file, &info), -EOPNOTSUPP);
        make(&file, true, false, 2, cases[0].text);
        file.bytes[1041] = 'x';
        assert_int_equal(gobuild_read(read_file, &file, &info), -ENOENT);
        make(&file, true, false, 2, cases[0].text);
        file.bytes[520] = 'x';
        assert_int_equal(gobuild_read(read_file, &file, &info), -ENOENT);
        make(&file, true, false, 2, cases[0].text);
        PUT(&file, 0, Elf64_Ehdr, e_shnum, GOBUILD_SECTIONS_MAX + 1);
        assert_int_equal(gobuild_read(read_file, &file, &info), -EBADMSG);
        memcpy(file.bytes, "#!/b", 4);
        assert_int_equal(gobuild_read(read_file, &file, &info), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_versions),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_errors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
