#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "gobuild.h"
#include "util.h"

#define SECTION    ".go.buildinfo"
#define MAGIC      "\xff Go buildinf:"
#define MAGIC_N    14U
#define HEADER_N   32U /* then two strings, each behind its length */
#define INLINE     2U  /* flag: the strings follow; otherwise pointers to them do */
#define SENTINEL_N 16U /* before and after the module's text */

typedef struct Elf {
        GobuildRead read;
        void *userdata;
        bool wide; /* 64 bits */
        bool big;  /* endian */
} Elf;

typedef struct Section {
        uint32_t name;
        uint64_t offset;
        uint64_t size;
} Section;

static int read_exact(const Elf *elf, uint64_t offset, void *buf, size_t n) {
        ssize_t got;

        if (offset > INT64_MAX - n)
                return -EBADMSG;
        got = elf->read(elf->userdata, offset, buf, n);
        if (got < 0)
                return (int) got;
        return (size_t) got == n ? 0 : -EBADMSG;
}

static uint64_t number(const Elf *elf, const uint8_t *p, size_t n) {
        uint64_t value = 0;

        for (size_t i = 0; i < n; i++)
                value = value << 8 | p[elf->big ? i : n - 1 - i];
        return value;
}

/* A field that both classes have. */
#define FIELD(elf, p, type, name)                                                                               \
        ((elf)->wide ? number((elf), (p) + offsetof(Elf64_##type, name), sizeof(((Elf64_##type *) NULL)->name)) \
                     : number((elf), (p) + offsetof(Elf32_##type, name), sizeof(((Elf32_##type *) NULL)->name)))

static int read_section(const Elf *elf, uint64_t table, uint64_t index, Section *ret) {
        uint8_t raw[sizeof(Elf64_Shdr)];
        size_t n = elf->wide ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
        int r;

        if (table > INT64_MAX / 2)
                return -EBADMSG;
        r = read_exact(elf, table + index * n, raw, n);
        if (r < 0)
                return r;
        *ret = (Section){
                .name = (uint32_t) FIELD(elf, raw, Shdr, sh_name),
                .offset = FIELD(elf, raw, Shdr, sh_offset),
                .size = FIELD(elf, raw, Shdr, sh_size),
        };
        return 0;
}

static int find_section(Elf *elf, Section *ret) {
        uint8_t head[sizeof(Elf64_Ehdr)] = { 0 };
        uint64_t table, count, names_at;
        char name[sizeof(SECTION)];
        Section names, section;
        int r;

        r = read_exact(elf, 0, head, sizeof(Elf32_Ehdr));
        if (r < 0)
                return r;
        if (memcmp(head, ELFMAG, SELFMAG) != 0 || head[EI_CLASS] == ELFCLASSNONE || head[EI_CLASS] > ELFCLASS64)
                return -EBADMSG;
        elf->wide = head[EI_CLASS] == ELFCLASS64;
        elf->big = head[EI_DATA] == ELFDATA2MSB;
        if (elf->wide && (r = read_exact(elf, 0, head, sizeof(Elf64_Ehdr))) < 0)
                return r;
        table = FIELD(elf, head, Ehdr, e_shoff);
        count = FIELD(elf, head, Ehdr, e_shnum);
        names_at = FIELD(elf, head, Ehdr, e_shstrndx);
        if (FIELD(elf, head, Ehdr, e_shentsize) != (elf->wide ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr)))
                return count == 0 ? -ENOENT : -EBADMSG;
        if (count > GOBUILD_SECTIONS_MAX || names_at >= count)
                return count == 0 ? -ENOENT : -EBADMSG;
        r = read_section(elf, table, names_at, &names);
        if (r < 0)
                return r;
        for (uint64_t i = 0; i < count; i++) {
                r = read_section(elf, table, i, &section);
                if (r < 0)
                        return r;
                if (section.name >= names.size || names.size - section.name < sizeof(name))
                        continue;
                if (names.offset > INT64_MAX / 2)
                        return -EBADMSG;
                r = read_exact(elf, names.offset + section.name, name, sizeof(name));
                if (r < 0)
                        return r;
                if (memcmp(name, SECTION, sizeof(name)) == 0) {
                        *ret = section;
                        return 0;
                }
        }
        return -ENOENT;
}

/* A string behind its length as a varint, at *@pos; moves it on. */
static int next_string(const uint8_t *p, size_t n, size_t *pos, const char **ret, size_t *ret_n) {
        uint64_t length = 0;

        for (unsigned shift = 0;; shift += 7) {
                uint8_t byte;

                if (*pos == n || shift > 28)
                        return -EBADMSG;
                byte = p[(*pos)++];
                length |= (uint64_t) (byte & 0x7f) << shift;
                if (!(byte & 0x80))
                        break;
        }
        if (length > n - *pos)
                return -EBADMSG;
        *ret = (const char *) p + *pos;
        *ret_n = (size_t) length;
        *pos += (size_t) length;
        return 0;
}

static bool is_version_char(char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' ||
               c == '+' || c == '~' || c == '_';
}

/* A version that means something: not "(devel)", and not a time in place of one. */
static bool take_version(const char *s, size_t n, char ret[static 64]) {
        size_t len = 0;

        while (len < n && is_version_char(s[len]))
                len++;
        if (len == 0 || len >= 64 || (len >= 7 && memcmp(s, "v0.0.0-", 7) == 0) || !memchr(s, '.', len))
                return false;
        util_copy_bounded(ret, 64, s, len);
        return true;
}

/* "-X MODULE/version.gitVersion=v1.34.1" as kubelet is built, "…/version.Version=" as containerd. */
static void version_of_flags(const char *s, size_t n, char ret[static 64]) {
        static const char *const names[] = { "/version.gitVersion=", "/version.Version=" };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                const char *hit = memmem(s, n, names[i], strlen(names[i]));

                if (!hit)
                        continue;
                hit += strlen(names[i]);
                if (take_version(hit, n - (size_t) (hit - s), ret))
                        return;
        }
}

static bool starts_with(const char *s, size_t n, const char *prefix) {
        size_t prefix_n = strlen(prefix);

        return n >= prefix_n && memcmp(s, prefix, prefix_n) == 0;
}

void gobuild_parse_text(const char *s, size_t n, Gobuild *ret) {
        *ret = (Gobuild){ "", "" };
        for (size_t pos = 0; pos < n;) {
                const char *line = s + pos, *eol = memchr(line, '\n', n - pos);
                size_t line_n = eol ? (size_t) (eol - line) : n - pos;

                pos += line_n + 1;
                if (starts_with(line, line_n, "path\t"))
                        util_copy_bounded(ret->path, sizeof(ret->path), line + 5, line_n - 5);
                else if (starts_with(line, line_n, "mod\t")) {
                        const char *version = memchr(line + 4, '\t', line_n - 4);

                        if (version)
                                (void) take_version(version + 1, line_n - (size_t) (version + 1 - line), ret->version);
                } else if (starts_with(line, line_n, "build\t-ldflags=") && !*ret->version)
                        version_of_flags(line, line_n, ret->version);
        }
}

int gobuild_read(GobuildRead read, void *userdata, Gobuild *ret) {
        Elf elf = { .read = read, .userdata = userdata };
        _cleanup_free_ uint8_t *info = NULL;
        const char *text;
        Section section;
        size_t n, pos, text_n;
        int r;

        r = find_section(&elf, &section);
        if (r < 0)
                return r;
        if (section.size < HEADER_N)
                return -EBADMSG;
        n = section.size < GOBUILD_INFO_MAX ? (size_t) section.size : GOBUILD_INFO_MAX;
        info = malloc(n);
        if (!info)
                return -ENOMEM;
        r = read_exact(&elf, section.offset, info, n);
        if (r < 0)
                return r;
        for (pos = 0; n - pos >= HEADER_N; pos += 16)
                if (memcmp(info + pos, MAGIC, MAGIC_N) == 0)
                        break;
        if (n - pos < HEADER_N)
                return -ENOENT;
        if (!(info[pos + MAGIC_N + 1] & INLINE))
                return -EOPNOTSUPP;
        pos += HEADER_N;
        if ((r = next_string(info, n, &pos, &text, &text_n)) < 0 || /* Go's own version */
            (r = next_string(info, n, &pos, &text, &text_n)) < 0)
                return r;
        if (text_n <= 2UL * SENTINEL_N)
                return -ENOENT;
        gobuild_parse_text(text + SENTINEL_N, text_n - 2UL * SENTINEL_N, ret);
        return 0;
}

static ssize_t read_fd(void *userdata, uint64_t offset, void *buf, size_t n) {
        const int *fd = userdata;
        size_t done = 0;

        while (done < n) {
                ssize_t got = pread(*fd, (char *) buf + done, n - done, (off_t) (offset + done));

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0)
                        break;
                done += (size_t) got;
        }
        return (ssize_t) done;
}

int gobuild_read_fd(int fd, Gobuild *ret) {
        _cleanup_close_ int own = -EBADF;
        char link[64];

        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        own = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        return own < 0 ? -errno : gobuild_read(read_fd, &own, ret);
}
