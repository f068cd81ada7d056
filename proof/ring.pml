/* One ring, its two ends and their doorbells: publish, take, sleep, wake, close, die. Read beside _ring_ops.h.
 *
 * Every run must come to its end: a sleeper that nobody wakes is an invalid end state, and there are no cycles.
 */
#define PRODUCER 0 /* a processor, and its process' doorbell */
#define CONSUMER 1
#define SERVICE 2 /* the one that tells a process of its peer's death: its own few stores are not delayed */
#define PROCESSORS 3
#define BELLS 2

#define TAIL 0
#define PRODUCER_CLOSED 1
#define PRODUCER_WAITING 2
#define HEAD 3
#define CONSUMER_CLOSED 4
#define ARMED 5 /* one for each doorbell */
#define SLOT 7
#define WORDS (SLOT + CAPACITY)

#ifndef CAPACITY
#define CAPACITY 1
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif

#include "memory.pml"

#define RM_OK 0
#define RM_FULL 1
#define RM_CLOSED 2
#define RM_EMPTY 3

/* How a process waits. */
#define FUTEX 0
#define ASYNCIO 1
#define POLL 2 /* Subscriber.fileno() */

#ifdef TAIL_RELEASE
#define TAIL_ORDER RELEASE
#else
#ifdef TAIL_RELAXED
#define TAIL_ORDER RELAXED
#else
#define TAIL_ORDER ORDERED
#endif
#endif

#ifdef HEAD_RELEASE
#define HEAD_ORDER RELEASE
#else
#define HEAD_ORDER ORDERED
#endif

bool peer_gone[2]; /* in each side's private memory */
byte taken; /* for an assertion alone */

#ifdef DEATH
bool dead; /* takes no further step; what it stored arrives */
#if DEATH == PRODUCER
#define UNLESS_KILLED_PRODUCER unless { dead }
#define UNLESS_KILLED_CONSUMER
#else
#define UNLESS_KILLED_PRODUCER
#define UNLESS_KILLED_CONSUMER unless { dead }
#endif
#else
#define UNLESS_KILLED_PRODUCER
#define UNLESS_KILLED_CONSUMER
#endif

/* --- producer -------------------------------------------------------------------------------------------------- */

inline rm_claim() {
    LOAD_ACQUIRE(seen, memory[CONSUMER_CLOSED]); /* SYNC closed */
    if
    :: seen -> status = RM_CLOSED
    :: else ->
        status = RM_OK;
        if
        :: position - peer_seen >= CAPACITY ->
            LOAD_ACQUIRE(peer_seen, memory[HEAD]); /* SYNC head-release */
            assert(peer_seen <= position);
            if
            :: position - peer_seen >= CAPACITY -> status = RM_FULL
            :: else
            fi
        :: else
        fi
    fi;
    seen = 0
}

inline rm_publish() {
#ifdef RING_EARLY
    rm_bell_ring(CONSUMER);
#endif
    position++;
    STORE(TAIL_ORDER, TAIL, position); /* SYNC tail-publish, sleep-data */
#ifndef RING_EARLY
    rm_bell_ring(CONSUMER);
#endif
}

inline rm_has_room() {
    /* SYNC sleep-room, peer-gone */
    LOAD_ORDERED(seen, memory[HEAD]);
    if
    :: position - seen < CAPACITY -> ready = true
    :: else ->
        LOAD_ORDERED(ready, memory[CONSUMER_CLOSED]);
        if
        :: !ready -> LOAD_ORDERED(ready, peer_gone[me])
        :: else
        fi
    fi;
    seen = 0
}

inline rm_has_message() {
    /* SYNC sleep-data, peer-gone */
    LOAD_ORDERED(seen, memory[TAIL]);
    if
    :: seen != position -> ready = true
    :: else ->
        LOAD_ORDERED(ready, memory[PRODUCER_CLOSED]);
        if
        :: !ready -> LOAD_ORDERED(ready, peer_gone[me])
        :: else
        fi
    fi;
    seen = 0
}

/* What rm_wait is given. */
inline rm_ready() {
    if
    :: me == PRODUCER -> rm_has_room()
    :: me == CONSUMER -> rm_has_message()
    fi
}

inline wait_room() {
#ifndef NO_WANT_ROOM
    STORE(ORDERED, PRODUCER_WAITING, 1); /* SYNC sleep-room */
#endif
    if
    :: how == FUTEX -> rm_wait()
    :: how == ASYNCIO -> doorbell_wait()
    fi;
    STORE(ORDERED, PRODUCER_WAITING, 0)
}

/* Producer._reclaim: what the consumer left unread is the producer's again, to the message. */
inline reclaim() {
    LOAD_ACQUIRE(seen, memory[HEAD]); /* SYNC closed */
    assert(seen == taken);
    seen = 0
}

