/* What this machine can do at best; each figure of the benchmarks is shown beside the one of these that bounds it.
 *
 *   limits pingpong CPU CPU ROUNDS   one cache line between two processes; one way, a mean over batches of 100
 *   limits futex    CPU CPU HZ COUNT one process wakes another that sleeps on a futex; one way
 *   limits eventfd  CPU CPU HZ COUNT the same through an eventfd and epoll
 *   limits memcpy   CPU BYTES COUNT  one copy between two warm buffers
 *
 * A CPU of -1 leaves the placing to the scheduler. Prints nanoseconds, one figure a line.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 100, MOST = 1 << 20 };

struct shared {
    _Alignas(128) _Atomic uint32_t there;
    _Alignas(128) _Atomic uint32_t back;
    _Alignas(128) int64_t sent_ns;
    int64_t took_ns[MOST];
};

static struct shared *shared;
static int event_fd, epoll_fd;

static void must(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void pin(int cpu) {
    if (cpu < 0)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    must(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity");
}

static void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void await(_Atomic uint32_t *word, uint32_t value) {
    while (atomic_load_explicit(word, memory_order_acquire) != value)
        cpu_relax();
}

static void answer(uint32_t rounds) {
    for (uint32_t i = 1; i <= rounds; i++) {
        await(&shared->there, i);
        atomic_store_explicit(&shared->back, i, memory_order_release);
    }
}

static void ask(uint32_t rounds) {
    for (uint32_t i = 1; i <= rounds;) {
        int64_t start = now_ns();
        for (int n = 0; n < BATCH; n++, i++) {
            atomic_store_explicit(&shared->there, i, memory_order_release);
            await(&shared->back, i);
        }
        printf("%.1f\n", (now_ns() - start) / (2.0 * BATCH));
    }
}

static void sleep_until(int64_t ns) {
    struct timespec t = {ns / 1000000000LL, ns % 1000000000LL};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void wait_futex(uint32_t i) {
    while (atomic_load_explicit(&shared->there, memory_order_acquire) < i)
        syscall(SYS_futex, &shared->there, FUTEX_WAIT, i - 1, NULL, NULL, 0);
}

static void wake_futex(uint32_t i) {
    atomic_store_explicit(&shared->there, i, memory_order_release);
    syscall(SYS_futex, &shared->there, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void wait_eventfd(uint32_t i) {
    struct epoll_event event;
    eventfd_t value;
    (void)i;
    must(epoll_wait(epoll_fd, &event, 1, -1) == 1, "epoll_wait");
    must(eventfd_read(event_fd, &value) == 0, "eventfd_read");
}

static void wake_eventfd(uint32_t i) {
    (void)i;
    must(eventfd_write(event_fd, 1) == 0, "eventfd_write");
}

static void sleeper(void (*wait_for)(uint32_t), uint32_t count) {
    for (uint32_t i = 1; i <= count; i++) {
        wait_for(i);
        shared->took_ns[i - 1] = now_ns() - shared->sent_ns;
    }
}

static void waker(void (*wake)(uint32_t), double hz, uint32_t count) {
    int64_t period = (int64_t)(1e9 / hz), next = now_ns();
    for (uint32_t i = 1; i <= count; i++) {
        sleep_until(next += period);
        shared->sent_ns = now_ns();
        wake(i);
    }
}

/* Small copies are timed in batches: the clock itself costs more than they do. */
static void copies(size_t bytes, int count) {
    int batch = bytes < 65536 ? 1000 : 1;
    char *from = malloc(bytes), *to = malloc(bytes);
    must(from && to, "malloc");
    memset(from, 1, bytes);
    memset(to, 2, bytes);
    for (int i = -3; i < count; i++) {
        int64_t start = now_ns();
        for (int n = 0; n < batch; n++) {
            memcpy(to, from, bytes);
            __asm__ volatile("" : : "r"(to), "r"(from) : "memory");
        }
        if (i >= 0)
            printf("%.1f\n", (now_ns() - start) / (double)batch);
    }
}

int main(int argc, char **argv) {
    must(argc >= 5, "limits: see the top of limits.c");
    const char *what = argv[1];
    if (strcmp(what, "memcpy") == 0) {
        pin(atoi(argv[2]));
        copies(strtoull(argv[3], NULL, 10), atoi(argv[4]));
        return 0;
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(shared != MAP_FAILED, "mmap");
    int pingpong = strcmp(what, "pingpong") == 0, futex = strcmp(what, "futex") == 0;
    double hz = pingpong ? 0 : atof(argv[4]);
    uint32_t count = atoi(argv[pingpong ? 4 : argc - 1]);
    must(count <= MOST, "COUNT");
    event_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event_fd, &event) == 0, "epoll_ctl");

    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(atoi(argv[3]));
        if (pingpong)
            answer(count);
        else
            sleeper(futex ? wait_futex : wait_eventfd, count);
        _exit(0);
    }
    pin(atoi(argv[2]));
    if (pingpong)
        ask(count);
    else
        waker(futex ? wake_futex : wake_eventfd, hz, count);
    int status;
    must(waitpid(child, &status, 0) == child && status == 0, "the other process");
    if (!pingpong)
        for (uint32_t i = 0; i < count; i++)
            printf("%lld\n", (long long)shared->took_ns[i]);
    return 0;
}
