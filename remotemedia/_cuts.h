/* Interruptions: a cut ends what descends from some nodes, or everything.
 *
 * The orchestrator numbers the cuts: its segment's epoch is the last one's number. A message bears the epoch in which it
 * was last found to be of no cut, and its lineage: the nodes that it came through, a bit each. It is over if there was a
 * later cut of the whole, or of one of these nodes. Numbers are compared by their difference, so that they may wrap.
 */
#ifndef REMOTEMEDIA_CUTS_H
#define REMOTEMEDIA_CUTS_H

#include "_ring_abi.h"

/* No message is that old. */
#define RM_OLDEST_EPOCH (1u << 30)

static inline int rm_is_before(uint32_t epoch, uint32_t other) { return (int32_t)(epoch - other) < 0; }

/* Whether a cut after that epoch was of the whole, or of a node of that lineage. */
static inline int rm_was_cut(rm_segment_header *turns, uint32_t epoch, uint64_t lineage) {
    if (rm_is_before(epoch, RM_LOAD_RELAXED(&turns->whole_cut))) return 1;
    for (; lineage; lineage &= lineage - 1)
        if (rm_is_before(epoch, RM_LOAD_RELAXED(&turns->cuts[__builtin_ctzll(lineage)]))) return 1;
    return 0;
}

/* The epoch of the last cut of the whole, or of a node of that lineage. */
static inline uint32_t rm_last_cut(rm_segment_header *turns, uint64_t lineage) {
    uint32_t last = RM_LOAD_RELAXED(&turns->whole_cut);
    for (; lineage; lineage &= lineage - 1) {
        uint32_t cut = RM_LOAD_RELAXED(&turns->cuts[__builtin_ctzll(lineage)]);
        if (rm_is_before(last, cut)) last = cut;
    }
    return last;
}

/* Owner: a cut of the nodes of that mask, or of the whole where it is 0; with their queues where queues is not 0. */
static inline uint32_t rm_cut(rm_segment_header *turns, uint64_t nodes, int queues) {
    uint32_t epoch = RM_LOAD_RELAXED(&turns->epoch) + 1, oldest = epoch - RM_OLDEST_EPOCH;
    for (int n = 0; n < RM_LINEAGE_NODES; n++) {
        int is_cut = nodes >> n & 1;
        if (is_cut || rm_is_before(RM_LOAD_RELAXED(&turns->cuts[n]), oldest))
            RM_STORE_RELAXED(&turns->cuts[n], is_cut ? epoch : oldest);
        if ((is_cut && queues) || rm_is_before(RM_LOAD_RELAXED(&turns->queue_cuts[n]), oldest))
            RM_STORE_RELAXED(&turns->queue_cuts[n], is_cut && queues ? epoch : oldest);
    }
    if (nodes == 0 || rm_is_before(RM_LOAD_RELAXED(&turns->whole_cut), oldest))
        RM_STORE_RELAXED(&turns->whole_cut, nodes == 0 ? epoch : oldest);
    RM_STORE_ORDERED(&turns->epoch, epoch); /* SYNC epoch */
    return epoch;
}

#endif
