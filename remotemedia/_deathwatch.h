/* Ends a node's whole process group when its orchestrator is gone: a native thread, because the node's Python may be
 * stuck in C code that holds the GIL. It sleeps in poll() and makes no system call until that moment. */
#ifndef REMOTEMEDIA_DEATHWATCH_H
#define REMOTEMEDIA_DEATHWATCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

typedef struct {
    int orchestrator_pidfd, control_fd;
} rm_deathwatch_fds;

static rm_deathwatch_fds rm_deathwatch_state;

static inline void *rm_deathwatch_main(void *unused) {
    struct pollfd fds[2] = {
        {rm_deathwatch_state.orchestrator_pidfd, POLLIN, 0}, /* readable when the process has ended */
        {rm_deathwatch_state.control_fd, 0, 0},              /* POLLHUP when the session dropped its end */
    };
    (void)unused;
    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    /* A node leads its own group; one started by hand does not, and its shell's group is not ours to kill. */
    if (getpgrp() == getpid()) kill(0, SIGKILL);
    kill(getpid(), SIGKILL);
    return NULL;
}

/* 0 or an errno. */
static inline int rm_deathwatch_start(int orchestrator_pidfd, int control_fd) {
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    int rc;
    /* Descriptors of its own: the node may close the others at any time. */
    rm_deathwatch_state.orchestrator_pidfd = fcntl(orchestrator_pidfd, F_DUPFD_CLOEXEC, 3);
    rm_deathwatch_state.control_fd = fcntl(control_fd, F_DUPFD_CLOEXEC, 3);
    if (rm_deathwatch_state.orchestrator_pidfd < 0 || rm_deathwatch_state.control_fd < 0) return errno;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    sigfillset(&all); /* signals are for the interpreter's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, &attributes, rm_deathwatch_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return rc;
}

#endif
