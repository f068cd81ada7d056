/* The machine below the models: weak memory and the doorbell, step by step as in _ring_ops.h.
 *
 * Spin by itself runs every store at once. Here a store waits in its processor's buffer, and reaches memory
 *   RELAXED  (plain data too) at any time, overtaken by and overtaking stores to other words;
 *   RELEASE  after every store before it;
 *   ORDERED  likewise, and no ordered load of its processor comes before it: any other load may.
 * That is C11's seq_cst as AArch64 has it (stlr, ldar, ldapr); x86's is a special case. A read-modify-write reaches
 * memory at once, after every store before it. Loads happen where they stand.
 */
#define RELAXED 0
#define RELEASE 1
#define ORDERED 2

#ifdef ARM_RELEASE
#define ARM_ORDER RELEASE
#else
#define ARM_ORDER ORDERED
#endif

#define DEPTH 2 /* stores a processor delays at a time */

typedef rm_store {
    byte word, value, order
}
typedef rm_processor {
    byte pending, ordered;
    rm_store buffer[DEPTH]
}
rm_processor cpu[PROCESSORS]; /* `me` is the one a process runs on */
byte memory[WORDS];

inline STORE(how, which, what) {
    d_step {
        cpu[me].pending < DEPTH ->
        cpu[me].buffer[cpu[me].pending].word = which;
        cpu[me].buffer[cpu[me].pending].value = what;
        cpu[me].buffer[cpu[me].pending].order = how;
        cpu[me].pending++;
        if
        :: how == ORDERED -> cpu[me].ordered++
        :: else
        fi
    }
}

inline LOAD_ACQUIRE(into, what) {
    into = what
}

inline LOAD_ORDERED(into, what) {
    d_step {
        !cpu[me].ordered -> into = what
    }
}

/* Of an atomic read-modify-write, which is a store too. */
#define SETTLED (cpu[me].pending == 0)

proctype store_buffer(byte me) {
end:
    do
    :: d_step {
        cpu[me].pending > 0 ->
        memory[cpu[me].buffer[0].word] = cpu[me].buffer[0].value;
        if
        :: cpu[me].buffer[0].order == ORDERED -> cpu[me].ordered--
        :: else
        fi;
        cpu[me].pending--;
        cpu[me].buffer[0].word = cpu[me].buffer[1].word;
        cpu[me].buffer[0].value = cpu[me].buffer[1].value;
        cpu[me].buffer[0].order = cpu[me].buffer[1].order;
        cpu[me].buffer[1].word = 0;
        cpu[me].buffer[1].value = 0;
        cpu[me].buffer[1].order = 0
    }
    :: d_step {
        cpu[me].pending > 1 && cpu[me].buffer[1].order == RELAXED && cpu[me].buffer[0].word != cpu[me].buffer[1].word ->
        memory[cpu[me].buffer[1].word] = cpu[me].buffer[1].value;
        cpu[me].pending--;
        cpu[me].buffer[1].word = 0;
        cpu[me].buffer[1].value = 0;
        cpu[me].buffer[1].order = 0
    }
    od
}

/* --- doorbell -------------------------------------------------------------------------------------------------- */

byte bell_sleepers[BELLS];
byte bell_sequence[BELLS];
bool eventfd[BELLS]; /* readable */
bool asleep[BELLS];  /* in the futex */
#define BELL_ARMED(bell) memory[ARMED + (bell)]

inline rm_bell_ring(bell) {
    LOAD_ORDERED(seen, bell_sleepers[bell]); /* SYNC sleep-data, sleep-room, sleep-memory */
    if
    :: seen ->
        d_step {
            SETTLED -> bell_sequence[bell]++ /* SYNC bell-sequence */
        };
        asleep[bell] = false
    :: else
    fi;
    LOAD_ORDERED(seen, BELL_ARMED(bell));
    if
    :: seen ->
        d_step {
            SETTLED ->
            seen = BELL_ARMED(bell);
            BELL_ARMED(bell) = 0
        };
        if
        :: seen -> eventfd[bell] = true
        :: else
        fi
    :: else
    fi;
    seen = 0
}

#ifdef NO_LAST_LOOK
#define LAST_LOOK if :: me == NO_LAST_LOOK :: else -> rm_ready() fi
#else
#define LAST_LOOK rm_ready()
#endif

inline futex_wait(sequence) {
    d_step {
        if
        :: bell_sequence[me] == sequence -> asleep[me] = true
        :: else
        fi
    };
    !asleep[me]
}

/* rm_wait, without signals and deadlines: what they end would hide a lost wake-up. */
inline rm_wait() {
    do
    ::
#ifndef SEQUENCE_LATE
        LOAD_ACQUIRE(sequence, bell_sequence[me]); /* SYNC bell-sequence */
#endif
        d_step {
            SETTLED -> bell_sleepers[me]++ /* SYNC sleep-data, sleep-room, sleep-memory */
        };
        LAST_LOOK;
#ifdef SEQUENCE_LATE
        LOAD_ACQUIRE(sequence, bell_sequence[me]);
#endif
        if
        :: ready
        :: else -> futex_wait(sequence)
        fi;
        sequence = 0;
        d_step {
            SETTLED -> bell_sleepers[me]--
        };
        rm_ready();
        if
        :: ready -> break
        :: else
        fi
    od;
    ready = false
}

/* Doorbell.wait: asyncio's, on the eventfd. */
inline doorbell_wait() {
#ifndef ARM_LATE
    STORE(ARM_ORDER, ARMED + me, 1); /* SYNC sleep-data, sleep-room, sleep-memory */
#endif
    LAST_LOOK;
#ifdef ARM_LATE
    STORE(ARM_ORDER, ARMED + me, 1);
#endif
    if
    :: ready -> STORE(ORDERED, ARMED + me, 0)
    :: else ->
        d_step {
            eventfd[me] -> eventfd[me] = false
        }
    fi;
    ready = false
}
