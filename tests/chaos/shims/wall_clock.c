/* Preloaded into a service: its wall clock is off by the seconds that the file named by EXPEDITE_CLOCK_OFF holds (looked
   at ten times a second; none when there is no such file). Monotonic clocks are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int (*real_clock)(clockid_t, struct timespec *);

static int ask(clockid_t which, struct timespec *at)
{
    if (!real_clock)
        real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real_clock(which, at);
}

static long off(void)
{
    static __thread long seconds, looked_ms = -1000;
    struct timespec now;
    ask(CLOCK_MONOTONIC, &now);
    long now_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (now_ms - looked_ms >= 100) {
        const char *path = getenv("EXPEDITE_CLOCK_OFF");
        char text[16] = {0};
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        looked_ms = now_ms;
        seconds = 0;
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0)
                seconds = atol(text);
            close(file);
        }
    }
    return seconds;
}

int clock_gettime(clockid_t which, struct timespec *at)
{
    int failed = ask(which, at);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        at->tv_sec += off();
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}
