#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "diff.h"
#include "manifest.h"
#include "plan.h"

void plan_init(Plan *plan, int root_fd, const char *target) {
        *plan = (Plan){ .root_fd = root_fd, .target = target };
}

static void file_deinit(PlanFile *file) {
        free(file->path);
        free(file->marker);
        bytes_deinit(&file->before);
        bytes_deinit(&file->after);
}

void plan_deinit(Plan *plan) {
        for (size_t i = 0; i < plan->n_files; i++)
                file_deinit(&plan->files[i]);
        for (size_t i = 0; i < plan->n_dirs; i++)
                free(plan->dirs[i]);
        free(plan->error);
        *plan = (Plan) PLAN_NULL;
}

_printf_(3, 4) static int fail(Plan *plan, int error, const char *format, ...) {
        va_list args;

        free(plan->error);
        va_start(args, format);
        if (vasprintf(&plan->error, format, args) < 0)
                plan->error = NULL;
        va_end(args);
        return error;
}

static PlanFile *find(Plan *plan, const char *path) {
        for (size_t i = 0; i < plan->n_files; i++)
                if (strcmp(plan->files[i].path, path) == 0)
                        return &plan->files[i];
        return NULL;
}

/* The entry of @path, made from what is there now. */
static int get(Plan *plan, const char *path, PlanFile **ret) {
        PlanFile *file = find(plan, path);
        int r;

        if (file) {
                *ret = file;
                return 0;
        }
        if (plan->n_files == PLAN_FILES_MAX)
                return fail(plan, -E2BIG, "more than %d files to change", PLAN_FILES_MAX);
        file = &plan->files[plan->n_files];
        *file = (PlanFile){ .path = strdup(path), .stat = { .mode = 0644 } };
        if (!file->path)
                return -ENOMEM;
        r = nodefile_read(plan->root_fd, path, &file->before, &file->stat);
        if (r < 0 && r != -ENOENT) {
                file_deinit(file);
                return fail(plan, r, "%s: %s", path, strerror(-r));
        }
        file->existed = file->exists = r >= 0;
        if (r < 0)
                file->stat = (NodeStat){ .mode = 0644 };
        r = bytes_dup(file->before.p, file->before.n, &file->after);
        if (r < 0) {
                file_deinit(file);
                return r;
        }
        plan->n_files++;
        *ret = file;
        return 0;
}

int plan_read(Plan *plan, const char *path, const Bytes **ret) {
        PlanFile *file;
        int r;

        r = get(plan, path, &file);
        if (r < 0)
                return r;
        if (!file->exists)
                return -ENOENT;
        *ret = &file->after;
        return 0;
}

int plan_set(Plan *plan, const char *path, Bytes *after, const char *marker) {
        PlanFile *file;
        int r;

        r = get(plan, path, &file);
        if (r < 0)
                return r;
        if (marker && !file->marker) {
                file->marker = strdup(marker);
                if (!file->marker)
                        return -ENOMEM;
        }
        file->exists = after != NULL;
        if (after)
                bytes_move(&file->after, after);
        else
                bytes_deinit(&file->after);
        return 0;
}

static bool changes(const PlanFile *file) {
        return file->existed != file->exists || !bytes_equal(&file->before, &file->after);
}

bool plan_changes(const Plan *plan) {
        for (size_t i = 0; i < plan->n_files; i++)
                if (changes(&plan->files[i]))
                        return true;
        return false;
}

