/* The C core on its own, under stress: one producer and two consumers, as threads or as processes.
 *
 *     stress threads|processes futex|eventfd MESSAGES|SECONDSs SEED
 *
 * Tiny rings, a tiny pool, every byte of every message checked. Rounds end in turn by the producer's closing, a
 * consumer's closing, and either of them leaving without a word (as a process: SIGKILL). At the end every state the
 * protocol knows must have happened. Exit 0, or a sentence and 1; a sanitizer ends the program in its own way.
 *
 * As threads all share one mapping, because a race detector knows addresses, not pages. As processes each maps anew.
 */
#include "stress_world.h"

/* --- a side ------------------------------------------------------------------------------------------------------- */

typedef struct {
    round_state *round;
    mapping *shared; /* what threads use; processes map anew */
    int side;
    mapping at; /* positions and flags in it are this side's own */
    rm_segment *own;
    uint64_t chance;
    int hasty;
    /* the producer's */
    rm_pool pool;
    int closed[CONSUMERS], lost;
    pthread_t watcher[CONSUMERS];
} party;

typedef struct {
    party *p;
    int consumer;
} watched_link;

/* Another thread learns that the peer has left, as the rendezvous thread of a named channel does. */
static void *watch(void *arg) {
    watched_link link = *(watched_link *)arg;
    char byte;
    free(arg);
    while (read(link.p->round->link[link.consumer][link.p->side != PRODUCER], &byte, 1) > 0) {
    }
    RM_STORE_ORDERED(&link.p->at.ring[link.consumer].peer_gone, 1);
    rm_bell_ring(link.p->own);
    return NULL;
}

static void watch_peer(party *p, int consumer) {
    watched_link *link = malloc(sizeof *link);
    *link = (watched_link){p, consumer};
    check(pthread_create(&p->watcher[consumer], NULL, watch, link) == 0, "no thread");
}

/* Now the peer's watcher sees that this side is gone; this side's sees it when the peer does the same. */
static void leave(party *p, int consumer) {
    shutdown(p->round->link[consumer][p->side != PRODUCER], SHUT_WR);
}

typedef struct {
    rm_ready ready;
    void *arg;
    int misses;
} last_look;

static int look(void *arg) {
    last_look *l = (last_look *)arg;
    int ready = l->ready(l->arg);
    l->misses += !ready;
    return ready;
}

/* The side that missed its wake-up has all it waits for, and says so first; a side that waits for it waits on. */
static void check_patience(uint64_t started, int ready) {
    uint64_t slept_secs = (rm_now_ns() - started) / 1000000000u;
    check(!ready || slept_secs < PATIENCE_SECS, "a wake-up was lost");
    check(slept_secs < 2 * PATIENCE_SECS, "the other side stalls");
}

/* Sleeps until ready; whether it came to sleeping. */
static int sleep_until(party *p, rm_ready ready, void *arg) {
    last_look l = {ready, arg, 0};
    uint64_t started = rm_now_ns(), now = started, patience = PATIENCE_SECS * 1000000000ull;
    if (by_eventfd) {
        rm_bell_arm(p->own);
        while (!look(&l)) {
            struct pollfd fd = {p->own->eventfd, POLLIN, 0};
            uint64_t rings;
            if (poll(&fd, 1, PATIENCE_SECS * 1000) == 0) check_patience(started, ready(arg));
            if (read(fd.fd, &rings, sizeof rings) < 0) check(errno == EAGAIN, "the doorbell cannot be read");
            rm_bell_arm(p->own);
        }
        rm_bell_disarm(p->own);
    } else if (!rm_spin(ready, arg, &now, started + below(&p->chance, 2) * 2000)) {
        uint64_t soon = started + below(&p->chance, 50000);
        if (below(&p->chance, 4) == 0 && rm_wait(p->own, look, &l, soon) == RM_TIMEOUT) COUNT(timed_out);
        while (rm_wait(p->own, look, &l, rm_now_ns() + patience) == RM_TIMEOUT) check_patience(started, 0);
        check_patience(started, 1);
    }
    return l.misses > 0;
}

