/* What happens on a ring and a doorbell: publish, take, sleep, wake. No Python here: this builds on its own.
 *
 * Every ordered access bears a SYNC label; each label stands at both of its ends.
 *
 *   tail-publish    producer's slot writes become visible to the consumer
 *   head-release    consumer's slot reads are over before the producer writes there again
 *   sleep-data      producer: tail, then "does the consumer sleep?"; consumer: "I sleep", then tail
 *   sleep-room      consumer: head, then "does the producer wait?"; producer: "I wait", then head
 *   sleep-memory    releaser: returned list (or freed), then "is memory wanted?"; owner: "wanted", then both
 *   bell-sequence   a ring between a sleeper's last look and its futex wait makes the wait return at once
 *   block-return    a releaser's reads of a block are over before the owner hands it out again
 *   closed          everything published before closing is seen by whoever sees the closing
 *   peer-gone       the flag, then the ring of its own doorbell; waiters announce, then look at the flag
 *   turn-end        everything done for a turn comes before its last share is given up
 *   turn-free       a turn's parents were read before its number is taken again
 *   epoch           whoever sees the number of an interruption sees what it cut, and drops what was sent before
 */
#ifndef REMOTEMEDIA_RING_OPS_H
#define REMOTEMEDIA_RING_OPS_H

#include "_cuts.h"
#include "_message.h"
#include "_ring_abi.h"
#include <sys/eventfd.h>

enum rm_status { RM_OK = 0, RM_FULL, RM_NO_MEMORY, RM_CLOSED, RM_EMPTY, RM_CORRUPTED, RM_TIMEOUT, RM_INTERRUPTED };

/* --- segments -------------------------------------------------------------------------------------------------- */

/* A mapped segment. The constants are private copies, checked once: peers can scribble over the header's.
 *
 * Only the owner may write to the pool. Every other process can write to the header and the block table, as consumers
 * must; it gets a second mapping when it is the only holder of a block and wants to write there. */
typedef struct rm_segment {
    rm_segment_header *shared;
    rm_block *blocks;
    char *pool;     /* read-only unless this is the owner */
    char *writable; /* the same bytes, writable; NULL until needed */
    uint64_t total_bytes, pool_bytes;
    uint32_t block_count, pool_id;
    int eventfd;
    _Atomic uint32_t freed; /* owner: how often memory went back to the pool */
    struct rm_segment *next; /* of those that are mapped read-only here (_payload_fault.h) */
} rm_segment;

static inline uint32_t rm_block_count_for(uint64_t pool_bytes) {
    uint64_t count = pool_bytes / 4096;
    return count < 1024 ? 1024 : count > 65536 ? 65536 : (uint32_t)count;
}

static inline uint64_t rm_page_up(uint64_t bytes) { return (bytes + RM_PAGE - 1) / RM_PAGE * RM_PAGE; }

/* A new segment's memfd, its header filled in; -errno on failure. */
static inline int rm_segment_create(uint64_t pool_bytes, uint32_t pool_id) {
    uint32_t count = rm_block_count_for(pool_bytes);
    uint64_t table = RM_SEGMENT_HEADER_BYTES, pool = table + rm_page_up((uint64_t)count * sizeof(rm_block));
    uint64_t total = pool + rm_page_up(pool_bytes);
    rm_segment_header *h;
    int fd = rm_sealed_memfd("remotemedia-segment", total);
    if (fd < 0) return fd;
    h = (rm_segment_header *)mmap(NULL, RM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (h == MAP_FAILED) {
        int error = errno;
        close(fd);
        return -error;
    }
    h->magic = RM_SEGMENT_MAGIC;
    h->total_bytes = total;
    h->table_offset = table;
    h->pool_offset = pool;
    h->pool_bytes = rm_page_up(pool_bytes);
    h->block_count = count;
    h->pool_id = pool_id;
    h->version = RM_ABI_VERSION;
    munmap(h, RM_PAGE);
    return fd;
}

/* No fault of what is mapped: memory or address space has run out, as errno says. */
static const char RM_NOT_MAPPED[] = "it cannot be mapped";

/* The bytes from the beginning of the page that `at` lies in; a kernel's pages may be larger than ours. */
static inline uint64_t rm_into_page(const char *at) { return (uintptr_t)at % (uintptr_t)sysconf(_SC_PAGESIZE); }

static inline void rm_segment_unmap(rm_segment *s) {
    uint64_t before = rm_into_page(s->pool);
    if (s->writable && s->writable != s->pool) munmap(s->writable - before, s->pool_bytes + before);
    munmap(s->shared, s->total_bytes);
}

/* Makes the pool read-only; 0 or -1. Where pages are larger than ours, the part that shares one with the block table
 * stays writable. */
static inline int rm_pool_protect(rm_segment *s) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), skipped = (page - rm_into_page(s->pool)) % page;
    if (s->pool_bytes <= skipped) return 0;
    return mprotect(s->pool + skipped, s->pool_bytes - skipped, PROT_READ);
}

