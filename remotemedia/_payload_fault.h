/* Records why a node died that wrote to a received payload: payloads are mapped read-only, so the write is a SIGSEGV.
 *
 * The note lies in the node's own segment, where the orchestrator reads it when the process is gone. The handler changes
 * nothing else: the previous handler (faulthandler's, or the default) gets the same fault next. */
#ifndef REMOTEMEDIA_PAYLOAD_FAULT_H
#define REMOTEMEDIA_PAYLOAD_FAULT_H

#include "_ring_ops.h"
#include <signal.h>
#include <unistd.h>

/* Every segment of this process whose pool is mapped read-only. Changed under the GIL, read by the handler. */
static rm_segment *_Atomic rm_read_only_segments;
static rm_segment_header *rm_fault_notes;
static pid_t rm_fault_notes_of; /* a forked child has the handler, too, but the note is its parent's */
static struct sigaction rm_fault_before;

static inline void rm_read_only_add(rm_segment *s) {
    s->next = RM_LOAD_RELAXED(&rm_read_only_segments);
    RM_STORE_RELAXED(&rm_read_only_segments, s);
}

static inline void rm_read_only_remove(rm_segment *s) {
    rm_segment *at = RM_LOAD_RELAXED(&rm_read_only_segments);
    if (at == s) RM_STORE_RELAXED(&rm_read_only_segments, s->next);
    for (; at; at = at->next)
        if (at->next == s) at->next = s->next;
}

static void rm_on_fault(int number, siginfo_t *info, void *context) {
    const char *at = (const char *)info->si_addr;
    rm_segment *s;
    (void)context;
    /* SEGV_ACCERR: it is mapped, and this access is not allowed */
    if (info->si_code == SEGV_ACCERR && getpid() == rm_fault_notes_of)
        for (s = RM_LOAD_RELAXED(&rm_read_only_segments); s; s = s->next)
            if (at >= s->pool && at < s->pool + s->pool_bytes) RM_STORE_RELAXED(&rm_fault_notes->wrote_to_payload, 1u);
    sigaction(number, &rm_fault_before, NULL);
    /* A fault happens again when this returns; what was sent by kill() does not. */
    if (info->si_code <= 0) raise(number);
}

/* From now on a write to a received payload is noted in `own`, which must stay mapped. 0 or an errno. */
static inline int rm_note_faults(rm_segment *own) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = rm_on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    rm_fault_notes = own->shared;
    rm_fault_notes_of = getpid();
    return sigaction(SIGSEGV, &action, &rm_fault_before) < 0 ? errno : 0;
}

#endif
