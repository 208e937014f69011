#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <yajl/yajl_tree.h>
#include "clk.h"
#include "json.h"
#include "manifest.h"

#define VERSION 1

static const NodeStat private = { .mode = 0600 };

static int backup_path(const Plan *plan, const char *name, char **ret) {
        if (asprintf(ret, PLAN_BACKUP_DIR "/%s%s%s", plan->target, *name ? "/" : "", name) < 0) {
                *ret = NULL;
                return -ENOMEM;
        }
        return 0;
}

static int write_name(const Plan *plan, const char *name, const Bytes *data) {
        _cleanup_free_ char *path = NULL;
        int r = backup_path(plan, name, &path);

        return r < 0 ? r : nodefile_write(plan->root_fd, path, data, &private);
}

static int write_text(const Plan *plan, uint64_t generation, size_t i, const char *which, const Bytes *data) {
        char name[64];

        (void) snprintf(name, sizeof(name), "%" PRIu64 "-%zu.%s", generation, i, which);
        return write_name(plan, name, data);
}

static void json_file(Json *json, const PlanFile *file, uint64_t generation, size_t i) {
        char name[64];

        json_map(json);
        json_pair_str(json, "path", file->path);
        json_pair_bool(json, "existed", file->existed);
        json_pair_bool(json, "exists", file->exists);
        json_pair_u64(json, "mode", file->stat.mode);
        json_pair_u64(json, "uid", file->stat.uid);
        json_pair_u64(json, "gid", file->stat.gid);
        json_pair_known(json, "marker", file->marker);
        (void) snprintf(name, sizeof(name), "%" PRIu64 "-%zu.before", generation, i);
        json_pair_str(json, "before", name);
        (void) snprintf(name, sizeof(name), "%" PRIu64 "-%zu.after", generation, i);
        json_pair_str(json, "after", name);
        json_map_end(json);
}

static int make_manifest(const Plan *plan, bool pending, uint64_t generation, Bytes *ret) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        Json *json = out ? json_new(out) : NULL;
        int r;

        if (!json) {
                if (out)
                        (void) fclose(out);
                return -ENOMEM;
        }
        json_map(json);
        json_pair_u64(json, "version", VERSION);
        json_pair_str(json, "target", plan->target);
        json_pair_bool(json, "pending", pending);
        json_time(json, "written", generation);
        json_key(json, "files");
        json_array(json);
        for (size_t i = 0; i < plan->n_files; i++)
                json_file(json, &plan->files[i], generation, i);
        json_array_end(json);
        json_key(json, "folders");
        json_array(json);
        for (size_t i = 0; i < plan->n_dirs; i++)
                json_str(json, plan->dirs[i]);
        json_array_end(json);
        json_map_end(json);
        r = json_finish(json);
        json_free(json);
        if (fclose(out) == EOF && r >= 0)
                r = -ENOMEM;
        return r < 0 ? r : bytes_dup(text, size, ret);
}

typedef struct Sweep {
        int root_fd;
        const char *keep; /* names that begin so stay; NULL: none */
} Sweep;

static int on_sweep(const char *path, void *userdata) {
        const Sweep *sweep = userdata;
        const char *name = strrchr(path, '/') + 1;

        if (sweep->keep && (strcmp(name, "manifest.json") == 0 || strncmp(name, sweep->keep, strlen(sweep->keep)) == 0))
                return 0;
        return nodefile_remove(sweep->root_fd, path);
}

