/*
 * A disk that fails when it is told to: preloaded into a process, it counts the calls that change files beneath one
 * directory, and at the n-th of them ends the process or begins to return errors.
 *
 *   FAULTY_DISK_UNDER    only paths that begin with this are counted; nothing happens while it is not set
 *   FAULTY_DISK_CALLS    which calls are counted: "write", "sync" or "any" (default)
 *   FAULTY_DISK_KILL_AT  at this call, counted from 1, the process gets SIGKILL instead
 *   FAULTY_DISK_TORN     "1": a write at which the process is killed writes its first half
 *   FAULTY_DISK_FAIL_AT  this call and all later ones fail
 *   FAULTY_DISK_TIMES    only so many of them fail
 *   FAULTY_DISK_ERROR    with EIO (default) or ENOSPC
 *   FAULTY_DISK_TRACE    a descriptor to which each counted call is written as "call NAME PATH SIZE RESULT"
 *
 * faulty_disk_arm() reads them again and counts from 1.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE = 1, SYNC = 2 };
enum verdict { PASS, FAIL, PASS_UNCOUNTED };

static char under[PATH_MAX];
static int calls, torn, error, trace = -1;
static long kill_at, fail_at, times;
static atomic_long count;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}

__attribute__((constructor)) void faulty_disk_arm(void) {
    const char *where = getenv("FAULTY_DISK_UNDER"), *which = getenv("FAULTY_DISK_CALLS");
    const char *how = getenv("FAULTY_DISK_ERROR");
    snprintf(under, sizeof under, "%s", where ? where : "");
    calls = which && !strcmp(which, "write") ? WRITE : which && !strcmp(which, "sync") ? SYNC : WRITE | SYNC;
    error = how && !strcmp(how, "ENOSPC") ? ENOSPC : EIO;
    torn = (int)number("FAULTY_DISK_TORN", 0);
    trace = (int)number("FAULTY_DISK_TRACE", -1);
    kill_at = number("FAULTY_DISK_KILL_AT", 0);
    fail_at = number("FAULTY_DISK_FAIL_AT", 0);
    times = number("FAULTY_DISK_TIMES", LONG_MAX);
    atomic_store(&count, 0);
}

static int of_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0;
}

static int of_name(int dir, const char *name, char *path) {
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return 1;
    }
    char folder[PATH_MAX];
    if (dir == AT_FDCWD ? !getcwd(folder, sizeof folder) : !of_fd(dir, folder))
        return 0;
    return snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

static void tell(const char *name, const char *path, int fd, long result) {
    char line[PATH_MAX + 128];
    struct stat found;
    long size = fd >= 0 && !fstat(fd, &found) ? (long)found.st_size : -1;
    if (trace < 0)
        return;
    int length = snprintf(line, sizeof line, "call %s %s %ld %ld\n", name, path, size, result);
    syscall(SYS_write, trace, line, (size_t)length);
}

/* Counts a call; does not return when the process has to die. `half` writes the half of a write. */
static enum verdict judge(enum kind kind, const char *name, const char *path, int fd, const void *data, size_t size,
                          off_t at) {
    if (!under[0] || strncmp(path, under, strlen(under)) || !(kind & calls))
        return PASS_UNCOUNTED;
    long now = atomic_fetch_add(&count, 1) + 1;
    if (kill_at && now >= kill_at) {
        if (torn && data && size > 1)
            at < 0 ? syscall(SYS_write, fd, data, size / 2) : syscall(SYS_pwrite64, fd, data, size / 2, at);
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
    if (fail_at && now >= fail_at && now - fail_at < times) {
        tell(name, path, fd, -1);
        errno = error;
        return FAIL;
    }
    return PASS;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define ON_FD(kind, type, name, arguments, given, data, size, at)                                                     \
    type name arguments {                                                                                              \
        char path[PATH_MAX] = "";                                                                                      \
        int kept = errno;                                                                                              \
        if (under[0])                                                                                                  \
            of_fd(fd, path);                                                                                           \
        enum verdict verdict = judge(kind, #name, path, fd, data, size, at);                                           \
        if (verdict == FAIL)                                                                                           \
            return -1;                                                                                                 \
        errno = kept;                                                                                                  \
        type result = REAL(name) given;                                                                                \
        kept = errno;                                                                                                  \
        if (verdict == PASS)                                                                                           \
            tell(#name, path, fd, (long)result);                                                                       \
        errno = kept;                                                                                                  \
        return result;                                                                                                 \
    }

#define ON_NAME(name, arguments, given, dir, file)                                                                    \
    int name arguments {                                                                                               \
        char path[PATH_MAX] = "";                                                                                      \
        if (under[0])                                                                                                  \
            of_name(dir, file, path);                                                                                  \
        enum verdict verdict = judge(WRITE, #name, path, -1, NULL, 0, -1);                                             \
        if (verdict == FAIL)                                                                                           \
            return -1;                                                                                                 \
        int result = REAL(name) given, kept = errno;                                                                   \
        if (verdict == PASS)                                                                                           \
            tell(#name, path, -1, result);                                                                             \
        errno = kept;                                                                                                  \
        return result;                                                                                                 \
    }

ON_FD(WRITE, ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), data, size, -1)
ON_FD(WRITE, ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), data, size, at)
ON_FD(WRITE, ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), data, size, at)
ON_FD(WRITE, ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), NULL, 0, -1)
ON_FD(WRITE, ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at), NULL, 0, at)
ON_FD(WRITE, ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t at), (fd, v, n, at), NULL, 0, at)
ON_FD(WRITE, int, ftruncate, (int fd, off_t size), (fd, size), NULL, 0, -1)
ON_FD(WRITE, int, ftruncate64, (int fd, off64_t size), (fd, size), NULL, 0, -1)
ON_FD(SYNC, int, fsync, (int fd), (fd), NULL, 0, -1)
ON_FD(SYNC, int, fdatasync, (int fd), (fd), NULL, 0, -1)
ON_NAME(rename, (const char *from, const char *to), (from, to), AT_FDCWD, to)
ON_NAME(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), b, to)
ON_NAME(unlink, (const char *name), (name), AT_FDCWD, name)
ON_NAME(unlinkat, (int dir, const char *name, int flags), (dir, name, flags), dir, name)

static int room(const char *name, int fd) {
    char path[PATH_MAX] = "";
    if (under[0])
        of_fd(fd, path);
    return judge(WRITE, name, path, fd, NULL, 0, -1) == FAIL ? error : 0; /* it returns its error, and sets none */
}

int posix_fallocate(int fd, off_t at, off_t size) {
    int refused = room("posix_fallocate", fd);
    return refused ? refused : REAL(posix_fallocate)(fd, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
    int refused = room("posix_fallocate64", fd);
    return refused ? refused : REAL(posix_fallocate64)(fd, at, size);
}