/* Lets the other side fall asleep, now and then, and orders nothing. */
static void dawdle(party *p, int peer) {
    rm_segment_header *h = p->at.segment[peer].shared;
    if (below(&p->chance, 64) == 0) p->hasty = !p->hasty;
    if (!p->hasty && below(&p->chance, 4) == 0)
        for (int i = 0; i < 200 && !RM_LOAD_RELAXED(&h->bell_sleepers) && !RM_LOAD_RELAXED(&h->bell_armed); i++)
            sched_yield();
}

/* --- producer ----------------------------------------------------------------------------------------------------- */

static void collect(party *p) {
    uint32_t link = rm_blocks_take_returned(p->own);
    while (link) {
        rm_block *block = &p->own->blocks[link - 1];
        uint32_t next = RM_LOAD_RELAXED(&block->next_returned);
        check(RM_LOAD_RELAXED(&block->references) == 0, "a block came back while somebody holds it");
        ASAN_POISON_MEMORY_REGION(p->own->pool + RM_LOAD_RELAXED(&block->offset), RM_LOAD_RELAXED(&block->bytes));
        check(rm_pool_release(&p->pool, link - 1) == 0, "a block came back twice");
        link = next;
    }
    if (p->pool.idle_units && below(&p->chance, 64) == 0) {
        check(rm_pool_trim(&p->pool, p->own->pool) == 0, "the kernel does not take memory back");
        COUNT(trimmed);
    }
}

static void producer_drop(party *p, uint32_t block) {
    if (!rm_block_drop(p->own, block)) return;
    COUNT(last_dropped_by_producer);
    ASAN_POISON_MEMORY_REGION(p->own->pool + p->pool.extents[block].start * RM_UNIT,
                              p->pool.extents[block].units * RM_UNIT);
    check(rm_pool_release(&p->pool, block) == 0, "a block was given up twice");
}

static void forget(party *p, rm_slot *slot) {
    if (slot->block != RM_NO_BLOCK) producer_drop(p, slot->block);
    if (slot->text_block != RM_NO_BLOCK) producer_drop(p, slot->text_block);
}

/* The consumer has closed: what it left unread comes back. */
static void reclaim(party *p, int c) {
    rm_ring *r = &p->at.ring[c];
    rm_slot slot;
    uint64_t tail = r->position;
    r->position = RM_LOAD_RELAXED(&r->shared->head);
    r->peer_seen = tail;
    for (; r->position != tail; r->position++) {
        check(rm_peek(r, &slot) == RM_OK, "the producer's own messages make no sense to it");
        forget(p, &slot);
    }
}

/* Looks once at which sides still listen; whether one has newly stopped. */
static int note_closings(party *p) {
    int news = 0;
    for (int c = 0; c < CONSUMERS; c++) {
        rm_ring *r = &p->at.ring[c];
        int gone = RM_LOAD_ORDERED(&r->peer_gone);
        if (p->closed[c]) continue;
        if (RM_LOAD_ACQUIRE(&r->shared->consumer_closed))
            reclaim(p, c);
        else if (gone)
            p->lost = 1;
        else
            continue;
        p->closed[c] = news = 1;
    }
    return news;
}

static int has_memory_or_news(void *arg) {
    party *p = (party *)arg;
    for (int c = 0; c < CONSUMERS; c++) {
        /* One thread allocates and waits, so earlier frees are not news. */
        rm_memory_wait w = {p->own, p->closed[c] ? NULL : &p->at.ring[c], RM_LOAD_RELAXED(&p->own->freed)};
        if (rm_has_memory(&w)) return 1;
    }
    return 0;
}

