#include <stdio.h>
#include <string.h>
#include "configvalue.h"
#include "util.h"

#define CONFIGVALUE_PORT_OTLP 4317

static int configvalue_refuse(const char **ret_reason, const char *reason) {
        *ret_reason = reason;
        return -EINVAL;
}

static bool configvalue_is_blank(char c) {
        return c == ' ' || c == '\t';
}

static bool configvalue_is_comment(char c) {
        return c == '#' || c == ';';
}

int configvalue_unquote(const char *s, size_t len, char *ret, size_t size, const char **ret_reason) {
        const char *end = s + len;
        size_t n = 0;
        char quote;

        while (s < end && configvalue_is_blank(*s))
                s++;

        if (s == end || (*s != '"' && *s != '\'')) {
                /* The comment's mark must follow a blank (or be all there is): a header's value may well have a ';' in
                 * it. */
                for (const char *p = s; p < end; p++)
                        if (configvalue_is_comment(*p) && (p == s || configvalue_is_blank(p[-1]))) {
                                end = p;
                                break;
                        }
                while (end > s && configvalue_is_blank(end[-1]))
                        end--;
                if ((size_t) (end - s) >= size)
                        return configvalue_refuse(ret_reason, "value too long");

                memcpy(ret, s, (size_t) (end - s));
                ret[end - s] = '\0';
                return 0;
        }

        quote = *s++;
        for (; s < end && *s != quote; s++) {
                if (quote == '"' && *s == '\\') {
                        s++;
                        if (s == end || (*s != '"' && *s != '\\'))
                                return configvalue_refuse(ret_reason, "the only escapes are \\\" and \\\\");
                }
                if (n + 1 >= size)
                        return configvalue_refuse(ret_reason, "value too long");
                ret[n++] = *s;
        }
        if (s == end)
                return configvalue_refuse(ret_reason, "closing quote missing");

        for (s++; s < end && configvalue_is_blank(*s);)
                s++;
        if (s < end && !configvalue_is_comment(*s))
                return configvalue_refuse(ret_reason, "unexpected text after the closing quote");

        ret[n] = '\0';
        return 0;
}

static int configvalue_host(const char *s, size_t len, bool bracketed, ConfigEndpoint *ret) {
        if (len == 0 || len > CONFIGVALUE_HOST_MAX)
                return -EINVAL;

        for (size_t i = 0; i < len; i++) {
                char c = s[i];
                bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
                bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

                /* RFC 4007's zone may follow an address: fe80::1%eth0. */
                if (bracketed ? !hex && !letter && !strchr(":.%_-", c) : !hex && !letter && !strchr(".-_", c))
                        return -EINVAL;
        }

        memcpy(ret->host, s, len);
        ret->host[len] = '\0';
        return 0;
}

/* The schemes that name a host; the last is none. */
static const struct {
        const char *prefix;
        uint16_t port;
        int tls; /* 0, 1, or -1: whoever asks decides */
} configvalue_schemes[] = {
        { "http://", 80, 0 },
        { "https://", 443, 1 },
        { "dns:///", CONFIGVALUE_PORT_OTLP, -1 },
        { "", CONFIGVALUE_PORT_OTLP, -1 },
};

static int configvalue_unix(const char *s, ConfigEndpoint *ret, const char **ret_reason) {
        ConfigEndpoint endpoint = { .local = true };

        if (strncmp(s, "//", 2) == 0)
                s += 2;
        if (s[0] != '/')
                return configvalue_refuse(ret_reason, "unix: needs an absolute path");
        if (strlen(s) >= sizeof(endpoint.path))
                return configvalue_refuse(ret_reason, "the path of a unix socket has at most 107 bytes");

        memcpy(endpoint.path, s, strlen(s) + 1);
        *ret = endpoint;
        return 0;
}

