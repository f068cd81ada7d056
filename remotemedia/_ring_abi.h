/* Bytes that processes share: layout, memory order, kernel waits. docs/ring.md draws them.
 *
 * Two kinds of shared memory, each a sealed memfd:
 *
 *   segment  one per endpoint (a node's process, a session's orchestrator side, a named publisher or subscriber):
 *            its doorbell, its counters, and the pool its messages' payloads live in.
 *   ring     one per channel: control block and fixed message slots.
 *
 * Who writes which word (everybody may read, after checking):
 *
 *   segment.bell_sequence      whoever rings        only grows
 *   segment.bell_sleepers      the owner's threads  futex sleepers, counted
 *   segment.bell_armed         owner sets 1, ringer takes it to 0
 *   segment.returned           releasers push, owner takes all
 *   segment.memory_wanted      owner
 *   segment.epoch, cuts        owner                only grow
 *   segment.wrote_to_payload   owner, as it dies    0, then 1
 *   segment.node               owner                plain counters
 *   segment.turns              owner takes and parents, who has a share counts
 *   block.references           any holder of a reference (and the owner, from 0 to 1)
 *   block.offset, bytes        owner, while nobody holds the block
 *   ring.tail, producer_*      producer             tail only grows
 *   ring.head, consumer_*      consumer             head only grows
 *   ring.most_held_by_*        that side            only grow
 *   slot                       producer, between head + capacity and tail
 */
#ifndef REMOTEMEDIA_RING_ABI_H
#define REMOTEMEDIA_RING_ABI_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RM_SEGMENT_MAGIC 0x47534d52u /* "RMSG" */
#define RM_RING_MAGIC 0x4e524d52u    /* "RMRN" */
#define RM_ABI_VERSION 7u

#define RM_PAGE 4096u
#define RM_MAX_NDIM 8
#define RM_NO_BLOCK 0xffffffffu
#define RM_INLINE_TEXT 96
#define RM_LINEAGE_NODES 64
#define RM_TURN_BITS 10
#define RM_TURNS (1u << RM_TURN_BITS)
#define RM_TURN_PARENTS 6
#define RM_LATENCY_BUCKETS 304 /* eight to each power of two of nanoseconds: up to 18 minutes, to an eighth */

/* --- segment --------------------------------------------------------------------------------------------------- */

typedef struct {
    _Atomic uint64_t received, published, failed, dropped, unrouted;
    _Atomic uint64_t busy_ns;
    _Atomic uint64_t processing_since_ns; /* CLOCK_MONOTONIC; 0 = not in process() */
    _Atomic uint64_t pool_used_bytes;
    _Atomic uint64_t latency_sum_ns, latency_max_ns;
    _Atomic uint64_t latency[RM_LATENCY_BUCKETS];
} rm_node_counters;

/* From a message's being published upstream to the first output that was made of it. */
typedef struct {
    _Atomic uint64_t sum_ns, max_ns;
    _Atomic uint64_t buckets[RM_LATENCY_BUCKETS];
} rm_first_outputs;

/* Work under way that descends from one input of the session, or from several: _turns.h. */
typedef struct {
    _Atomic uint32_t shares;
    _Atomic uint32_t failures;
    _Atomic uint32_t parents[RM_TURN_PARENTS];
} rm_turn;

typedef struct {
    uint32_t magic, version;
    uint64_t total_bytes;
    uint64_t table_offset, pool_offset, pool_bytes;
    uint32_t block_count, pool_id;

    _Alignas(128) _Atomic uint32_t bell_sequence;
    _Atomic uint32_t bell_sleepers;
    _Atomic uint32_t bell_armed;

    _Alignas(128) _Atomic uint32_t returned; /* index + 1 of the first block given back; 0 = none */

    _Alignas(128) _Atomic uint32_t memory_wanted;
    _Atomic uint32_t epoch;
    _Atomic uint32_t wrote_to_payload; /* the process died of writing to memory that is mapped read-only there */

    _Alignas(128) rm_node_counters node;

    /* Of the orchestrator's: the epochs that the last cuts began, of the whole and of what descends from each node; and
       of those among them that also dropped what was queued for the node. */
    _Alignas(128) _Atomic uint32_t whole_cut;
    _Atomic uint32_t cuts[RM_LINEAGE_NODES];
    _Atomic uint32_t queue_cuts[RM_LINEAGE_NODES];

    _Alignas(128) rm_first_outputs first_outputs; /* in the orchestrator's: of the session's turns */

    _Alignas(128) rm_turn turns[RM_TURNS];
} rm_segment_header;

#define RM_SEGMENT_HEADER_BYTES ((sizeof(rm_segment_header) + RM_PAGE - 1) / RM_PAGE * RM_PAGE)

/* A cache line each: neighbours belong to messages that are in different hands. */
typedef struct {
    _Alignas(64) _Atomic uint32_t references;
    _Atomic uint32_t next_returned; /* index + 1 */
    _Atomic uint64_t offset;        /* from pool_offset, a multiple of 64 */
    _Atomic uint64_t bytes;
} rm_block;

/* --- ring ------------------------------------------------------------------------------------------------------ */

enum rm_payload_kind { RM_ARRAY = 1, RM_BYTES = 2, RM_TEXT = 3 };

