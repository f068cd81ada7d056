/* Turns: what is under way of the work on one input of the session, counted.
 *
 * A turn's shares are the messages in channels, the calls of process() and the data kept past them that descend from the
 * input, and one that the session holds while the input is not complete. Whoever makes one of another takes a share
 * before the other's is given up: so there are none only when all work is done. Shares are counted in the orchestrator's
 * segment. What descends from several turns has a turn of its own, in the segment of the node that made it, which holds a
 * share in each of its parents.
 *
 * A turn is named by the pool id of its segment and its number there; 0 is none.
 */
#ifndef REMOTEMEDIA_TURNS_H
#define REMOTEMEDIA_TURNS_H

#include "_ring_abi.h"

/* A sound chain of parents is never longer: what shared memory says may be a circle. */
#define RM_TURN_DEPTH 4096

static inline uint32_t rm_turn_name(uint32_t pool_id, uint32_t number) { return pool_id << RM_TURN_BITS | number; }
static inline uint32_t rm_turn_pool(uint32_t name) { return name >> RM_TURN_BITS; }
static inline rm_turn *rm_turn_at(rm_segment_header *h, uint32_t name) { return &h->turns[name & (RM_TURNS - 1)]; }

/* Relaxed: the caller has a share already, so it cannot end. */
static inline void rm_turn_share(rm_turn *t) { atomic_fetch_add_explicit(&t->shares, 1, memory_order_relaxed); }

/* Gives a share up; true when it was the last. */
static inline int rm_turn_end_share(rm_turn *t) {
    /* SYNC turn-end: what this share's holder did comes before; then whoever is last looks whether the session sleeps. */
    uint32_t before = atomic_fetch_sub(&t->shares, 1);
    if (before == 0) RM_STORE_RELAXED(&t->shares, 0); /* scribbled over */
    return before == 1;
}

/* Before the session sleeps, its last look. */
static inline int rm_turn_is_over(rm_turn *t) { return RM_LOAD_ORDERED(&t->shares) == 0; /* SYNC turn-end */ }

/* Notes that a call for it raised. The caller has a share. */
static inline void rm_turn_fail(rm_turn *t) { atomic_fetch_add_explicit(&t->failures, 1, memory_order_relaxed); }

/* Owner: a number that is free, begun with one share and these parents; 0 when all are taken. Parents make a turn taken,
 * so the orchestrator's, which have none, are its own to tell apart. The caller has a share in each parent to give. */
static inline uint32_t rm_turn_begin(rm_segment_header *h, uint32_t *last, const uint32_t *parents, uint32_t count) {
    for (uint32_t tried = 0; tried < RM_TURNS; tried++) {
        uint32_t number = *last = (*last + 1) & (RM_TURNS - 1);
        rm_turn *t = &h->turns[number];
        if (number == 0 || RM_LOAD_ACQUIRE(&t->parents[0])) continue; /* SYNC turn-free */
        RM_STORE_RELAXED(&t->shares, 1);
        for (uint32_t i = RM_TURN_PARENTS; i-- > 0;) RM_STORE_RELAXED(&t->parents[i], i < count ? parents[i] : 0);
        return number;
    }
    return 0;
}

/* Whoever gave up the last share: reads the parents, then frees the number. */
static inline void rm_turn_free(rm_turn *t, uint32_t *parents) {
    for (int i = 0; i < RM_TURN_PARENTS; i++) parents[i] = RM_LOAD_RELAXED(&t->parents[i]);
    atomic_store_explicit(&t->parents[0], 0, memory_order_release); /* SYNC turn-free */
}

#endif
