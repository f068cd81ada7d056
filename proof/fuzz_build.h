/* Put in front of the extension's source in the fuzzing build alone; the product knows nothing of it.
 *
 *   guard pages   a read beside a shared mapping would find whatever lies there; here it ends the process
 *   coverage      gcc calls __sanitizer_cov_trace_pc on every branch; the fuzzer wants counters
 *   scribbler     writes to shared memory while the GIL holder reads it, as another process would
 */
#ifndef REMOTEMEDIA_FUZZ_BUILD_H
#define REMOTEMEDIA_FUZZ_BUILD_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define FUZZ_PLAIN __attribute__((no_sanitize_coverage, no_sanitize("address", "undefined")))
#define FUZZ_LOCAL __attribute__((visibility("hidden")))

/* --- guard pages: as wide as a 32-bit mistake times 8 --- */

#define FUZZ_GUARD ((size_t)1 << 35)

static inline void *fuzz_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    char *base =
        (char *)mmap(at, bytes + 2 * FUZZ_GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *got;
    if (base == MAP_FAILED) return MAP_FAILED;
    got = mmap(base + FUZZ_GUARD, bytes, protection, flags | MAP_FIXED, fd, offset);
    if (got == MAP_FAILED) munmap(base, bytes + 2 * FUZZ_GUARD);
    return got;
}

static inline int fuzz_munmap(void *at, size_t bytes) {
    return munmap((char *)at - FUZZ_GUARD, bytes + 2 * FUZZ_GUARD);
}

/* Only ever a second mapping of `at`, of nothing and at a new place. */
static inline void *fuzz_mremap(void *at, size_t nothing, size_t bytes, int flags) {
    size_t reserved = bytes + 2 * FUZZ_GUARD;
    char *base = (char *)mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *got;
    if (base == MAP_FAILED) return MAP_FAILED;
    got = mremap(at, nothing, bytes, flags | MREMAP_FIXED, base + FUZZ_GUARD);
    if (got == MAP_FAILED) munmap(base, reserved);
    return got;
}

#define mmap fuzz_mmap
#define munmap fuzz_munmap
#define mremap fuzz_mremap

/* --- coverage --- */

static uint8_t fuzz_counters[1 << 14];

FUZZ_LOCAL void __sanitizer_cov_trace_pc(void);
FUZZ_LOCAL void __sanitizer_cov_trace_cmpf(float a, float b);
FUZZ_LOCAL void __sanitizer_cov_trace_cmpd(double a, double b);

FUZZ_PLAIN void __sanitizer_cov_trace_pc(void) {
    fuzz_counters[((uintptr_t)__builtin_return_address(0) >> 1) % sizeof fuzz_counters]++;
}
/* gcc calls these two, and the fuzzer's library has them not. */
FUZZ_PLAIN void __sanitizer_cov_trace_cmpf(float a, float b) { (void)a, (void)b; }
FUZZ_PLAIN void __sanitizer_cov_trace_cmpd(double a, double b) { (void)a, (void)b; }

__attribute__((constructor)) FUZZ_PLAIN static void fuzz_register(void) {
    void (*add)(uint8_t *, uint8_t *);
    *(void **)&add = dlsym(RTLD_DEFAULT, "__sanitizer_cov_8bit_counters_init");
    if (add) add(fuzz_counters, fuzz_counters + sizeof fuzz_counters);
}

/* --- scribbler: ctypes calls it without the GIL, so it runs in the middle of whatever the other thread does --- */

typedef struct {
    volatile uint32_t *word;
    uint32_t value;
} fuzz_word;

__attribute__((visibility("default"))) FUZZ_PLAIN void fuzz_scribble(fuzz_word *words, int count, volatile int *stop) {
    while (!*stop)
        for (int i = 0; i < count; i++) {
            uint32_t was = *words[i].word;
            *words[i].word = words[i].value;
            /* Right again for a while, or no check would ever be passed. */
            for (volatile int pause = 0; pause < 20; pause++) continue;
            *words[i].word = was;
            for (volatile int pause = 0; pause < 20; pause++) continue;
        }
}

#endif