/* The pool, mapped writable; NULL when there is no address space for it. */
static inline char *rm_pool_writable(rm_segment *s) {
    uint64_t before = rm_into_page(s->pool), bytes = s->pool_bytes + before;
    char *at;
    if (s->writable) return s->writable;
    /* With an old size of 0, this maps the same pages a second time. The descriptor is long closed. */
    at = (char *)mremap(s->pool - before, 0, bytes, MREMAP_MAYMOVE);
    if (at == (char *)MAP_FAILED) return NULL;
    if (mprotect(at, bytes, PROT_READ | PROT_WRITE) < 0) {
        munmap(at, bytes);
        return NULL;
    }
    return s->writable = at + before;
}

/* The address in the first mapping of a byte of the pool whose address may be in the second. */
static inline char *rm_pool_home(const rm_segment *s, char *at) {
    return s->writable && at >= s->writable && at < s->writable + s->pool_bytes ? s->pool + (at - s->writable) : at;
}

/* Maps a segment after checking what it says of itself; NULL, or what is wrong with it. */
static inline const char *rm_segment_map(rm_segment *s, int fd, int owner) {
    int64_t size = rm_sealed_size(fd);
    rm_segment_header *h;
    uint64_t table, pool, bytes, count;
    if (size == -EPERM) return "its size is not sealed";
    if (size < (int64_t)RM_SEGMENT_HEADER_BYTES) return "it is shorter than its header";
    h = (rm_segment_header *)mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (h == MAP_FAILED) return RM_NOT_MAPPED;
    table = h->table_offset, pool = h->pool_offset, bytes = h->pool_bytes, count = h->block_count;
    if (h->magic != RM_SEGMENT_MAGIC || h->version != RM_ABI_VERSION || table != RM_SEGMENT_HEADER_BYTES ||
        count == 0 || count > 65536 || pool % RM_PAGE || pool < table + count * sizeof(rm_block) ||
        pool > (uint64_t)size || bytes > (uint64_t)size - pool || h->total_bytes != (uint64_t)size) {
        int version = h->magic == RM_SEGMENT_MAGIC && h->version != RM_ABI_VERSION;
        munmap(h, (size_t)size);
        return version ? "it was made by another version of remotemedia" : "its header is not a segment's";
    }
    s->shared = h;
    s->blocks = (rm_block *)((char *)h + table);
    s->pool = (char *)h + pool;
    s->total_bytes = (uint64_t)size;
    s->pool_bytes = bytes;
    s->block_count = (uint32_t)count;
    s->pool_id = h->pool_id;
    s->writable = owner ? s->pool : NULL;
    if (!owner && rm_pool_protect(s) < 0) {
        int error = errno;
        munmap(h, (size_t)size);
        errno = error;
        return RM_NOT_MAPPED;
    }
    return NULL;
}

/* --- doorbell -------------------------------------------------------------------------------------------------- */

