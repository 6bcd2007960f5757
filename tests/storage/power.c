/* Power loss, simulated: of the files below POWER_FROM, what was synced and nothing else is copied below POWER_TO.

   Preloaded into a process. A file's content counts once it was synced, a new name once its folder was, and a name that
   was taken away is gone at once. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST 4096
static struct { char new[PATH_MAX]; } *names;
static int waiting;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int kept_at(const char *path, char *out) {
    const char *from = getenv("POWER_FROM"), *to = getenv("POWER_TO");
    size_t length = from ? strlen(from) : 0;
    if (!from || !to || strncmp(path, from, length) || path[length] != '/') return 0;
    snprintf(out, PATH_MAX, "%s%s", to, path + length);
    return 1;
}

static void folders_for(const char *path) {
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    for (char *at = copy + 1; (at = strchr(at, '/')); *at++ = '/') { *at = 0; mkdir(copy, 0700); }
}

static void keep(const char *path, const char *kept) {
    char draft[PATH_MAX + 8], block[65536];
    snprintf(draft, sizeof draft, "%s.draft", kept);
    folders_for(kept);
    int in = open(path, O_RDONLY), out = open(draft, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (ssize_t got; in >= 0 && out >= 0 && (got = read(in, block, sizeof block)) > 0;)
        if (write(out, block, got) != got) abort();
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    int (*move)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    if (in >= 0) move(draft, kept);
}

static void synced(int fd) {
    char link[64], path[PATH_MAX], kept[PATH_MAX], other[PATH_MAX];
    struct stat about;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0 || fstat(fd, &about)) return;
    path[length] = 0;
    pthread_mutex_lock(&lock);
    if (S_ISREG(about.st_mode) && kept_at(path, kept)) keep(path, kept);
    for (int at = 0; S_ISDIR(about.st_mode) && at < waiting; at++) {
        char copy[PATH_MAX];
        snprintf(copy, sizeof copy, "%s", names[at].new);
        if (strcmp(dirname(copy), path)) continue;
        if (kept_at(names[at].new, other)) {
            snprintf(kept, sizeof kept, "%.4000s.named", other);
            ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(kept, other);
        }
        names[at--] = names[--waiting];
    }
    pthread_mutex_unlock(&lock);
}

static void named(const char *old, const char *new) {
    char from[PATH_MAX], to[PATH_MAX];
    if (!realpath(new, to)) return;
    char copy[PATH_MAX], folder[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", old);
    if (!realpath(dirname(copy), folder)) return;
    snprintf(copy, sizeof copy, "%s", old);
    if ((size_t)snprintf(from, sizeof from, "%s/%s", folder, basename(copy)) >= sizeof from) return;
    pthread_mutex_lock(&lock);
    if (!names) names = calloc(MOST, sizeof *names);
    char kept[PATH_MAX], other[PATH_MAX];
    if (waiting < MOST && kept_at(from, kept) && kept_at(to, other)) {
        snprintf(copy, sizeof copy, "%.4000s.named", other); /* until its folder is synced */
        keep(kept, copy);
        strcpy(names[waiting++].new, to);
    }
    pthread_mutex_unlock(&lock);
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    int done = real(fd);
    if (!done) synced(fd);
    return done;
}

int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    int done = real(fd);
    if (!done) synced(fd);
    return done;
}

int rename(const char *old, const char *new) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    int done = real(old, new);
    if (!done) named(old, new);
    return done;
}

int unlink(const char *path) {
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    char whole[PATH_MAX], kept[PATH_MAX];
    int known = realpath(path, whole) && kept_at(whole, kept);
    int done = real(path);
    if (!done && known) real(kept);
    return done;
}

int link(const char *old, const char *new) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "link");
    int done = real(old, new);
    if (!done) named(old, new);
    return done;
}