int manifest_store(const Plan *plan, bool pending) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        _cleanup_free_ char *dir = NULL;
        uint64_t generation = clk_realtime();
        char keep[32];
        Sweep sweep = { .root_fd = plan->root_fd, .keep = keep };
        int r;

        r = backup_path(plan, "", &dir);
        if (r < 0)
                return r;
        r = nodefile_mkdirs(plan->root_fd, "/etc/podspan", 0755, NULL, NULL);
        if (r < 0)
                return r;
        r = nodefile_mkdirs(plan->root_fd, dir, 0700, NULL, NULL);
        if (r < 0)
                return r;
        for (size_t i = 0; i < plan->n_files; i++) {
                const PlanFile *file = &plan->files[i];

                if ((r = write_text(plan, generation, i, "before", &file->before)) < 0 ||
                    (r = write_text(plan, generation, i, "after", &file->after)) < 0)
                        return r;
        }
        r = make_manifest(plan, pending, generation, &text);
        if (r < 0)
                return r;
        r = write_name(plan, "manifest.json", &text);
        if (r < 0)
                return r;
        /* What the manifest before this one named is of no use now; if it stays, nobody minds. */
        (void) snprintf(keep, sizeof(keep), "%" PRIu64 "-", generation);
        (void) nodefile_list(plan->root_fd, dir, NULL, on_sweep, &sweep);
        return 0;
}

static const char *get_string(yajl_val node, const char *key) {
        const char *path[] = { key, NULL };

        return YAJL_GET_STRING(yajl_tree_get(node, path, yajl_t_string));
}

static bool get_bool(yajl_val node, const char *key) {
        const char *path[] = { key, NULL };

        return YAJL_IS_TRUE(yajl_tree_get(node, path, yajl_t_any));
}

static long long get_number(yajl_val node, const char *key) {
        const char *path[] = { key, NULL };
        yajl_val value = yajl_tree_get(node, path, yajl_t_number);

        return YAJL_IS_INTEGER(value) ? YAJL_GET_INTEGER(value) : -1;
}

static int load_text(const Plan *plan, const char *name, Bytes *ret) {
        _cleanup_free_ char *path = NULL;
        int r;

        if (!name || !util_id_valid(name))
                return -EBADMSG;
        r = backup_path(plan, name, &path);
        return r < 0 ? r : nodefile_read(plan->root_fd, path, ret, NULL);
}

static int load_file(Plan *plan, yajl_val node) {
        const char *path = get_string(node, "path"), *marker = get_string(node, "marker");
        PlanFile *file = &plan->files[plan->n_files];
        int r;

        if (plan->n_files == PLAN_FILES_MAX || !path || *path != '/' || get_number(node, "mode") < 0 ||
            get_number(node, "uid") < 0 || get_number(node, "gid") < 0)
                return -EBADMSG;
        plan->n_files++;
        *file = (PlanFile){
                .path = strdup(path),
                .existed = get_bool(node, "existed"),
                .exists = get_bool(node, "exists"),
                .stat = { .mode = (mode_t) get_number(node, "mode") & 07777,
                          .uid = (uid_t) get_number(node, "uid"),
                          .gid = (gid_t) get_number(node, "gid") },
                .marker = marker ? strdup(marker) : NULL,
        };
        if (!file->path || (marker && !file->marker))
                return -ENOMEM;
        r = load_text(plan, get_string(node, "before"), &file->before);
        if (r < 0)
                return r;
        return load_text(plan, get_string(node, "after"), &file->after);
}