/* Wakes the segment's owner if it sleeps; no system call when it does not. May be repeated; means "look again". */
static inline void rm_bell_ring(rm_segment *s) {
    rm_segment_header *h = s->shared;
    /* SYNC sleep-data, sleep-room, sleep-memory: the caller's ordered store came before these loads. */
    if (RM_LOAD_ORDERED(&h->bell_sleepers)) {
        atomic_fetch_add(&h->bell_sequence, 1); /* SYNC bell-sequence: the sleeper's futex compares with this */
        rm_futex_wake_all(&h->bell_sequence);
    }
    if (RM_LOAD_ORDERED(&h->bell_armed) && atomic_exchange(&h->bell_armed, 0) && s->eventfd >= 0) {
        uint64_t one = 1;
        /* Fails only when the counter is at its limit, and then the descriptor is readable anyway. */
        ssize_t ignored = write(s->eventfd, &one, sizeof one);
        (void)ignored;
    }
}

static inline void rm_bell_arm(rm_segment *s) {
    RM_STORE_ORDERED(&s->shared->bell_armed, 1); /* SYNC sleep-data, sleep-room, sleep-memory: then look again */
}

static inline void rm_bell_disarm(rm_segment *s) { RM_STORE_ORDERED(&s->shared->bell_armed, 0); }

typedef int (*rm_ready)(void *);

/* Spins until ready(arg) or until_ns. Whether ready. *now_ns moves on as the clock is looked at, not further: after a
 * hit nothing stands between the waiter and what it waited for. */
static inline int rm_spin(rm_ready ready, void *arg, uint64_t *now_ns, uint64_t until_ns) {
    while (*now_ns < until_ns) {
        for (int i = 0; i < 32; i++) {
            if (ready(arg)) return 1;
            rm_pause();
        }
        *now_ns = rm_now_ns();
    }
    return 0;
}

/* How long a waiter spins before it sleeps. Spinning pays when what it waits for comes within the time a sleep and a
 * wake would take, so each waiter learns from its own waits: a hit allows twice the time it took, a miss halves what is
 * allowed. A peer on the same CPU, or one that sends now and then, so costs next to nothing. Every 16th wait spins for
 * the whole time that is allowed: a peer that has become quick is noticed. */
typedef struct {
    uint64_t allowed_ns;
    uint32_t waits;
} rm_spinner;

#define RM_SPIN_PROBE 16
#define RM_SPIN_LEAST_NS 1000

static inline uint64_t rm_spin_allowed(rm_spinner *s, uint64_t most_ns) {
    return s->waits++ % RM_SPIN_PROBE == 0 || s->allowed_ns > most_ns ? most_ns : s->allowed_ns;
}

static inline void rm_spin_learn(rm_spinner *s, int hit, uint64_t took_ns) {
    if (hit) {
        uint64_t enough = 2 * took_ns + 2 * RM_SPIN_LEAST_NS;
        if (s->allowed_ns < enough) s->allowed_ns = enough;
    } else {
        s->allowed_ns = s->allowed_ns / 2 < RM_SPIN_LEAST_NS ? 0 : s->allowed_ns / 2;
    }
}

/* Sleeps in the kernel until ready(arg), a signal, or the deadline (0 = none). */
static inline int rm_wait(rm_segment *own, rm_ready ready, void *arg, uint64_t deadline_ns) {
    rm_segment_header *h = own->shared;
    for (;;) {
        uint32_t sequence = RM_LOAD_ACQUIRE(&h->bell_sequence); /* SYNC bell-sequence: before the last look */
        int rc;
        /* SYNC sleep-data, sleep-room, sleep-memory: announced first, then the last look. */
        atomic_fetch_add(&h->bell_sleepers, 1);
        rc = ready(arg) ? 0 : rm_futex_wait(&h->bell_sequence, sequence, deadline_ns);
        atomic_fetch_sub(&h->bell_sleepers, 1);
        if (ready(arg)) return RM_OK;
        if (rc == -ETIMEDOUT) return RM_TIMEOUT;
        if (rc == -EINTR) return RM_INTERRUPTED;
    }
}

