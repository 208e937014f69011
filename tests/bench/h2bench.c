/*
 * A gRPC load generator and its backend, for bench-cri
 *
 *     h2bench serve PATH
 *     h2bench load PATH METHOD STREAMS CALLS WARMUP
 *     h2bench idle PATH CONNECTIONS
 *
 * "load" keeps STREAMS calls in flight on one connection until CALLS are answered and prints one line of JSON with the
 * latencies' quantiles in microseconds and the calls per second. "idle" makes CONNECTIONS connections, one Version call
 * on each, prints "ready" and keeps them open until standard input ends. Both ends are as light as nghttp2 lets them
 * be, so that what stands between them shows.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "clk.h"
#include "util.h"

#define LIST_CONTAINERS 1000
#define WINDOW          (8 << 20)
#define STREAMS_MAX     256

typedef struct Message {
        uint8_t *data;
        size_t size;
} Message;

/* What a stream still has to send, and for the client when it began. */
typedef struct Stream {
        const Message *body;
        size_t sent;
        uint64_t begin_ns;
} Stream;

typedef struct Conn {
        int fd;
        nghttp2_session *session;
        struct Client *client;
        const uint8_t *unsent;
        size_t n_unsent;
} Conn;

typedef struct Client {
        Conn conn;
        const char *path;
        Message request;
        unsigned in_flight;
        unsigned n_started, n_done, n_calls, n_warmup;
        uint64_t *latency;
        uint64_t begin_ns, end_ns;
        bool failed;
} Client;

static Message replies[3];

static void put(Message *message, const void *data, size_t size) {
        message->data = realloc(message->data, message->size + size);
        assert(message->data);
        memcpy(message->data + message->size, data, size);
        message->size += size;
}

static void put_field(Message *message, unsigned number, const void *data, size_t size) {
        uint8_t head[16];
        size_t n = 0, rest = size;

        head[n++] = (uint8_t) (number << 3 | 2);
        for (; rest > 0x7f; rest >>= 7)
                head[n++] = (uint8_t) (rest | 0x80);
        head[n++] = (uint8_t) rest;
        put(message, head, n);
        put(message, data, size);
}

static void put_text(Message *message, unsigned number, const char *text) {
        put_field(message, number, text, strlen(text));
}

/* The message with gRPC's five bytes before it; @body is consumed. */
static Message framed(Message body) {
        uint8_t prefix[5] = { 0, (uint8_t) (body.size >> 24), (uint8_t) (body.size >> 16), (uint8_t) (body.size >> 8),
                              (uint8_t) body.size };
        Message message = {};

        put(&message, prefix, sizeof(prefix));
        if (body.size > 0)
                put(&message, body.data, body.size);
        free(body.data);
        return message;
}

static void put_label(Message *message, unsigned number, const char *key, const char *value) {
        Message entry = {};

        put_text(&entry, 1, key);
        put_text(&entry, 2, value);
        put_field(message, number, entry.data, entry.size);
        free(entry.data);
}

/* A RunPodSandboxRequest of some 1.2 KB, as kubelet sends it. */
static Message run_pod_sandbox(void) {
        Message metadata = {}, config = {}, request = {};
        char key[64], value[96];

        put_text(&metadata, 1, "frontend-7d4b9c6f5-x2x7k");
        put_text(&metadata, 2, "0f5b6c52-8f63-4a5c-9b2e-0123456789ab");
        put_text(&metadata, 3, "shop");
        put_field(&config, 1, metadata.data, metadata.size);
        put_text(&config, 2, "frontend-7d4b9c6f5-x2x7k");
        put_text(&config, 3, "/var/log/pods/shop_frontend-7d4b9c6f5-x2x7k_0f5b6c52-8f63-4a5c-9b2e-0123456789ab");
        for (int i = 0; i < 8; i++) {
                (void) snprintf(key, sizeof(key), "app.kubernetes.io/label-%d", i);
                (void) snprintf(value, sizeof(value), "some-value-of-a-usual-length-%d", i);
                put_label(&config, 6, key, value);
        }
        put_label(&config, 7, "kubernetes.io/config.seen", "2026-01-02T03:04:05.678901234Z");
        put_label(&config, 7, "kubernetes.io/config.source", "api");
        put_field(&request, 1, config.data, config.size);
        free(metadata.data);
        free(config.data);
        return request;
}