proctype producer(byte how) {
    byte position, peer_seen, seen, sequence, status;
    bool ready;
    byte me = PRODUCER;
    {
        do
        :: position < MESSAGES ->
            if
            :: peer_gone[me] -> break
            :: else
            fi;
            rm_claim();
            if
            :: status == RM_OK ->
                STORE(RELAXED, SLOT + position % CAPACITY, position + 1);
                rm_publish()
            :: status == RM_FULL -> wait_room()
            :: status == RM_CLOSED ->
                reclaim();
                break
            fi
        :: break
        od;
        STORE(ORDERED, PRODUCER_CLOSED, 1); /* SYNC closed, sleep-data */
        rm_bell_ring(CONSUMER)
    } UNLESS_KILLED_PRODUCER
}

/* --- consumer -------------------------------------------------------------------------------------------------- */

inline rm_peek() {
    status = RM_OK;
    if
    :: peer_seen == position ->
#ifndef CLOSED_LATE
        LOAD_ACQUIRE(seen, memory[PRODUCER_CLOSED]); /* SYNC closed */
#endif
        LOAD_ACQUIRE(peer_seen, memory[TAIL]); /* SYNC tail-publish */
#ifdef CLOSED_LATE
        LOAD_ACQUIRE(seen, memory[PRODUCER_CLOSED]);
#endif
        assert(peer_seen - position <= CAPACITY);
        if
        :: peer_seen == position && seen -> status = RM_CLOSED
        :: peer_seen == position && !seen -> status = RM_EMPTY
        :: else
        fi;
        seen = 0
    :: else
    fi
}

/* The copy of the slot, then the slot's release. */
inline take() {
#ifdef HEAD_EARLY
    STORE(HEAD_ORDER, HEAD, position + 1);
#endif
    assert(memory[SLOT + position % CAPACITY] == position + 1); /* the next, whole, not yet overwritten */
    d_step {
        position++;
        taken = position
    };
#ifndef HEAD_EARLY
    STORE(HEAD_ORDER, HEAD, position); /* SYNC head-release, sleep-room */
#endif
    LOAD_ORDERED(seen, memory[PRODUCER_WAITING]); /* SYNC sleep-room */
    if
    :: seen -> rm_bell_ring(PRODUCER)
    :: else
    fi;
    seen = 0
}

/* Consumer.close. */
inline close() {
#ifdef CLOSED_EARLY
    STORE(ORDERED, CONSUMER_CLOSED, 1);
#endif
    do
    ::
        rm_peek();
        if
        :: status == RM_OK -> take()
        :: else -> break
        fi
    od;
#ifndef CLOSED_EARLY
    STORE(ORDERED, CONSUMER_CLOSED, 1); /* SYNC closed, sleep-room */
#endif
    rm_bell_ring(PRODUCER)
}

proctype consumer(byte how) {
    byte position, peer_seen, seen, sequence, status;
    bool ready, gone;
    byte me = CONSUMER;
    {
        do
        ::
            /* Subscriber.try_receive: a death is looked at before the stream. */
            gone = peer_gone[me];
            rm_peek();
            if
            :: status == RM_OK -> take()
            :: status == RM_CLOSED ->
                assert(position == memory[TAIL]);
                break
            :: status == RM_EMPTY && gone ->
                assert(position == memory[TAIL]);
                break
            :: status == RM_EMPTY && !gone && how == FUTEX -> rm_wait()
            :: status == RM_EMPTY && !gone && how == ASYNCIO -> doorbell_wait()
            :: status == RM_EMPTY && !gone && how == POLL ->
                eventfd[me] = false;
                STORE(ARM_ORDER, ARMED + me, 1); /* SYNC sleep-data */
#ifdef POLL_ACQUIRE
                /* rm_peek's two looks. */
                LOAD_ACQUIRE(ready, memory[PRODUCER_CLOSED]);
                if
                :: !ready -> ready = (memory[TAIL] != position)
                :: else
                fi;
                if
                :: !ready -> ready = peer_gone[me]
                :: else
                fi;
#else
                rm_has_message();
#endif
                if
                :: ready
                :: else -> eventfd[me]
                fi;
                ready = false
            fi
        :: break
        od;
        close()
    } UNLESS_KILLED_CONSUMER
}

/* --- death ----------------------------------------------------------------------------------------------------- */

/* DEATH is killed, anywhere; the kernel tells the other's service, which says so and rings. */
#ifdef DEATH
proctype death() {
    byte seen;
    byte me = SERVICE;
    dead = true;
    cpu[DEATH].pending == 0;
#ifndef GONE_LATE
    peer_gone[1 - DEATH] = true; /* SYNC peer-gone */
#endif
#ifndef GONE_UNARMED
    /* The side that died may have taken the arming with it, between that and the write. */
    BELL_ARMED(1 - DEATH) = 1;
#endif
    rm_bell_ring(1 - DEATH);
#ifdef GONE_LATE
    peer_gone[1 - DEATH] = true;
#endif
}
#endif

init {
    atomic {
        run store_buffer(PRODUCER);
        run store_buffer(CONSUMER);
#ifdef DEATH
        run death();
#endif
        if
        :: run producer(FUTEX)
        :: run producer(ASYNCIO)
        fi;
        if
        :: run consumer(FUTEX)
        :: run consumer(ASYNCIO)
        :: run consumer(POLL)
        fi
    }
}