/* --- blocks ---------------------------------------------------------------------------------------------------- */

static inline void rm_block_hold(rm_segment *s, uint32_t id) {
    /* Relaxed: the caller already holds a reference, so the block cannot go. */
    atomic_fetch_add_explicit(&s->blocks[id].references, 1, memory_order_relaxed);
}

/* Whether the caller's reference is the only one: it stays so, since only a holder can take another. */
static inline int rm_block_held_alone(rm_segment *s, uint32_t id) {
    return RM_LOAD_ACQUIRE(&s->blocks[id].references) == 1; /* SYNC block-return: what others read of it is over */
}

/* Gives a reference up; true when it was the last and the block must go back to its owner. */
static inline int rm_block_drop(rm_segment *s, uint32_t id) {
    if (rm_block_held_alone(s, id)) { /* no need of a locked instruction */
        RM_STORE_RELAXED(&s->blocks[id].references, 0);
        return 1;
    }
    /* SYNC block-return: release what this holder read; acquire what the others did, for whoever is last. */
    return atomic_fetch_sub_explicit(&s->blocks[id].references, 1, memory_order_acq_rel) == 1;
}

/* Pushes a block nobody holds onto its owner's return list. Only the owner pops, and takes all: no ABA. */
static inline void rm_block_return(rm_segment *s, uint32_t id) {
    rm_segment_header *h = s->shared;
    uint32_t head = RM_LOAD_RELAXED(&h->returned);
    do {
        RM_STORE_RELAXED(&s->blocks[id].next_returned, head);
        /* SYNC block-return, sleep-memory */
    } while (!atomic_compare_exchange_weak(&h->returned, &head, id + 1));
    if (RM_LOAD_ORDERED(&h->memory_wanted)) rm_bell_ring(s); /* SYNC sleep-memory */
}

static inline uint32_t rm_blocks_take_returned(rm_segment *s) {
    if (!RM_LOAD_RELAXED(&s->shared->returned)) return 0;
    return atomic_exchange(&s->shared->returned, 0); /* SYNC block-return */
}

/* Owner: tells waiters in its other threads of memory that they will not find on the list (any more). */
static inline void rm_memory_freed(rm_segment *s) {
    atomic_fetch_add(&s->freed, 1); /* SYNC sleep-memory */
    if (RM_LOAD_ORDERED(&s->shared->memory_wanted)) rm_bell_ring(s); /* SYNC sleep-memory */
}

/* Where a message's bytes are, or NULL when what it says cannot be true. */
static inline char *rm_block_data(rm_segment *s, uint32_t id, uint64_t offset, uint64_t bytes) {
    uint64_t start, length;
    if (id >= s->block_count || RM_LOAD_RELAXED(&s->blocks[id].references) == 0) return NULL;
    start = RM_LOAD_RELAXED(&s->blocks[id].offset);
    length = RM_LOAD_RELAXED(&s->blocks[id].bytes);
    if (start > s->pool_bytes || length > s->pool_bytes - start) return NULL;
    if (offset > length || bytes > length - offset) return NULL;
    return s->pool + start + offset;
}

/* --- rings ----------------------------------------------------------------------------------------------------- */

typedef struct {
    rm_ring_header *shared;
    rm_slot *slots;
    uint64_t total_bytes;
    uint32_t capacity, mask;
    uint64_t position;    /* mine: only I move it, so this copy is the truth */
    uint64_t peer_seen;   /* the peer's position when last looked at */
    _Atomic int peer_gone;
} rm_ring;