typedef struct {
    uint64_t sequence;
    double timestamp;
    uint64_t published_ns; /* CLOCK_MONOTONIC */
    uint32_t epoch;
    uint8_t type, payload_kind, metadata_kind, ndim;
    uint32_t pool_id, block; /* RM_NO_BLOCK: no payload bytes */
    uint64_t offset, bytes;  /* the payload within its block */
    uint32_t text_block;     /* of the producer's pool: where the text is when it does not fit below */
    uint32_t turn;           /* what it is counted for; 0: nothing */

    uint64_t shape[RM_MAX_NDIM];

    /* the text: session id, port, dtype and metadata, one after the other */
    uint32_t session_bytes, port_bytes, dtype_bytes, metadata_bytes;
    uint64_t origin;  /* the number that the first sender gave the message this one was made of */
    uint64_t lineage; /* the nodes that it came through, a bit each */
    char text[RM_INLINE_TEXT];
} rm_slot;

typedef struct {
    uint32_t magic, version;
    uint64_t total_bytes;
    uint32_t capacity, slots; /* slots: capacity rounded up to a power of two */
    uint64_t slots_offset;

    /* What a message moves: one line for each side, with nothing in it that the other side need not see at once. */
    _Alignas(128) _Atomic uint64_t tail;
    _Atomic uint32_t producer_closed;

    _Alignas(128) _Atomic uint64_t head;

    /* Looked at with every message, written hardly ever: this line stays in both caches. */
    _Alignas(128) _Atomic uint32_t producer_waiting; /* alone: an alignment is that of every name beside it */
    _Atomic uint32_t consumer_closed, producer_pid, consumer_pid;

    /* Counters, each side's in a line of its own. */
    _Alignas(128) _Atomic uint64_t bytes;
    _Atomic uint64_t bytes_copied, drops, blocked_count, blocked_ns;
    _Atomic uint64_t blocked_memory_ns; /* of blocked_ns: for payload memory, not for a slot */
    _Atomic uint64_t blocked_since_ns;  /* CLOCK_MONOTONIC; 0 = not blocked now */
    _Atomic uint32_t blocked_for_memory;
    _Atomic uint64_t most_held_by_producer; /* as each side saw it whenever it looked */
    _Alignas(128) _Atomic uint64_t most_held_by_consumer;
} rm_ring_header;

_Static_assert(offsetof(rm_segment_header, first_outputs) <= RM_PAGE, "what every message needs fits a page");
_Static_assert(sizeof(rm_turn) == 32, "two turns to a cache line");
_Static_assert(sizeof(rm_block) == 64, "block descriptor");
_Static_assert(sizeof(rm_slot) == 256, "slot is four cache lines");
_Static_assert(offsetof(rm_slot, shape) == 64, "shape starts a cache line");
_Static_assert(offsetof(rm_slot, session_bytes) == 128, "text starts a cache line");
_Static_assert(sizeof(rm_ring_header) <= RM_PAGE, "ring header fits its page");
_Static_assert(ATOMIC_LONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "shared atomics must be lock-free");

/* --- memory order ---------------------------------------------------------------------------------------------- */

#define RM_LOAD_RELAXED(p) atomic_load_explicit((p), memory_order_relaxed)
#define RM_STORE_RELAXED(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define RM_LOAD_ACQUIRE(p) atomic_load_explicit((p), memory_order_acquire)
/* Sequentially consistent on the access itself, not as a fence: sanitizers follow it, and on x86 it is one xchg. */
#define RM_LOAD_ORDERED(p) atomic_load_explicit((p), memory_order_seq_cst)
#define RM_STORE_ORDERED(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)

/* A counter with one writer: no lock prefix needed. */
static inline void rm_count(_Atomic uint64_t *counter, uint64_t by) {
    RM_STORE_RELAXED(counter, RM_LOAD_RELAXED(counter) + by);
}

/* Where a latency is counted: below 8 ns each has a bucket; then the highest bit picks eight, the next three one. */
static inline uint32_t rm_latency_bucket(uint64_t ns) {
    uint32_t octave, bucket;
    if (ns < 8) return (uint32_t)ns;
    octave = 63 - (uint32_t)__builtin_clzll(ns);
    bucket = (octave - 2) * 8 + (uint32_t)((ns >> (octave - 3)) & 7);
    return bucket < RM_LATENCY_BUCKETS ? bucket : RM_LATENCY_BUCKETS - 1;
}

static inline void rm_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

/* --- kernel ---------------------------------------------------------------------------------------------------- */

static inline uint64_t rm_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline double rm_unix_secs(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Sleeps while *word == expected, until woken, a signal, or deadline_ns (CLOCK_MONOTONIC; 0 = none). 0 or -errno. */
static inline int rm_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns) {
    struct timespec t = {(time_t)(deadline_ns / 1000000000u), (long)(deadline_ns % 1000000000u)};
    /* WAIT_BITSET takes an absolute deadline, so an interrupted wait needs no new arithmetic. */
    long rc =
        syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, deadline_ns ? &t : NULL, NULL, FUTEX_BITSET_MATCH_ANY);
    return rc == 0 ? 0 : -errno;
}

static inline void rm_futex_wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0);
}

/* A memfd of fixed size that nobody can shrink under a reader's feet. -errno on failure. */
static inline int rm_sealed_memfd(const char *name, uint64_t bytes) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -errno;
    if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/* The size of a memfd whose size is sealed; -EPERM where it is not, else -errno. */
static inline int64_t rm_sealed_size(int fd) {
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0) return -errno;
    if ((seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW)) return -EPERM;
    if (fstat(fd, &st) < 0) return -errno;
    return (int64_t)st.st_size;
}

#endif
