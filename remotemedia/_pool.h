/* The allocator of a segment's payload pool: private memory of the pool's owner, so it needs no lock.
 *
 * Two-level segregated fit (Masmano et al., "TLSF: a new dynamic memory allocator for real-time systems"): constant
 * time, neighbours are merged on free, and memory just given back is handed out first, while it is still in cache.
 * Unlike the textbook's, its bookkeeping lies outside the memory it manages: what peers can write to is never believed.
 * An extent's number is also the number of its block descriptor in shared memory.
 *
 * Memory that was used once stays with the process until it is given back to the kernel. Each free extent knows about
 * how much of it was used; rm_pool_trim gives that back.
 */
#ifndef REMOTEMEDIA_POOL_H
#define REMOTEMEDIA_POOL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define RM_UNIT 64u /* every block starts at a cache line */
#define RM_SL_BITS 3
#define RM_SL (1u << RM_SL_BITS)
#define RM_FL 40
#define RM_NONE 0xffffffffu
#define RM_POOL_PAGE 4096u

enum rm_extent_state { RM_SPARE = 0, RM_FREE, RM_USED };

typedef struct {
    uint64_t start, units;
    uint64_t dirty;               /* free: units that the kernel may hold pages for; taken to lie in front */
    uint64_t published_ns;        /* used: when, 0 while it is only lent */
    uint32_t before, after;       /* neighbours in memory */
    uint32_t previous, next;      /* in its bin's free list, or the list of spares */
    uint8_t state;
} rm_extent;

typedef struct {
    rm_extent *extents;
    uint32_t count;
    uint32_t spare, fresh;        /* the list of those given back, and the first that was never used */
    uint64_t used_units, total_units;
    uint64_t idle_units; /* the sum of all dirty */
    uint64_t fl_map;
    uint8_t sl_map[RM_FL];
    uint32_t bins[RM_FL][RM_SL];
} rm_pool;

/* What `bytes` take up in a pool. */
static inline uint64_t rm_units(uint64_t bytes) { return (bytes + RM_UNIT - 1) / RM_UNIT; }

static inline unsigned rm_log2(uint64_t v) { return 63u - (unsigned)__builtin_clzll(v); }

/* Sizes below RM_SL units have a bin each; above, a power of two is split into RM_SL bins. */
static inline void rm_bin_of(uint64_t units, unsigned *fl, unsigned *sl) {
    if (units < RM_SL) {
        *fl = 0;
        *sl = (unsigned)units;
    } else {
        unsigned log = rm_log2(units);
        *fl = log - RM_SL_BITS + 1;
        *sl = (unsigned)(units >> (log - RM_SL_BITS)) & (RM_SL - 1);
    }
}

static inline void rm_bin_insert(rm_pool *pool, uint32_t id) {
    unsigned fl, sl;
    rm_extent *e = &pool->extents[id];
    rm_bin_of(e->units, &fl, &sl);
    e->state = RM_FREE;
    e->previous = RM_NONE;
    e->next = pool->bins[fl][sl];
    if (e->next != RM_NONE) pool->extents[e->next].previous = id;
    pool->bins[fl][sl] = id;
    pool->fl_map |= 1ull << fl;
    pool->sl_map[fl] |= (uint8_t)(1u << sl);
}

static inline void rm_bin_remove(rm_pool *pool, uint32_t id) {
    unsigned fl, sl;
    rm_extent *e = &pool->extents[id];
    rm_bin_of(e->units, &fl, &sl);
    if (e->next != RM_NONE) pool->extents[e->next].previous = e->previous;
    if (e->previous != RM_NONE) {
        pool->extents[e->previous].next = e->next;
        return;
    }
    pool->bins[fl][sl] = e->next;
    if (e->next == RM_NONE) {
        pool->sl_map[fl] &= (uint8_t)~(1u << sl);
        if (!pool->sl_map[fl]) pool->fl_map &= ~(1ull << fl);
    }
}

static inline void rm_spare_push(rm_pool *pool, uint32_t id) {
    pool->extents[id].state = RM_SPARE;
    pool->extents[id].next = pool->spare;
    pool->spare = id;
}

static inline int rm_has_spare(const rm_pool *pool) { return pool->spare != RM_NONE || pool->fresh < pool->count; }

/* Only while rm_has_spare. Those used before come first: what was never used stays untouched, and takes no memory. */
static inline uint32_t rm_spare_pop(rm_pool *pool) {
    uint32_t id = pool->spare;
    if (id == RM_NONE) return pool->fresh++;
    pool->spare = pool->extents[id].next;
    return id;
}

/* 0, or -1 when private memory ran out. */
static inline int rm_pool_init(rm_pool *pool, uint64_t bytes, uint32_t count) {
    unsigned fl, sl;
    pool->extents = (rm_extent *)calloc(count, sizeof(rm_extent));
    if (!pool->extents) return -1;
    pool->count = count;
    pool->total_units = bytes / RM_UNIT;
    pool->used_units = pool->idle_units = 0;
    pool->fl_map = 0;
    pool->spare = RM_NONE;
    pool->fresh = 1;
    for (fl = 0; fl < RM_FL; fl++) {
        pool->sl_map[fl] = 0;
        for (sl = 0; sl < RM_SL; sl++) pool->bins[fl][sl] = RM_NONE;
    }
    pool->extents[0].start = 0;
    pool->extents[0].units = pool->total_units;
    pool->extents[0].before = pool->extents[0].after = RM_NONE;
    rm_bin_insert(pool, 0);
    return 0;
}