static inline int rm_ring_create(uint32_t capacity) {
    uint32_t slots = 1;
    uint64_t total;
    rm_ring_header *h;
    int fd;
    while (slots < capacity) slots *= 2;
    total = RM_PAGE + rm_page_up((uint64_t)slots * sizeof(rm_slot));
    fd = rm_sealed_memfd("remotemedia-ring", total);
    if (fd < 0) return fd;
    h = (rm_ring_header *)mmap(NULL, RM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (h == MAP_FAILED) {
        int error = errno;
        close(fd);
        return -error;
    }
    h->magic = RM_RING_MAGIC;
    h->total_bytes = total;
    h->capacity = capacity;
    h->slots = slots;
    h->slots_offset = RM_PAGE;
    h->version = RM_ABI_VERSION;
    munmap(h, RM_PAGE);
    return fd;
}

static inline const char *rm_ring_map(rm_ring *r, int fd) {
    int64_t size = rm_sealed_size(fd);
    rm_ring_header *h;
    uint64_t slots, capacity;
    if (size == -EPERM) return "its size is not sealed";
    if (size < (int64_t)RM_PAGE) return "it is shorter than its header";
    h = (rm_ring_header *)mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (h == MAP_FAILED) return RM_NOT_MAPPED;
    slots = h->slots, capacity = h->capacity;
    if (h->magic != RM_RING_MAGIC || h->version != RM_ABI_VERSION || h->slots_offset != RM_PAGE || capacity == 0 ||
        capacity > slots || (slots & (slots - 1)) || slots * sizeof(rm_slot) > (uint64_t)size - RM_PAGE ||
        h->total_bytes != (uint64_t)size) {
        int version = h->magic == RM_RING_MAGIC && h->version != RM_ABI_VERSION;
        munmap(h, (size_t)size);
        return version ? "it was made by another version of remotemedia" : "its header is not a ring's";
    }
    r->shared = h;
    r->slots = (rm_slot *)((char *)h + RM_PAGE);
    r->total_bytes = (uint64_t)size;
    r->capacity = (uint32_t)capacity;
    r->mask = (uint32_t)slots - 1;
    return NULL;
}

#define RM_SLOT_SHORT 192 /* three cache lines: all but the end of the text */

static inline void rm_prefetch_for_write(void *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((char *)at + i, 1);
}

/* Noted when a side looks at the other's position anyway: looking with every message would cost it a cache line each. */
static inline void rm_note_most(_Atomic uint64_t *most, uint64_t held) {
    if (held > RM_LOAD_RELAXED(most)) RM_STORE_RELAXED(most, held);
}

/* Producer: the slot to fill next, when there is room. RM_OK, RM_FULL, RM_CLOSED or RM_CORRUPTED. */
static inline int rm_claim(rm_ring *r, rm_slot **slot) {
    if (RM_LOAD_ACQUIRE(&r->shared->consumer_closed)) return RM_CLOSED; /* SYNC closed */
    if (r->position - r->peer_seen >= r->capacity) {
        uint64_t head = RM_LOAD_ACQUIRE(&r->shared->head); /* SYNC head-release */
        if (head - r->peer_seen > r->position - r->peer_seen) return RM_CORRUPTED;
        r->peer_seen = head;
        rm_note_most(&r->shared->most_held_by_producer, r->position - head);
        if (r->position - head >= r->capacity) return RM_FULL;
    }
    *slot = &r->slots[r->position & r->mask];
    return RM_OK;
}

/* Producer: publishes the claimed slot and wakes the consumer, if there is one and it sleeps. */
static inline void rm_publish(rm_ring *r, rm_segment *consumer) {
    r->position++;
    RM_STORE_ORDERED(&r->shared->tail, r->position); /* SYNC tail-publish, sleep-data */
    if (consumer) rm_bell_ring(consumer);
    /* The next slot is in the consumer's cache: have it brought here while the caller makes the next message. */
    rm_prefetch_for_write(&r->slots[r->position & r->mask], RM_SLOT_SHORT);
}

/* Consumer: a private copy of the next message, when there is one. RM_OK, RM_EMPTY, RM_CLOSED or RM_CORRUPTED. */
static inline int rm_peek(rm_ring *r, rm_slot *copy) {
    rm_slot *slot;
    if (r->peer_seen == r->position) {
        /* SYNC closed: looked at before tail, so that nothing published before closing is missed. */
        uint32_t closed = RM_LOAD_ACQUIRE(&r->shared->producer_closed);
        uint64_t tail = RM_LOAD_ACQUIRE(&r->shared->tail); /* SYNC tail-publish */
        if (tail - r->position > r->capacity) return RM_CORRUPTED;
        r->peer_seen = tail;
        rm_note_most(&r->shared->most_held_by_consumer, tail - r->position);
        if (tail == r->position) return closed ? RM_CLOSED : RM_EMPTY;
    }
    slot = &r->slots[r->position & r->mask];
    memcpy(copy, slot, RM_SLOT_SHORT);
    /* Most messages have little text, and the last cache line is left alone. */
    if (rm_slot_text_bytes(copy) > RM_SLOT_SHORT - offsetof(rm_slot, text))
        memcpy((char *)copy + RM_SLOT_SHORT, (char *)slot + RM_SLOT_SHORT, sizeof *copy - RM_SLOT_SHORT);
    return copy->sequence == r->position ? RM_OK : RM_CORRUPTED;
}

/* Consumer: frees the slot last peeked at and wakes the producer, if it waits for room. */
static inline void rm_release(rm_ring *r, rm_segment *producer) {
    RM_STORE_ORDERED(&r->shared->head, ++r->position); /* SYNC head-release, sleep-room */
    if (RM_LOAD_ORDERED(&r->shared->producer_waiting) && producer) rm_bell_ring(producer); /* SYNC sleep-room */
}

/* What each side waits for; each is the "last look" of rm_wait, so its loads are ordered. */

static inline int rm_has_message(void *ring) {
    rm_ring *r = (rm_ring *)ring;
    /* SYNC sleep-data, peer-gone */
    return RM_LOAD_ORDERED(&r->shared->tail) != r->position || RM_LOAD_ORDERED(&r->shared->producer_closed) ||
           RM_LOAD_ORDERED(&r->peer_gone);
}

static inline int rm_has_room(void *ring) {
    rm_ring *r = (rm_ring *)ring;
    /* SYNC sleep-room, peer-gone */
    return r->position - RM_LOAD_ORDERED(&r->shared->head) < r->capacity ||
           RM_LOAD_ORDERED(&r->shared->consumer_closed) || RM_LOAD_ORDERED(&r->peer_gone);
}

/* For a wait on several rings at once. */
typedef struct {
    rm_ring **rings;
    uint32_t count;
} rm_any_wait;

static inline int rm_has_any_message(void *arg) {
    rm_any_wait *w = (rm_any_wait *)arg;
    for (uint32_t i = 0; i < w->count; i++)
        if (rm_has_message(w->rings[i])) return 1;
    return 0;
}

static inline void rm_want_room(rm_ring *r, uint32_t wanted) {
    RM_STORE_ORDERED(&r->shared->producer_waiting, wanted); /* SYNC sleep-room: then look again */
}

typedef struct {
    rm_segment *segment;
    rm_ring *ring;  /* may be NULL */
    uint32_t freed; /* the segment's, read before the attempt that found no room */
} rm_memory_wait;

static inline int rm_has_memory(void *arg) {
    rm_memory_wait *w = (rm_memory_wait *)arg;
    /* SYNC sleep-memory, peer-gone */
    return RM_LOAD_ORDERED(&w->segment->shared->returned) != 0 || RM_LOAD_ORDERED(&w->segment->freed) != w->freed ||
           (w->ring && (RM_LOAD_ORDERED(&w->ring->shared->consumer_closed) || RM_LOAD_ORDERED(&w->ring->peer_gone)));
}

static inline void rm_want_memory(rm_segment *s, uint32_t wanted) {
    RM_STORE_ORDERED(&s->shared->memory_wanted, wanted); /* SYNC sleep-memory: then look again */
}

#endif