static Message list_containers(void) {
        Message list = {};
        char text[128];

        for (int i = 0; i < LIST_CONTAINERS; i++) {
                Message container = {}, metadata = {}, image = {};

                (void) snprintf(text, sizeof(text), "%064x", i + 1);
                put_text(&container, 1, text);
                (void) snprintf(text, sizeof(text), "%064x", i / 3 + 0x10000);
                put_text(&container, 2, text);
                put_text(&metadata, 1, "main");
                put_field(&container, 3, metadata.data, metadata.size);
                put_text(&image, 1, "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
                put_field(&container, 4, image.data, image.size);
                (void) snprintf(text, sizeof(text), "pod-%d", i / 3);
                put_label(&container, 8, "io.kubernetes.pod.name", text);
                put_label(&container, 8, "io.kubernetes.pod.namespace", "shop");
                (void) snprintf(text, sizeof(text), "%08x-8f63-4a5c-9b2e-0123456789ab", i / 3);
                put_label(&container, 8, "io.kubernetes.pod.uid", text);
                for (int j = 0; j < 10; j++) {
                        char key[64];

                        (void) snprintf(key, sizeof(key), "example.org/annotation-number-%d", j);
                        put_label(&container, 9, key, "a value that is neither very short nor very long, as they are");
                }
                put_field(&list, 1, container.data, container.size);
                free(container.data);
                free(metadata.data);
                free(image.data);
        }
        return list;
}

static ssize_t on_read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size, uint32_t *flags,
                            nghttp2_data_source *source, void *userdata) {
        Stream *stream = nghttp2_session_get_stream_user_data(session, id);
        Conn *conn = userdata;
        size_t n = MIN(size, stream->body->size - stream->sent);

        (void) source;
        memcpy(buf, stream->body->data + stream->sent, n);
        stream->sent += n;
        if (stream->sent == stream->body->size) {
                *flags |= NGHTTP2_DATA_FLAG_EOF;
                if (!conn->client) {
                        nghttp2_nv trailer = { (uint8_t *) "grpc-status", (uint8_t *) "0", 11, 1, 0 };

                        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
                        if (nghttp2_submit_trailer(session, id, &trailer, 1) != 0)
                                return NGHTTP2_ERR_CALLBACK_FAILURE;
                }
        }
        return (ssize_t) n;
}

#define NV(name, value) \
        { (uint8_t *) (name), (uint8_t *) (value), strlen(name), strlen(value), 0 }

static void client_start(Client *client) {
        nghttp2_nv headers[] = { NV(":method", "POST"),
                                 NV(":scheme", "http"),
                                 NV(":path", client->path),
                                 NV(":authority", "localhost"),
                                 NV("content-type", "application/grpc"),
                                 NV("user-agent", "grpc-go/1.72.2"),
                                 NV("te", "trailers"),
                                 NV("grpc-timeout", "119999m") };
        nghttp2_data_provider body = { .read_callback = on_read_body };
        Stream *stream = calloc(1, sizeof(*stream));

        assert(stream);
        stream->body = &client->request;
        stream->begin_ns = clk_monotonic();
        if (nghttp2_submit_request(client->conn.session, NULL, headers, ARRAY_SIZE(headers), &body, stream) < 0)
                abort();
        client->in_flight++;
        client->n_started++;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *userdata) {
        Stream *stream = nghttp2_session_get_stream_user_data(session, id);
        Conn *conn = userdata;
        Client *client = conn->client;

        if (client) {
                uint64_t now = clk_monotonic();

                if (error != 0)
                        client->failed = true;
                if (client->n_done >= client->n_warmup)
                        client->latency[client->n_done - client->n_warmup] = now - stream->begin_ns;
                client->n_done++;
                if (client->n_done == client->n_warmup)
                        client->begin_ns = now;
                client->end_ns = now;
                client->in_flight--;
        }
        free(stream);
        return 0;
}

/* The backend's choice by the path's last part: the number of a canned reply in the stream's user data. */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *userdata) {
        Conn *conn = userdata;

        (void) flags;
        if (!conn->client && name_len == 5 && memcmp(name, ":path", 5) == 0) {
                Stream *stream = calloc(1, sizeof(*stream));
                uint8_t last = value[value_len - 1];

                assert(stream);
                stream->body = &replies[last == 'n' ? 0 : last == 'x' ? 1 : 2];
                nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, stream);
        }
        return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        nghttp2_nv headers[] = { NV(":status", "200"), NV("content-type", "application/grpc") };
        nghttp2_data_provider body = { .read_callback = on_read_body };
        Conn *conn = userdata;

        if (!conn->client && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
            (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS))
                return nghttp2_submit_response(session, frame->hd.stream_id, headers, ARRAY_SIZE(headers), &body);
        return 0;
}

