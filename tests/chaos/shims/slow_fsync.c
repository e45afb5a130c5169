/* Preloaded into PostgreSQL: every fsync and fdatasync takes longer by the milliseconds that the file named by
   EXPEDITE_FSYNC_MS holds at that moment (none when there is no such file). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void wait_a_little(void)
{
    const char *path = getenv("EXPEDITE_FSYNC_MS");
    char text[16] = {0};
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    ssize_t read_bytes = read(file, text, sizeof text - 1);
    close(file);
    long ms = read_bytes > 0 ? atol(text) : 0;
    if (ms > 0) {
        struct timespec pause = {ms / 1000, (ms % 1000) * 1000000};
        nanosleep(&pause, NULL);
    }
}

int fsync(int fd)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_a_little();
    return real(fd);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_a_little();
    return real(fd);
}