/* A block with one reference; RM_NO_BLOCK when a consumer vanished and may have taken the memory with it. */
static uint32_t allocate(party *p, uint64_t bytes) {
    for (;;) {
        uint32_t block;
        collect(p);
        block = rm_pool_alloc(&p->pool, bytes);
        if (block != RM_NONE) {
            uint64_t start = p->pool.extents[block].start * RM_UNIT;
            RM_STORE_RELAXED(&p->own->blocks[block].offset, start);
            RM_STORE_RELAXED(&p->own->blocks[block].bytes, p->pool.extents[block].units * RM_UNIT);
            RM_STORE_RELAXED(&p->own->blocks[block].references, 1);
            ASAN_UNPOISON_MEMORY_REGION(p->own->pool + start, bytes);
            return block;
        }
        COUNT(no_memory);
        if (note_closings(p)) continue;
        if (p->lost) return RM_NO_BLOCK;
        rm_want_memory(p->own, 1);
        if (sleep_until(p, has_memory_or_news, p)) COUNT(slept_for_memory);
        rm_want_memory(p->own, 0);
    }
}

/* Room for one message; NULL when nobody is there to read it. */
static rm_slot *claim(party *p, int c) {
    rm_ring *r = &p->at.ring[c];
    rm_slot *slot;
    while (!p->closed[c]) {
        int gone = RM_LOAD_ORDERED(&r->peer_gone);
        int rc = rm_claim(r, &slot);
        if (rc == RM_CLOSED || gone) {
            note_closings(p);
            return NULL;
        }
        if (rc == RM_OK) return slot;
        check(rc == RM_FULL, "the consumer's position makes no sense");
        COUNT(full);
        rm_want_room(r, 1);
        if (sleep_until(p, rm_has_room, r)) COUNT(slept_for_room);
        rm_want_room(r, 0);
    }
    return NULL;
}

static void publish(party *p, int c, rm_slot *slot, uint64_t number, uint32_t block, uint64_t bytes) {
    rm_ring *r = &p->at.ring[c];
    uint64_t text_bytes = below(&p->chance, 8) ? below(&p->chance, RM_INLINE_TEXT + 1) : below(&p->chance, MOST_TEXT);
    char *text = slot->text;
    slot->text_block = RM_NO_BLOCK;
    if (text_bytes > RM_INLINE_TEXT) {
        slot->text_block = allocate(p, text_bytes);
        if (slot->text_block == RM_NO_BLOCK || p->closed[c]) {
            forget(p, &(rm_slot){.block = block, .text_block = slot->text_block});
            return;
        }
        text = p->own->pool + p->pool.extents[slot->text_block].start * RM_UNIT;
        COUNT(text_apart);
    }
    fill(text, text_bytes, TEXT_OF(number));
    slot->session_bytes = (uint32_t)text_bytes;
    slot->sequence = r->position;
    slot->published_ns = number;
    slot->block = block;
    slot->bytes = bytes;
    fill((char *)slot->shape, sizeof slot->shape, number);
    rm_count(&r->shared->bytes, bytes);
    if (p->round->ending == PRODUCER_VANISHES && processes && below(&p->chance, ROUND_MESSAGES) == 0) {
        COUNT(producer_gone);
        raise(SIGKILL); /* all written, nothing published */
    }
    rm_publish(r, &p->at.segment[1 + c]);
}

static void send_message(party *p, uint64_t number) {
    int first = (int)below(&p->chance, CONSUMERS), fan_out = below(&p->chance, 4) == 0;
    uint64_t large = (number >> 6) & 1, bytes = below(&p->chance, large ? MOST_BYTES + 1 : 200);
    uint32_t block = RM_NO_BLOCK;
    if (bytes) {
        char *data;
        block = allocate(p, bytes);
        if (block == RM_NO_BLOCK) return;
        data = p->own->pool + p->pool.extents[block].start * RM_UNIT;
        fill(data, bytes, number);
    }
    for (int i = 0; i <= fan_out; i++) {
        int c = (first + i) % CONSUMERS;
        rm_slot *slot = claim(p, c);
        if (!slot) continue;
        if (block != RM_NO_BLOCK) rm_block_hold(p->own, block);
        publish(p, c, slot, number, block, bytes);
        if (i) COUNT(fanned_out);
    }
    if (block != RM_NO_BLOCK) producer_drop(p, block);
    COUNT(messages);
    dawdle(p, 1 + first);
}

