/* The allocator against a shadow map: every 64-byte unit knows whose it is. For AddressSanitizer and UBSan.
 *
 *     pool STEPS SEED
 *
 * Random sizes and releases on a pool with few units and fewer descriptors. After each step the books must tile the
 * memory, no two extents in use overlap, neighbours that are free are one; "no room" must be true.
 */
#include "_pool.h"
#include <stdio.h>
#include <string.h>

enum { UNITS = 300, DESCRIPTORS = 24 };

static unsigned char owner[UNITS]; /* 0 = nobody, else id + 1 */

static void check(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "pool: %s\n", what);
    exit(1);
}

static uint64_t next_random(uint64_t *state) { /* xorshift */
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static int longest_run(void) {
    int longest = 0, run = 0;
    for (int unit = 0; unit < UNITS; unit++) {
        run = owner[unit] ? 0 : run + 1;
        if (run > longest) longest = run;
    }
    return longest;
}

/* Walks the extents in memory order; they must say what the shadow says. */
static void check_books(const rm_pool *pool) {
    uint64_t at = 0, used = 0;
    uint32_t before = RM_NONE;
    int was_free = 0;
    for (uint32_t id = 0; id < pool->count; id++)
        if (pool->extents[id].state != RM_SPARE && pool->extents[id].start == 0) before = id;
    check(before != RM_NONE, "nothing starts at 0");
    for (uint32_t id = before; id != RM_NONE; id = pool->extents[id].after) {
        const rm_extent *e = &pool->extents[id];
        check(e->start == at && e->units > 0, "extents leave a gap, or overlap");
        check(!(was_free && e->state == RM_FREE), "two free neighbours were not merged");
        for (uint64_t unit = at; unit < at + e->units; unit++)
            check(owner[unit] == (e->state == RM_USED ? id + 1 : 0), "a unit is not whose the books say");
        used += e->state == RM_USED ? e->units : 0;
        was_free = e->state == RM_FREE;
        at += e->units;
    }
    check(at == UNITS && pool->used_units == used, "the sums are wrong");
}

int main(int argc, char **argv) {
    uint64_t steps, state, full = 0, out_of_descriptors = 0, refused = 0;
    rm_pool pool;
    if (argc != 3) {
        fprintf(stderr, "usage: pool STEPS SEED\n");
        return 2;
    }
    steps = strtoull(argv[1], NULL, 10);
    state = strtoull(argv[2], NULL, 10) + 1; /* never 0: it would stay so */
    check(rm_pool_init(&pool, UNITS * RM_UNIT + RM_UNIT / 2, DESCRIPTORS) == 0, "no memory");
    while (steps--) {
        /* Stretches that fill and stretches that empty. */
        if (next_random(&state) % 8 < ((steps >> 8) & 1 ? 5 : 3)) {
            uint64_t most = (steps >> 10) & 1 ? UNITS : 12, bytes = 1 + next_random(&state) % (most * RM_UNIT);
            int units = (int)((bytes + RM_UNIT - 1) / RM_UNIT);
            int room = longest_run() >= units, spare = rm_has_spare(&pool);
            uint32_t id = rm_pool_alloc(&pool, bytes);
            if (id == RM_NONE) {
                check(!room || !spare, "there was room, and none was found");
                full += !room;
                out_of_descriptors += room;
                continue;
            }
            check(id < DESCRIPTORS && pool.extents[id].units == (uint64_t)units, "an extent has another size");
            for (int unit = 0; unit < units; unit++) {
                unsigned char *whose = &owner[pool.extents[id].start + (uint64_t)unit];
                check(*whose == 0, "memory in use was handed out");
                *whose = (unsigned char)(id + 1);
            }
        } else {
            uint32_t id = (uint32_t)(next_random(&state) % (DESCRIPTORS + 1));
            int used = id < DESCRIPTORS && memchr(owner, (int)id + 1, UNITS) != NULL;
            check(rm_pool_release(&pool, id) == (used ? 0 : -1), "a release was judged wrongly");
            refused += !used;
            for (int unit = 0; used && unit < UNITS; unit++)
                if (owner[unit] == id + 1) owner[unit] = 0;
        }
        check_books(&pool);
    }
    rm_pool_free_all(&pool);
    check(full && out_of_descriptors && refused, "not every state was seen: run it for longer");
    printf("%12llu full\n%12llu out of descriptors\n%12llu refused\n", (unsigned long long)full,
           (unsigned long long)out_of_descriptors, (unsigned long long)refused);
    return 0;
}
