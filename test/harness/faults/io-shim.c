/*
 * Makes writes and fsyncs of a process fail, while it runs: preloaded (LD_PRELOAD), and told what to do by a file.
 *
 *   VLINDER_FAULTS=/path/of/control
 *
 * The control file has one line, `<call> <errno> <skip> <count> <text>`: of the calls (`write`: write and pwrite, `fsync`: fsync and
 * fdatasync) on files whose path contains the text, the first `skip` go through, then `count` fail (0: all). No file: nothing fails.
 * With an errno of -9 the process is killed (SIGKILL) in place of the call that would fail.
 * Every fault that fires appends a line to `<control>.fired`.
 *
 * `fsync-lost` fails an fsync as a disk does that lost its cache: what was written to the file since its last good fsync is
 * gone, and reads give what was there before (or zeros).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char told[512]; /* the control file as it was last */
static long matched;   /* calls that it was about */

struct written {
  struct written *next;
  char path[256];
  off_t offset;
  size_t length;
  char before[];
};
static struct written *unsynced; /* newest first */

/* libuv writes in a child of a fork before anything else; nobody there would give back a lock that another thread had. */
static void take(void) { pthread_mutex_lock(&lock); }
static void give(void) { pthread_mutex_unlock(&lock); }
__attribute__((constructor)) static void at_fork(void) { pthread_atfork(take, give, give); }

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int path_of(int fd, char *path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, size - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return 1;
}

/* Reads the control file; 0 when there is none. */
static int control(char *call, int *error, long *skip, long *count, char *text) {
  const char *file = getenv("VLINDER_FAULTS");
  if (file == NULL) return 0;
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char line[512] = {0};
  ssize_t length = read(fd, line, sizeof line - 1);
  close(fd);
  if (length <= 0 || sscanf(line, "%31s %d %ld %ld %255s", call, error, skip, count, text) != 5) return 0;
  if (strcmp(line, told) != 0) {
    strcpy(told, line);
    matched = 0;
  }
  return 1;
}

static void fired(const char *call, const char *path) {
  char file[300];
  snprintf(file, sizeof file, "%s.fired", getenv("VLINDER_FAULTS"));
  int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  char line[400];
  int length = snprintf(line, sizeof line, "%s %s\n", call, path);
  ssize_t (*write_)(int, const void *, size_t) = real("write");
  if (write_(fd, line, length) < 0) abort();
  close(fd);
}

/* Puts back what was there before the writes that were not synced; with `keep`, only forgets them. */
static void settle(int fd, const char *path, int keep) {
  ssize_t (*pwrite_)(int, const void *, size_t, off_t) = real("pwrite64");
  for (struct written **at = &unsynced; *at != NULL;) {
    struct written *one = *at;
    if (strcmp(one->path, path) != 0) {
      at = &one->next;
      continue;
    }
    if (!keep && pwrite_(fd, one->before, one->length, one->offset) < 0) abort();
    *at = one->next;
    free(one);
  }
}

static void remember(int fd, const char *path, off_t offset, size_t length) {
  ssize_t (*pread_)(int, void *, size_t, off_t) = real("pread64");
  struct written *one = calloc(1, sizeof *one + length);
  if (one == NULL) abort();
  snprintf(one->path, sizeof one->path, "%s", path);
  one->offset = offset;
  one->length = length;
  if (pread_(fd, one->before, length, offset) < 0) {
    free(one); /* not open for reading: not a database */
    return;
  }
  one->next = unsynced;
  unsynced = one;
}

/* 0, or the error that the call is to fail with. */
static int fault(const char *kind, int fd, off_t offset, size_t length) {
  if (getenv("VLINDER_FAULTS") == NULL) return 0;
  /* Node's signal handlers write too: one that ran while this thread has the lock would wait for it without end. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_mutex_lock(&lock);
  char call[32], text[256], path[256];
  int error = 0, found = 0;
  long skip, count;
  if (control(call, &error, &skip, &count, text) && path_of(fd, path, sizeof path) && strstr(path, text) != NULL) {
    int loses = strcmp(call, "fsync-lost") == 0;
    if (loses && strcmp(kind, "write") == 0) remember(fd, path, offset, length);
    if (strcmp(call, kind) == 0 || (loses && strcmp(kind, "fsync") == 0)) {
      long number = matched++;
      found = number >= skip && (count == 0 || number < skip + count);
    }
    if (loses && strcmp(kind, "fsync") == 0) settle(fd, path, !found);
    if (found) fired(call, path);
    if (found && error == -9) kill(getpid(), SIGKILL);
  }
  pthread_mutex_unlock(&lock);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return found ? error : 0;
}

#define FAIL_IF(error)   \
  do {                   \
    int failed = error;  \
    if (failed != 0) {   \
      errno = failed;    \
      return -1;         \
    }                    \
  } while (0)

ssize_t write(int fd, const void *bytes, size_t length) {
  FAIL_IF(fault("write", fd, 0, 0));
  return ((ssize_t(*)(int, const void *, size_t))real("write"))(fd, bytes, length);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  FAIL_IF(fault("write", fd, offset, length));
  return ((ssize_t(*)(int, const void *, size_t, off64_t))real("pwrite64"))(fd, bytes, length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

int fsync(int fd) {
  FAIL_IF(fault("fsync", fd, 0, 0));
  return ((int (*)(int))real("fsync"))(fd);
}

int fdatasync(int fd) {
  FAIL_IF(fault("fsync", fd, 0, 0));
  return ((int (*)(int))real("fdatasync"))(fd);
}