static void produce(party *p) {
    round_state *round = p->round;
    uint64_t count = 1 + below(&p->chance, ROUND_MESSAGES), number = round->first_message;
    check(rm_pool_init(&p->pool, p->own->pool_bytes, p->own->block_count) == 0, "no memory for the pool's books");
    ASAN_POISON_MEMORY_REGION(p->own->pool, p->own->pool_bytes);
    while (count-- && !p->lost) send_message(p, number++);
    if (round->ending == PRODUCER_VANISHES) {
        COUNT(producer_gone);
        if (processes) raise(SIGKILL);
    }
    for (int c = 0; c < CONSUMERS; c++) {
        rm_ring *r = &p->at.ring[c];
        if (round->ending != PRODUCER_VANISHES) {
            atomic_store_explicit(&seen->sent[c], r->position, memory_order_relaxed);
            RM_STORE_ORDERED(&r->shared->producer_closed, 1);
            rm_bell_ring(&p->at.segment[1 + c]);
            COUNT(closed_by_producer);
        }
        leave(p, c);
    }
    for (int c = 0; c < CONSUMERS; c++) pthread_join(p->watcher[c], NULL);
    note_closings(p);
    collect(p);
    check(!p->lost || round->ending == CONSUMER_VANISHES, "a consumer left without closing");
    check(p->lost || p->pool.used_units == 0, "blocks did not come back");
    check(p->lost || p->pool.extents[0].units == p->pool.total_units, "what came back is not one piece again");
    rm_pool_free_all(&p->pool);
}

/* --- consumer ----------------------------------------------------------------------------------------------------- */

static void consumer_drop(party *p, uint32_t block) {
    rm_segment *s = &p->at.segment[PRODUCER];
    char *at = s->pool + RM_LOAD_RELAXED(&s->blocks[block].offset);
    uint64_t bytes = RM_LOAD_RELAXED(&s->blocks[block].bytes);
    /* Threads share what the sanitizer knows: there only the last may say that nobody looks any more. */
    if (processes) ASAN_POISON_MEMORY_REGION(at, bytes);
    if (!rm_block_drop(s, block)) return;
    COUNT(last_dropped_by_consumer);
    if (!processes) ASAN_POISON_MEMORY_REGION(at, bytes);
    rm_block_return(s, block);
}

/* Where a message's bytes are, checked as the extension does. */
static char *data_of(party *p, uint32_t block, uint64_t bytes) {
    char *data = rm_block_data(&p->at.segment[PRODUCER], block, 0, bytes);
    check(data != NULL, "a message lies outside its block");
    if (processes) ASAN_UNPOISON_MEMORY_REGION(data, bytes);
    return data;
}

/* As as_numpy(writable=True): in place, through a mapping of its own, when nobody else holds the block. */
static void write_in_place(party *p, rm_slot *slot, char *data) {
    rm_segment *s = &p->at.segment[PRODUCER];
    char *writable;
    if (!rm_block_held_alone(s, slot->block)) return;
    writable = rm_pool_writable(s);
    check(writable != NULL, "the pool cannot be mapped to be written to");
    fill(writable + (data - s->pool), slot->bytes, ~slot->published_ns);
    check(intact(data, slot->bytes, ~slot->published_ns), "what was written in place is not there");
    COUNT(written_in_place);
}

static void let_go(party *p, rm_slot *slot) {
    char *data;
    if (slot->block == RM_NO_BLOCK) return;
    data = data_of(p, slot->block, slot->bytes);
    check(intact(data, slot->bytes, slot->published_ns), "a payload changed while it was held");
    if (below(&p->chance, 2)) write_in_place(p, slot, data);
    consumer_drop(p, slot->block);
}

