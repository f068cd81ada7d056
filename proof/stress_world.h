/* What a round of stress.c is made of: chance, the content of messages, the memory that the sides map. */

#ifndef STRESS_WORLD_H
#define STRESS_WORLD_H

#include "_ring_ops.h"

#include "_pool.h"
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

#ifndef PATIENCE_SECS
#define PATIENCE_SECS 60 /* nobody sleeps that long here: a wake-up was lost */
#endif

enum {
    CONSUMERS = 2,
    SIDES = 1 + CONSUMERS,
    PRODUCER = 0,
    POOL_BYTES = 65536,
    MOST_BYTES = 6000,
    MOST_TEXT = 400,
    /* Both consumers asleep over all they hold must leave room for the largest message, wherever the gaps are. */
    MOST_HELD = 2,
    ROUND_MESSAGES = 500,
};
static const uint32_t capacity[CONSUMERS] = {3, 32}; /* the first fills its ring, the second the pool */

enum ending { PRODUCER_CLOSES, CONSUMER_CLOSES, PRODUCER_VANISHES, CONSUMER_VANISHES, ENDINGS };

// clang-format off: it would indent the list by one step for each line
#define COUNTERS(X)                                                                                           \
    X(messages) X(full) X(no_memory) X(trimmed) X(slept_for_room) X(slept_for_memory) X(slept_for_message)    \
    X(timed_out) X(fanned_out) X(text_apart) X(released_out_of_order) X(written_in_place)                     \
    X(last_dropped_by_producer) X(last_dropped_by_consumer) X(closed_by_producer) X(closed_by_consumer)       \
    X(producer_gone) X(consumer_gone)
// clang-format on

/* Shared by all sides beside what is tested; relaxed, so that it orders nothing that the protocol should. */
typedef struct {
#define X(name) _Atomic uint64_t name;
    COUNTERS(X)
#undef X
    _Atomic uint64_t sent[CONSUMERS]; /* in this round, once the producer has closed */
} tally;

static tally *seen;
static int processes, by_eventfd;
static uint64_t seed;

#define COUNT(name) atomic_fetch_add_explicit(&seen->name, 1, memory_order_relaxed)

_Noreturn static void fail(const char *what) {
    fprintf(stderr, "stress: %s (seed %llu)\n", what, (unsigned long long)seed);
    _exit(1);
}

static void check(int holds, const char *what) {
    if (!holds) fail(what);
}

/* --- chance and content ------------------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t below(uint64_t *state, uint64_t limit) { return next_random(state) % limit; }

static void fill(char *to, uint64_t bytes, uint64_t number) {
    uint64_t state = seed ^ number, word;
    for (; bytes >= sizeof word; bytes -= sizeof word, to += sizeof word) {
        word = next_random(&state);
        memcpy(to, &word, sizeof word);
    }
    word = next_random(&state);
    memcpy(to, &word, bytes);
}

static int intact(const char *from, uint64_t bytes, uint64_t number) {
    uint64_t state = seed ^ number, word, found;
    for (; bytes >= sizeof word; bytes -= sizeof word, from += sizeof word) {
        memcpy(&found, from, sizeof word);
        if (found != next_random(&state)) return 0;
    }
    word = next_random(&state);
    return memcmp(from, &word, bytes) == 0;
}

#define TEXT_OF(number) (~(number))

/* --- one round's memory ------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t number, first_message;
    enum ending ending;
    int segment[SIDES], bell[SIDES], ring[CONSUMERS];
    int link[CONSUMERS][2]; /* the producer's end, the consumer's; end of file: the other has left */
} round_state;

typedef struct {
    rm_segment segment[SIDES];
    rm_ring ring[CONSUMERS];
} mapping;

#define EVERY_SIDE (-1)

static void map_all(mapping *m, round_state *round, int owner) {
    memset(m, 0, sizeof *m);
    for (int side = 0; side < SIDES; side++) {
        int own = owner == side || owner == EVERY_SIDE;
        check(!rm_segment_map(&m->segment[side], round->segment[side], own), "a segment cannot be mapped");
        m->segment[side].eventfd = round->bell[side];
    }
    for (int c = 0; c < CONSUMERS; c++) check(!rm_ring_map(&m->ring[c], round->ring[c]), "a ring cannot be mapped");
}

static void unmap_all(mapping *m) {
    ASAN_UNPOISON_MEMORY_REGION(m->segment[PRODUCER].pool, m->segment[PRODUCER].pool_bytes);
    for (int side = 0; side < SIDES; side++) rm_segment_unmap(&m->segment[side]);
    for (int c = 0; c < CONSUMERS; c++) munmap(m->ring[c].shared, m->ring[c].total_bytes);
}

static void open_round(round_state *round) {
    for (int side = 0; side < SIDES; side++) {
        round->segment[side] = rm_segment_create(side == PRODUCER ? POOL_BYTES : RM_PAGE, (uint32_t)side);
        round->bell[side] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        check(round->segment[side] >= 0 && round->bell[side] >= 0, "no descriptor for a segment");
    }
    for (int c = 0; c < CONSUMERS; c++) {
        round->ring[c] = rm_ring_create(capacity[c]);
        check(round->ring[c] >= 0, "no descriptor for a ring");
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, round->link[c]) == 0, "no socket pair");
    }
}

static void close_round(round_state *round) {
    for (int side = 0; side < SIDES; side++) close(round->segment[side]), close(round->bell[side]);
    for (int c = 0; c < CONSUMERS; c++) close(round->ring[c]);
}

#endif