int configvalue_endpoint(const char *s, bool insecure, ConfigEndpoint *ret, const char **ret_reason) {
        ConfigEndpoint endpoint = {};
        const char *end, *host_end, *port = NULL;
        size_t scheme = 0;
        bool bracketed;
        uint64_t n;

        if (strncasecmp(s, "unix:", 5) == 0)
                return configvalue_unix(s + 5, ret, ret_reason);

        while (strncasecmp(s, configvalue_schemes[scheme].prefix, strlen(configvalue_schemes[scheme].prefix)) != 0)
                scheme++;
        s += strlen(configvalue_schemes[scheme].prefix);
        endpoint.tls = configvalue_schemes[scheme].tls < 0 ? !insecure : configvalue_schemes[scheme].tls;
        endpoint.port = configvalue_schemes[scheme].port;

        if (strstr(s, "://"))
                return configvalue_refuse(ret_reason, "the scheme must be http, https, dns or unix");

        end = s + strcspn(s, "/?#");
        if (end[0] != '\0' && strcmp(end, "/") != 0)
                return configvalue_refuse(ret_reason, "OTLP over gRPC has no path: host:port is all");

        bracketed = s[0] == '[';
        if (bracketed) {
                s++;
                host_end = memchr(s, ']', (size_t) (end - s));
                if (!host_end)
                        return configvalue_refuse(ret_reason, "\"]\" missing");
                if (host_end + 1 < end) {
                        if (host_end[1] != ':')
                                return configvalue_refuse(ret_reason, "only :port may follow \"]\"");
                        port = host_end + 2;
                }
        } else {
                host_end = memchr(s, ':', (size_t) (end - s));
                if (host_end)
                        port = host_end + 1;
                else
                        host_end = end;
                if (port && memchr(port, ':', (size_t) (end - port)))
                        return configvalue_refuse(ret_reason, "an IPv6 address stands in brackets: [::1]:4317");
        }

        if (configvalue_host(s, (size_t) (host_end - s), bracketed, &endpoint) < 0)
                return configvalue_refuse(ret_reason, "not a host name or address");
        if (port) {
                if (util_parse_u64(port, (size_t) (end - port), &n) < 0 || n == 0 || n > UINT16_MAX)
                        return configvalue_refuse(ret_reason, "the port must be 1 to 65535");
                endpoint.port = (uint16_t) n;
                endpoint.port_given = true;
        }

        *ret = endpoint;
        return 0;
}

/* Trims and decodes @len bytes into @ret, which has room for len + 1. */
static int configvalue_decode(const char *s, size_t len, char *ret, const char **ret_reason) {
        const char *end = s + len;
        char *p = ret;

        while (s < end && configvalue_is_blank(*s))
                s++;
        while (end > s && configvalue_is_blank(end[-1]))
                end--;

        while (s < end) {
                if (*s != '%') {
                        *p++ = *s++;
                        continue;
                }
                if (end - s < 3 || util_hex_value(s[1]) < 0 || util_hex_value(s[2]) < 0)
                        return configvalue_refuse(ret_reason, "\"%\" must be followed by two hex digits");
                *p = (char) (util_hex_value(s[1]) << 4 | util_hex_value(s[2]));
                if (*p == '\0')
                        return configvalue_refuse(ret_reason, "%00 is not allowed");
                p++;
                s += 3;
        }

        *p = '\0';
        if (!util_utf8_valid(ret, (size_t) (p - ret)))
                return configvalue_refuse(ret_reason, "not UTF-8");
        return 0;
}

int configvalue_pairs(const char *s, int (*fn)(const char *name, const char *value, void *userdata), void *userdata,
                      const char **ret_reason) {
        size_t len = strlen(s);
        _cleanup_free_ char *name = NULL, *value = NULL;

        name = malloc(len + 1);
        value = malloc(len + 1);
        if (!name || !value)
                return -ENOMEM;

        for (const char *member = s, *next; member; member = next) {
                const char *end = strchrnul(member, ','), *equal;
                int r;

                next = *end ? end + 1 : NULL;
                while (member < end && configvalue_is_blank(*member))
                        member++;
                if (member == end)
                        continue;

                equal = memchr(member, '=', (size_t) (end - member));
                if (!equal)
                        return configvalue_refuse(ret_reason, "must be name=value,name=value");

                r = configvalue_decode(member, (size_t) (equal - member), name, ret_reason);
                if (r < 0)
                        return r;
                r = configvalue_decode(equal + 1, (size_t) (end - equal - 1), value, ret_reason);
                if (r < 0)
                        return r;
                if (name[0] == '\0')
                        return configvalue_refuse(ret_reason, "a name is empty");

                r = fn(name, value, userdata);
                if (r < 0)
                        return r;
        }

        return 0;
}

int configvalue_header_check(const char *name, const char *value, const char **ret_reason) {
        /* gRPC over HTTP/2, "Requests": Header-Name, and ASCII-Value of space and printable characters. */
        for (const char *p = name; *p; p++)
                if (!(*p >= '0' && *p <= '9') && !(*p >= 'a' && *p <= 'z') && !strchr("_-.", *p))
                        return configvalue_refuse(ret_reason, "a header's name may have 0-9, a-z, \"_\", \"-\", \".\"");
        if (strncmp(name, "grpc-", 5) == 0)
                return configvalue_refuse(ret_reason, "headers \"grpc-…\" belong to gRPC itself");
        for (const char *p = value; *p; p++)
                if (*p < 0x20 || *p > 0x7e)
                        return configvalue_refuse(ret_reason, "a header's value must be printable ASCII");

        return 0;
}