/* The text is read at once; the payload stays. */
static void accept_message(party *p, rm_slot *slot, uint64_t *latest) {
    char *text = slot->text;
    check(slot->published_ns > *latest, "a message came late or twice");
    *latest = slot->published_ns;
    check(intact((char *)slot->shape, sizeof slot->shape, slot->published_ns), "a header is not what was sent");
    if (slot->text_block != RM_NO_BLOCK) text = data_of(p, slot->text_block, rm_slot_text_bytes(slot));
    check(intact(text, rm_slot_text_bytes(slot), TEXT_OF(slot->published_ns)), "a text is not what was sent");
    if (slot->text_block != RM_NO_BLOCK) consumer_drop(p, slot->text_block);
    if (slot->block != RM_NO_BLOCK && below(&p->chance, 2)) {
        char *data = data_of(p, slot->block, slot->bytes);
        check(intact(data, slot->bytes, slot->published_ns), "a payload is not what was sent");
    }
}

static void consume(party *p) {
    int c = p->side - 1, held_count = 0, leaves = c == 0 && (p->round->ending & 1), rc;
    uint64_t latest = 0, enough = below(&p->chance, ROUND_MESSAGES / 2), taken = 0;
    rm_ring *r = &p->at.ring[c];
    rm_segment *producer = &p->at.segment[PRODUCER];
    rm_slot slot, held[MOST_HELD + 1];
    if (processes) ASAN_POISON_MEMORY_REGION(producer->pool, producer->pool_bytes);
    for (;;) {
        int gone = RM_LOAD_ORDERED(&r->peer_gone); /* before the look: what came before it was gone is still read */
        if (leaves && taken >= enough) break;
        rc = rm_peek(r, &slot);
        check(rc != RM_CORRUPTED, "the producer's position or a sequence makes no sense");
        if (rc == RM_CLOSED || (rc == RM_EMPTY && gone)) break;
        if (rc == RM_EMPTY) {
            if (sleep_until(p, rm_has_message, r)) COUNT(slept_for_message);
            continue;
        }
        taken++;
        accept_message(p, &slot, &latest);
        rm_release(r, producer);
        held[held_count++] = slot;
        if (held_count > MOST_HELD || below(&p->chance, 2)) {
            int chosen = (int)below(&p->chance, (uint64_t)held_count);
            for (int i = 0; i < held_count; i++)
                if (held[i].sequence < held[chosen].sequence) {
                    COUNT(released_out_of_order);
                    break;
                }
            let_go(p, &held[chosen]);
            held[chosen] = held[--held_count];
        }
        dawdle(p, PRODUCER);
    }
    if (leaves && taken >= enough && p->round->ending == CONSUMER_VANISHES) {
        COUNT(consumer_gone);
        if (processes) raise(SIGKILL);
    } else {
        if (rc == RM_CLOSED && !(leaves && taken >= enough))
            check(r->position == atomic_load_explicit(&seen->sent[c], memory_order_relaxed), "messages were lost");
        else
            check(leaves || p->round->ending == PRODUCER_VANISHES, "the producer left without closing");
        while (held_count) let_go(p, &held[--held_count]);
        while (rm_peek(r, &slot) == RM_OK) {
            accept_message(p, &slot, &latest);
            let_go(p, &slot);
            rm_release(r, producer);
        }
        dawdle(p, PRODUCER);
        RM_STORE_ORDERED(&r->shared->consumer_closed, 1);
        rm_bell_ring(producer);
        COUNT(closed_by_consumer);
    }
    leave(p, c);
    pthread_join(p->watcher[c], NULL);
}

/* --- rounds ------------------------------------------------------------------------------------------------------- */

