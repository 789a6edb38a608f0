// Flushes that fail, as on a disk that is dying, once the file is there that FLUSHES_FAIL_WHEN names. For LD_PRELOAD.
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int flush(long call, int file) {
    const char *sign = getenv("FLUSHES_FAIL_WHEN");
    if (sign && access(sign, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(call, file);
}

int fsync(int file) { return flush(SYS_fsync, file); }
int fdatasync(int file) { return flush(SYS_fdatasync, file); }