static void conn_init(Conn *conn, int fd, Client *client) {
        nghttp2_settings_entry settings[] = { { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW },
                                              { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX } };
        nghttp2_session_callbacks *callbacks;

        *conn = (Conn){ .fd = fd, .client = client };
        if (nghttp2_session_callbacks_new(&callbacks) != 0)
                abort();
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
        if ((client ? nghttp2_session_client_new(&conn->session, callbacks, conn)
                    : nghttp2_session_server_new(&conn->session, callbacks, conn)) != 0)
                abort();
        nghttp2_session_callbacks_del(callbacks);
        nghttp2_submit_settings(conn->session, 0, settings, ARRAY_SIZE(settings));
        nghttp2_session_set_local_window_size(conn->session, 0, 0, WINDOW);
}

/* Gathers what there is to send and writes it. Returns 0, 1 if the socket is full, -errno. */
static int conn_send(Conn *conn) {
        static uint8_t scratch[256 * 1024];

        for (;;) {
                size_t n = 0;

                if (conn->n_unsent == 0) {
                        /* One write for several frames, as real gRPC does. */
                        while (n < sizeof(scratch) - 32768) {
                                const uint8_t *data;
                                ssize_t size = nghttp2_session_mem_send(conn->session, &data);

                                if (size < 0)
                                        return -EPROTO;
                                if (size == 0)
                                        break;
                                memcpy(scratch + n, data, (size_t) size);
                                n += (size_t) size;
                        }
                        if (n == 0)
                                return 0;
                } else {
                        memcpy(scratch, conn->unsent, conn->n_unsent);
                        n = conn->n_unsent;
                        free((void *) conn->unsent);
                        conn->unsent = NULL;
                        conn->n_unsent = 0;
                }

                for (size_t at = 0; at < n;) {
                        ssize_t sent = send(conn->fd, scratch + at, n - at, MSG_NOSIGNAL);

                        if (sent < 0 && errno == EAGAIN) {
                                uint8_t *rest = malloc(n - at);

                                assert(rest);
                                memcpy(rest, scratch + at, n - at);
                                conn->unsent = rest;
                                conn->n_unsent = n - at;
                                return 1;
                        }
                        if (sent < 0)
                                return -errno;
                        at += (size_t) sent;
                }
        }
}

static int conn_recv(Conn *conn) {
        static uint8_t scratch[256 * 1024];
        ssize_t n = recv(conn->fd, scratch, sizeof(scratch), 0);

        if (n < 0)
                return errno == EAGAIN ? 0 : -errno;
        if (n == 0 || nghttp2_session_mem_recv(conn->session, scratch, (size_t) n) < 0)
                return -ECONNRESET;
        return 0;
}