static int load_tree(Plan *plan, yajl_val tree, bool *ret_pending) {
        const char *files_path[] = { "files", NULL }, *dirs_path[] = { "folders", NULL };
        yajl_val files = yajl_tree_get(tree, files_path, yajl_t_array),
                 dirs = yajl_tree_get(tree, dirs_path, yajl_t_array);
        int r;

        if (get_number(tree, "version") != VERSION || !files || !dirs)
                return -EBADMSG;
        for (size_t i = 0; i < YAJL_GET_ARRAY(files)->len; i++) {
                r = load_file(plan, YAJL_GET_ARRAY(files)->values[i]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < YAJL_GET_ARRAY(dirs)->len; i++) {
                const char *dir = YAJL_GET_STRING(YAJL_GET_ARRAY(dirs)->values[i]);

                if (!dir || *dir != '/' || plan->n_dirs == PLAN_DIRS_MAX)
                        return -EBADMSG;
                plan->dirs[plan->n_dirs] = strdup(dir);
                if (!plan->dirs[plan->n_dirs])
                        return -ENOMEM;
                plan->n_dirs++;
        }
        *ret_pending = get_bool(tree, "pending");
        return 0;
}

int manifest_load(Plan *plan, bool *ret_pending) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        _cleanup_free_ char *path = NULL;
        yajl_val tree;
        int r;

        r = backup_path(plan, "manifest.json", &path);
        if (r < 0)
                return r;
        /* What it says is written to files of root's. */
        r = nodefile_check_owner(plan->root_fd, path);
        if (r >= 0)
                r = nodefile_read(plan->root_fd, path, &text, NULL);
        if (r < 0)
                return r;
        tree = yajl_tree_parse(text.p, NULL, 0);
        if (!tree)
                return -EBADMSG;
        r = load_tree(plan, tree, ret_pending);
        yajl_tree_free(tree);
        return r;
}

/* Where they are empty. */
static void remove_parents(const Plan *plan) {
        nodefile_rmdir(plan->root_fd, PLAN_BACKUP_DIR);
        nodefile_rmdir(plan->root_fd, "/etc/podspan");
}

int manifest_remove(const Plan *plan) {
        _cleanup_free_ char *dir = NULL, *manifest = NULL;
        Sweep sweep = { .root_fd = plan->root_fd };
        int r;

        if ((r = backup_path(plan, "", &dir)) < 0 || (r = backup_path(plan, "manifest.json", &manifest)) < 0)
                return r;
        /* The manifest first: texts without one are nothing. */
        r = nodefile_remove(plan->root_fd, manifest);
        if (r < 0)
                return r;
        r = nodefile_list(plan->root_fd, dir, NULL, on_sweep, &sweep);
        nodefile_rmdir(plan->root_fd, dir);
        remove_parents(plan);
        return r;
}

/* The first characters of the names that the manifest has, "1764532000000000000-": "-" if it names none. */
static int generation_of(const Plan *plan, const char *manifest, char ret[static 32]) {
        const char *files_path[] = { "files", NULL };
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        const char *before = NULL;
        yajl_val tree, files;
        int r;

        r = nodefile_read(plan->root_fd, manifest, &text, NULL);
        if (r < 0)
                return r;
        tree = yajl_tree_parse(text.p, NULL, 0);
        files = tree ? yajl_tree_get(tree, files_path, yajl_t_array) : NULL;
        r = files ? 0 : -EBADMSG;
        if (files && YAJL_GET_ARRAY(files)->len > 0)
                before = get_string(YAJL_GET_ARRAY(files)->values[0], "before");
        if (files && YAJL_GET_ARRAY(files)->len > 0 && !before)
                r = -EBADMSG;
        (void) snprintf(ret, 32, "%.*s-", before ? (int) strcspn(before, "-") : 0, before ? before : "");
        yajl_tree_free(tree);
        return r;
}

void manifest_sweep(const Plan *plan) {
        _cleanup_free_ char *dir = NULL, *manifest = NULL;
        _cleanup_close_ int fd = -EBADF;
        char keep[32];
        Sweep sweep = { .root_fd = plan->root_fd, .keep = keep };
        int r;

        if (backup_path(plan, "", &dir) < 0 || backup_path(plan, "manifest.json", &manifest) < 0)
                return;
        fd = nodefile_open(plan->root_fd, dir, O_PATH | O_DIRECTORY);
        if (fd < 0) {
                remove_parents(plan);
                return;
        }
        r = generation_of(plan, manifest, keep);
        if (r == -ENOENT)
                (void) manifest_remove(plan);
        else if (r >= 0)
                (void) nodefile_list(plan->root_fd, dir, NULL, on_sweep, &sweep);
}