static inline void rm_pool_free_all(rm_pool *pool) {
    free(pool->extents);
    pool->extents = NULL;
}

/* The number of an extent of at least `bytes` bytes (more than 0), or RM_NONE while there is no room. */
static inline uint32_t rm_pool_alloc(rm_pool *pool, uint64_t bytes) {
    uint64_t units = rm_units(bytes), search = units, above;
    unsigned fl, sl, low;
    uint32_t id, rest;
    rm_extent *e;
    if (units > pool->total_units || pool->fl_map == 0) return RM_NONE;
    /* Round up to the next bin, where every extent is large enough. */
    if (units >= RM_SL) search += (1ull << (rm_log2(units) - RM_SL_BITS)) - 1;
    rm_bin_of(search, &fl, &sl);
    id = RM_NONE;
    if (fl < RM_FL) {
        low = pool->sl_map[fl] & (0xffu << sl) & 0xffu;
        if (low) {
            id = pool->bins[fl][__builtin_ctz(low)];
        } else if (fl + 1 < RM_FL && (above = pool->fl_map & (~0ull << (fl + 1)))) {
            fl = (unsigned)__builtin_ctzll(above);
            id = pool->bins[fl][__builtin_ctz(pool->sl_map[fl])];
        }
    }
    if (id == RM_NONE) {
        /* The rounding passed over the bin `units` itself falls in; an extent there may still do. Without this look
         * a message almost as large as the pool would never fit. */
        rm_bin_of(units, &fl, &sl);
        for (id = pool->bins[fl][sl]; id != RM_NONE && pool->extents[id].units < units;) id = pool->extents[id].next;
        if (id == RM_NONE) return RM_NONE;
    }
    e = &pool->extents[id];
    if (e->units > units && !rm_has_spare(pool)) return RM_NONE; /* out of descriptors: as good as out of memory */
    rm_bin_remove(pool, id);
    if (e->units > units) {
        rest = rm_spare_pop(pool);
        pool->extents[rest].start = e->start + units;
        pool->extents[rest].units = e->units - units;
        pool->extents[rest].dirty = e->dirty > units ? e->dirty - units : 0;
        pool->extents[rest].before = id;
        pool->extents[rest].after = e->after;
        if (e->after != RM_NONE) pool->extents[e->after].before = rest;
        e->after = rest;
        e->units = units;
        rm_bin_insert(pool, rest);
    }
    pool->idle_units -= e->dirty < units ? e->dirty : units;
    e->state = RM_USED;
    e->published_ns = 0;
    pool->used_units += units;
    return id;
}

/* 0, or -1 when this extent is not in use (only a corrupted return list says so). */
static inline int rm_pool_release(rm_pool *pool, uint32_t id) {
    rm_extent *e;
    uint32_t other;
    if (id >= pool->count || pool->extents[id].state != RM_USED) return -1;
    e = &pool->extents[id];
    pool->used_units -= e->units;
    pool->idle_units += e->units;
    e->dirty = e->units;
    other = e->after;
    if (other != RM_NONE && pool->extents[other].state == RM_FREE) {
        rm_bin_remove(pool, other);
        e->units += pool->extents[other].units;
        e->dirty += pool->extents[other].dirty;
        e->after = pool->extents[other].after;
        if (e->after != RM_NONE) pool->extents[e->after].before = id;
        rm_spare_push(pool, other);
    }
    other = e->before;
    if (other != RM_NONE && pool->extents[other].state == RM_FREE) {
        rm_bin_remove(pool, other);
        pool->extents[other].units += e->units;
        pool->extents[other].dirty += e->dirty;
        pool->extents[other].after = e->after;
        if (e->after != RM_NONE) pool->extents[e->after].before = other;
        rm_spare_push(pool, id);
        id = other;
    }
    rm_bin_insert(pool, id);
    return 0;
}

/* Gives the pages of all free extents back to the kernel; they read as zeros from then on. 0, or -1 where the kernel
 * cannot (then nothing is lost but memory). `base` is where the pool lies. */
static inline int rm_pool_trim(rm_pool *pool, char *base) {
    uint32_t id;
    int rc = 0;
    for (id = 0; id != RM_NONE; id = pool->extents[id].after) { /* extent 0 always comes first */
        rm_extent *e = &pool->extents[id];
        uint64_t from, to;
        if (e->state != RM_FREE || !e->dirty) continue;
        from = (e->start * RM_UNIT + RM_POOL_PAGE - 1) / RM_POOL_PAGE * RM_POOL_PAGE;
        to = (e->start + e->units) * RM_UNIT / RM_POOL_PAGE * RM_POOL_PAGE;
        if (from < to && madvise(base + from, to - from, MADV_REMOVE) < 0) rc = -1;
        e->dirty = 0;
    }
    pool->idle_units = 0;
    return rc;
}

#endif