static int unix_socket(const char *path, struct sockaddr_un *address) {
        *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (strlen(path) >= sizeof(address->sun_path))
                abort();
        strcpy(address->sun_path, path);
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int serve(const char *path) {
        struct sockaddr_un address;
        int listener = unix_socket(path, &address), epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = { .events = EPOLLIN };

        replies[0] = framed((Message){});
        {
                Message body = {};

                put_text(&body, 1, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
                replies[1] = framed(body);
        }
        replies[2] = framed(list_containers());
        (void) unlink(path);
        if (listener < 0 || bind(listener, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(listener, 1024) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) {
                perror(path);
                return 1;
        }

        for (;;) {
                struct epoll_event events[64];
                int n = epoll_wait(epoll, events, ARRAY_SIZE(events), -1);

                for (int i = 0; i < n; i++) {
                        Conn *conn = events[i].data.ptr;
                        int r;

                        if (!conn) {
                                int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

                                if (fd < 0)
                                        continue;
                                conn = malloc(sizeof(*conn));
                                assert(conn);
                                conn_init(conn, fd, NULL);
                                event = (struct epoll_event){ .events = EPOLLIN, .data.ptr = conn };
                                (void) epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
                                r = conn_send(conn);
                        } else {
                                r = events[i].events & (EPOLLIN | EPOLLHUP) ? conn_recv(conn) : 0;
                                if (r == 0)
                                        r = conn_send(conn);
                        }
                        if (r < 0) {
                                (void) close(conn->fd);
                                nghttp2_session_del(conn->session);
                                free((void *) conn->unsent);
                                free(conn);
                                continue;
                        }
                        event = (struct epoll_event){ .events = EPOLLIN | (r == 1 ? EPOLLOUT : 0), .data.ptr = conn };
                        (void) epoll_ctl(epoll, EPOLL_CTL_MOD, conn->fd, &event);
                }
        }
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

static int client_connect(Client *client, const char *path) {
        struct sockaddr_un address;
        int fd = unix_socket(path, &address);

        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        conn_init(&client->conn, fd, client);
        return 0;
}

/* Runs until all calls are answered. */
static int client_run(Client *client, unsigned streams) {
        while (client->n_done < client->n_calls + client->n_warmup) {
                int r;

                while (client->in_flight < streams && client->n_started < client->n_calls + client->n_warmup)
                        client_start(client);
                r = conn_send(&client->conn);
                if (r == 0)
                        r = conn_recv(&client->conn);
                if (r < 0)
                        return r;
        }
        return client->failed ? -EPROTO : 0;
}

static int load(const char *path, const char *method, unsigned streams, unsigned calls, unsigned warmup) {
        char full[128];
        Client client = { .path = full, .n_calls = calls, .n_warmup = warmup };
        double sum = 0;
        int r;

        (void) snprintf(full, sizeof(full), "/runtime.v1.RuntimeService/%s", method);
        if (strcmp(method, "RunPodSandbox") == 0)
                client.request = run_pod_sandbox();
        else if (strcmp(method, "ListContainers") == 0)
                /* kubelet's list of all has a filter that is there and empty. */
                put_field(&client.request, 1, "", 0);
        client.request = framed(client.request);
        client.latency = calloc(calls, sizeof(*client.latency));
        assert(client.latency && streams <= STREAMS_MAX);
        r = client_connect(&client, path);
        if (r < 0) {
                (void) fprintf(stderr, "%s: %s\n", path, strerror(-r));
                return 1;
        }
        client.begin_ns = clk_monotonic();
        r = client_run(&client, streams);
        if (r < 0) {
                (void) fprintf(stderr, "%s: %s after %u calls\n", path, strerror(-r), client.n_done);
                return 1;
        }
        qsort(client.latency, calls, sizeof(*client.latency), compare);
        for (unsigned i = 0; i < calls; i++)
                sum += (double) client.latency[i];
        printf("{\"n\": %u, \"p10\": %.2f, \"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"mean\": %.2f, \"rate\": "
               "%.1f}\n",
               calls, (double) client.latency[calls / 10] / 1e3, (double) client.latency[calls / 2] / 1e3,
               (double) client.latency[(uint64_t) calls * 9 / 10] / 1e3,
               (double) client.latency[(uint64_t) calls * 99 / 100] / 1e3, sum / calls / 1e3,
               calls / ((double) (client.end_ns - client.begin_ns) / 1e9));
        return 0;
}

static int idle(const char *path, unsigned connections) {
        Message request = framed((Message){});

        for (unsigned i = 0; i < connections; i++) {
                Client *client = calloc(1, sizeof(*client));
                static uint64_t latency;

                assert(client);
                client->path = "/runtime.v1.RuntimeService/Version";
                client->request = request;
                client->latency = &latency;
                client->n_calls = 1;
                if (client_connect(client, path) < 0 || client_run(client, 1) < 0) {
                        (void) fprintf(stderr, "%s: connection %u failed\n", path, i);
                        return 1;
                }
        }
        printf("ready\n");
        (void) fflush(stdout);
        while (getchar() != EOF)
                ;
        return 0;
}

int main(int argc, char **argv) {
        uint64_t number[4] = {};

        for (int i = 0; i < 4 && i + (argc == 4 ? 3 : 4) < argc; i++)
                if (util_parse_u64(argv[i + (argc == 4 ? 3 : 4)], strlen(argv[i + (argc == 4 ? 3 : 4)]), &number[i]) <
                    0)
                        argc = 0;
        if (argc == 3 && strcmp(argv[1], "serve") == 0)
                return serve(argv[2]);
        if (argc == 7 && strcmp(argv[1], "load") == 0)
                return load(argv[2], argv[3], (unsigned) number[0], (unsigned) number[1], (unsigned) number[2]);
        if (argc == 4 && strcmp(argv[1], "idle") == 0)
                return idle(argv[2], (unsigned) number[0]);
        (void) fprintf(stderr,
                       "usage: h2bench serve PATH | load PATH METHOD STREAMS CALLS WARMUP | idle PATH CONNECTIONS\n");
        return 2;
}