static void *run_side(void *arg) {
    party *p = (party *)arg;
    if (processes)
        map_all(&p->at, p->round, p->side);
    else
        p->at = *p->shared;
    p->own = &p->at.segment[p->side];
    p->chance = seed ^ (p->round->number * SIDES + (uint64_t)p->side) << 32;
    for (int c = 0; c < CONSUMERS; c++)
        if (p->side == PRODUCER || p->side == 1 + c) watch_peer(p, c);
    if (p->side == PRODUCER)
        produce(p);
    else
        consume(p);
    return NULL;
}

static void close_links(round_state *round, int but_of) {
    for (int c = 0; c < CONSUMERS; c++)
        for (int end = 0; end < 2; end++)
            if (but_of < 0 || (end == 0 ? but_of != PRODUCER : but_of != 1 + c)) close(round->link[c][end]);
}

static void run_as_threads(round_state *round) {
    static mapping shared;
    static party parties[SIDES];
    pthread_t threads[SIDES];
    map_all(&shared, round, EVERY_SIDE);
    for (int side = 0; side < SIDES; side++) {
        memset(&parties[side], 0, sizeof parties[side]);
        parties[side].round = round, parties[side].shared = &shared, parties[side].side = side;
        check(pthread_create(&threads[side], NULL, run_side, &parties[side]) == 0, "no thread");
    }
    for (int side = 0; side < SIDES; side++) pthread_join(threads[side], NULL);
    unmap_all(&shared);
    close_links(round, -1);
}

static void run_as_processes(round_state *round) {
    static party p;
    pid_t pids[SIDES];
    int failed = 0;
    for (int side = 0; side < SIDES; side++) {
        pids[side] = fork();
        check(pids[side] >= 0, "no process");
        if (pids[side] == 0) {
            /* An address of its own for everything, that no pointer in shared memory would survive. */
            check(mmap(NULL, (size_t)(1 + side) << 21, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED,
                  "no address space");
            close_links(round, side);
            p.round = round, p.side = side;
            run_side(&p);
            _exit(0);
        }
    }
    close_links(round, -1);
    for (int side = 0; side < SIDES; side++) {
        int status, may_die = side == PRODUCER ? round->ending == PRODUCER_VANISHES
                                               : side == 1 && round->ending == CONSUMER_VANISHES;
        check(waitpid(pids[side], &status, 0) == pids[side], "a process is missing");
        failed |= !(status == 0 || (may_die && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
    }
    if (failed) _exit(1); /* who failed has said why */
}

static int report(void) {
    int missing = 0;
#define X(name) printf("%12llu %s\n", (unsigned long long)seen->name, #name);
    COUNTERS(X)
#undef X
#define X(name)                                                                                                  \
    if (!seen->name && !(by_eventfd && &seen->name == &seen->timed_out)) {                                       \
        fprintf(stderr, "stress: nothing was seen of '%s': run it for longer\n", #name);                         \
        missing = 1;                                                                                             \
    }
    COUNTERS(X)
#undef X
    return missing;
}

int main(int argc, char **argv) {
    static round_state round;
    uint64_t limit, started = rm_now_ns();
    char *unit = NULL;
    if (argc != 5 || (strcmp(argv[1], "threads") && strcmp(argv[1], "processes")) ||
        (strcmp(argv[2], "futex") && strcmp(argv[2], "eventfd"))) {
        fprintf(stderr, "usage: stress threads|processes futex|eventfd MESSAGES|SECONDSs SEED\n");
        return 2;
    }
    processes = !strcmp(argv[1], "processes");
    by_eventfd = !strcmp(argv[2], "eventfd");
    limit = strtoull(argv[3], &unit, 10);
    seed = strtoull(argv[4], NULL, 10);
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(seen != MAP_FAILED, "no memory");
    while (*unit == 's' ? rm_now_ns() - started < limit * 1000000000u : seen->messages < limit) {
        round.ending = (enum ending)(round.number % ENDINGS);
        round.first_message = 1 + round.number * ROUND_MESSAGES;
        open_round(&round);
        if (processes)
            run_as_processes(&round);
        else
            run_as_threads(&round);
        close_round(&round);
        round.number++;
    }
    return report();
}