int plan_print(const Plan *plan, FILE *out) {
        for (size_t i = 0; i < plan->n_files; i++) {
                const PlanFile *file = &plan->files[i];
                int r;

                if (!changes(file))
                        continue;
                r = diff_print(out, file->path, file->existed ? &file->before : NULL,
                               file->exists ? &file->after : NULL);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int on_dir(const char *path, void *userdata) {
        Plan *plan = userdata;

        for (size_t i = 0; i < plan->n_dirs; i++)
                if (strcmp(plan->dirs[i], path) == 0)
                        return 0;
        if (plan->n_dirs == PLAN_DIRS_MAX)
                return -E2BIG;
        plan->dirs[plan->n_dirs] = strdup(path);
        if (!plan->dirs[plan->n_dirs])
                return -ENOMEM;
        plan->n_dirs++;
        return 0;
}

static int put(int root_fd, const PlanFile *file, bool exists, const Bytes *text) {
        return exists ? nodefile_write(root_fd, file->path, text, &file->stat) : nodefile_remove(root_fd, file->path);
}

/* The folder of @file and those above it: with @mode 0 only notes those that are not there. */
static int make_dirs(Plan *plan, const PlanFile *file, mode_t mode) {
        _cleanup_free_ char *dir = strndup(file->path, (size_t) (strrchr(file->path, '/') - file->path));

        if (!dir)
                return -ENOMEM;
        return file->exists && *dir ? nodefile_mkdirs(plan->root_fd, dir, mode, mode == 0 ? on_dir : NULL, plan) : 0;
}

static void remove_dirs(const Plan *plan) {
        for (size_t i = plan->n_dirs; i > 0; i--)
                nodefile_rmdir(plan->root_fd, plan->dirs[i - 1]);
}

/* Puts back the first @n files. */
static void put_back(Plan *plan, size_t n) {
        while (n-- > 0) {
                const PlanFile *file = &plan->files[n];

                if (!changes(file))
                        continue;
                nodefile_sweep(plan->root_fd, file->path);
                if (put(plan->root_fd, file, file->existed, &file->before) < 0) {
                        plan->stuck = true;
                        (void) fail(plan, -EIO, "%s could not be put back; it is in " PLAN_BACKUP_DIR "/%s", file->path,
                                    plan->target);
                }
        }
        remove_dirs(plan);
}

/* All files or none. A file that is no longer what the plan was made from is somebody else's change: nothing is done.
 */
static int apply_files(Plan *plan) {
        size_t done = 0;
        int r = 0;

        for (size_t i = 0; i < plan->n_files; i++) {
                const PlanFile *file = &plan->files[i];
                _cleanup_bytes_ Bytes now = BYTES_NULL;

                if (!changes(file))
                        continue;
                r = nodefile_read(plan->root_fd, file->path, &now, NULL);
                if (r == -ENOENT)
                        r = file->existed ? -ESTALE : 0;
                else if (r >= 0)
                        r = file->existed && bytes_equal(&now, &file->before) ? 0 : -ESTALE;
                if (r >= 0)
                        r = make_dirs(plan, file, 0755);
                if (r >= 0) {
                        done = i + 1;
                        r = put(plan->root_fd, file, file->exists, &file->after);
                }
                if (r < 0) {
                        r = fail(plan, r, "%s: %s", file->path,
                                 r == -ESTALE ? "changed by somebody else meanwhile" : strerror(-r));
                        break;
                }
        }
        if (r < 0)
                put_back(plan, done);
        return r;
}

/* An entry for the backup: what was before the first of our changes. */
static int backup_entry(const PlanFile *old, const PlanFile *file, PlanFile *ret) {
        _cleanup_bytes_ Bytes before = BYTES_NULL;
        const PlanFile *origin = old && (!old->existed || !file->existed) ? old : file;
        int r;

        if (old && old->existed && file->existed)
                r = diff_undo(&old->before, &old->after, &file->before, &before);
        else
                r = bytes_dup(origin->before.p, origin->before.n, &before);
        if (r < 0)
                return r;
        *ret = (PlanFile){
                .path = strdup(file->path),
                .existed = origin->existed,
                .exists = file->exists,
                .stat = file->stat,
                .marker = file->marker ? strdup(file->marker) : NULL,
        };
        bytes_move(&ret->before, &before);
        r = bytes_dup(file->after.p, file->after.n, &ret->after);
        return r < 0 || !ret->path || (file->marker && !ret->marker) ? -ENOMEM : 0;
}

static int copy_entry(const PlanFile *from, PlanFile *ret) {
        *ret = (PlanFile){
                .path = strdup(from->path),
                .existed = from->existed,
                .exists = from->exists,
                .stat = from->stat,
                .marker = from->marker ? strdup(from->marker) : NULL,
        };
        if (!ret->path || (from->marker && !ret->marker) ||
            bytes_dup(from->before.p, from->before.n, &ret->before) < 0 ||
            bytes_dup(from->after.p, from->after.n, &ret->after) < 0)
                return -ENOMEM;
        return 0;
}

/* The backup that @plan leaves on top of @old: the files of both. */
static int merge_backup(Plan *old, Plan *plan, Plan *ret) {
        int r;

        for (size_t i = 0; i < old->n_files; i++) {
                const PlanFile *file = find(plan, old->files[i].path);

                if (file && changes(file))
                        continue;
                r = copy_entry(&old->files[i], &ret->files[ret->n_files++]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < plan->n_files; i++) {
                if (!changes(&plan->files[i]))
                        continue;
                if (ret->n_files == PLAN_FILES_MAX)
                        return -E2BIG;
                r = backup_entry(find(old, plan->files[i].path), &plan->files[i], &ret->files[ret->n_files++]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < old->n_dirs; i++) {
                r = on_dir(old->dirs[i], ret);
                if (r < 0)
                        return r;
        }
        return 0;
}

int plan_apply(Plan *plan) {
        _cleanup_plan_ Plan old = PLAN_NULL, backup = PLAN_NULL;
        bool pending = false;
        int r;

        plan_init(&old, plan->root_fd, plan->target);
        plan_init(&backup, plan->root_fd, plan->target);
        r = manifest_load(&old, &pending);
        if (r < 0 && r != -ENOENT)
                return fail(plan, r, PLAN_BACKUP_DIR "/%s: %s", plan->target, strerror(-r));

        r = merge_backup(&old, plan, &backup);
        for (size_t i = 0; i < plan->n_files && r >= 0; i++)
                if (changes(&plan->files[i]))
                        r = make_dirs(plan, &plan->files[i], 0);
        for (size_t i = 0; i < plan->n_dirs && r >= 0; i++)
                r = on_dir(plan->dirs[i], &backup);
        if (r >= 0)
                r = manifest_store(&backup, true);
        if (r < 0)
                (void) fail(plan, r, PLAN_BACKUP_DIR "/%s: cannot keep a backup: %s", plan->target, strerror(-r));
        else {
                r = apply_files(plan);
                if (r >= 0) {
                        r = manifest_store(&backup, false);
                        if (r < 0) {
                                (void) fail(plan, r, PLAN_BACKUP_DIR "/%s: %s", plan->target, strerror(-r));
                                put_back(plan, plan->n_files);
                        }
                }
        }
        if (r < 0 && !plan->stuck)
                (void) (old.n_files > 0 ? manifest_store(&old, false) : manifest_remove(plan));
        return r;
}

static int undo_edited(Plan *plan, const PlanFile *saved, const Bytes *now, Bytes *ret, FILE *notes) {
        int r;

        r = diff_undo(&saved->before, &saved->after, now, ret);
        if (r < 0)
                return r;
        if (r > 0)
                fprintf(notes, "%s: %d of our changes had been changed since, left as they are now\n", saved->path, r);
        if (saved->marker && memmem(ret->p, ret->n, saved->marker, strlen(saved->marker)))
                return fail(plan, -EBUSY, "%s has been changed around our change; take out \"%s\" by hand, then again",
                            saved->path, saved->marker);
        plan->edited = true;
        fprintf(notes, "%s was changed since: only our change is taken out\n", saved->path);
        return 0;
}

static int undo_file(Plan *plan, const PlanFile *saved, FILE *notes) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        const Bytes *now;
        int r;

        r = plan_read(plan, saved->path, &now);
        if (r == -ENOENT) {
                if (saved->existed)
                        fprintf(notes, "%s was removed since: it stays so\n", saved->path);
                return 0;
        }
        if (r < 0)
                return r;

        if (!saved->existed) {
                if (!bytes_equal(now, &saved->after)) {
                        plan->edited = true;
                        fprintf(notes,
                                "%s was changed since; it is ours and goes, what was in it stays in " PLAN_BACKUP_DIR
                                "\n",
                                saved->path);
                }
                return plan_set(plan, saved->path, NULL, NULL);
        }
        if (bytes_equal(now, &saved->before))
                return 0;
        r = bytes_equal(now, &saved->after) ? bytes_dup(saved->before.p, saved->before.n, &text)
                                            : undo_edited(plan, saved, now, &text, notes);
        if (r < 0)
                return r;
        return plan_set(plan, saved->path, &text, NULL);
}

int plan_load_undo(Plan *plan, FILE *notes) {
        _cleanup_plan_ Plan saved = PLAN_NULL;
        bool pending;
        int r;

        plan_init(&saved, plan->root_fd, plan->target);
        r = manifest_load(&saved, &pending);
        if (r < 0)
                return r == -ENOENT ? r : fail(plan, r, PLAN_BACKUP_DIR "/%s: %s", plan->target, strerror(-r));
        for (size_t i = saved.n_files; i > 0; i--) {
                /* Of an install, or of the uninstall before this one. */
                nodefile_sweep(plan->root_fd, saved.files[i - 1].path);
                r = undo_file(plan, &saved.files[i - 1], notes);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < saved.n_dirs; i++) {
                r = on_dir(saved.dirs[i], plan);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* There is nothing to take back any more, but what was in the files is kept for people. */
static int keep_backup(const Plan *plan) {
        _cleanup_close_ int fd = -EBADF;
        char name[128];
        int r;

        r = manifest_store(plan, false);
        if (r < 0)
                return r;
        (void) snprintf(name, sizeof(name), "%s.removed-%lld", plan->target, (long long) time(NULL));
        fd = nodefile_open(plan->root_fd, PLAN_BACKUP_DIR, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd;
        return renameat(fd, plan->target, fd, name) < 0 ? -errno : 0;
}

int plan_apply_undo(Plan *plan) {
        int r;

        r = apply_files(plan);
        if (r < 0)
                return r;
        remove_dirs(plan);
        return plan->edited ? keep_backup(plan) : manifest_remove(plan);
}

int plan_recover(Plan *plan, FILE *notes) {
        _cleanup_plan_ Plan undo = PLAN_NULL, saved = PLAN_NULL;
        bool pending = false;
        int r;

        plan_init(&saved, plan->root_fd, plan->target);
        manifest_sweep(&saved);
        r = manifest_load(&saved, &pending);
        if (r == -ENOENT || (r >= 0 && !pending))
                return 0;
        if (r < 0)
                return fail(plan, r, PLAN_BACKUP_DIR "/%s: %s", plan->target, strerror(-r));
        plan_init(&undo, plan->root_fd, plan->target);
        r = plan_load_undo(&undo, notes);
        if (r >= 0)
                r = plan_apply_undo(&undo);
        if (r < 0)
                return fail(plan, r, "%s", undo.error ? undo.error : strerror(-r));
        fprintf(notes, "an install of %s that did not end was taken back\n", plan->target);
        return 1;
}

PlanState plan_state(int root_fd, const char *target) {
        _cleanup_plan_ Plan plan = PLAN_NULL;
        bool pending;
        int r;

        plan_init(&plan, root_fd, target);
        r = manifest_load(&plan, &pending);
        return r == -ENOENT ? PLAN_ABSENT : r < 0 ? PLAN_BROKEN : pending ? PLAN_PENDING : PLAN_INSTALLED;
}
