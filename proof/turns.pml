/* Turns: shares that are taken before others are given up, and a session that sleeps until there are none. Read beside
 * _turns.h and _segment.pyx.
 *
 * A session sends the messages of one turn after another. A node makes two of each: one descends from the turn itself,
 * the other from a turn of the node's own, which has the session's for a parent, if its only number is free. The last
 * node does something with each. What carries a message from process to process is in ring.pml; here it is a channel.
 */
#define SESSION 0 /* a processor, and its process' doorbell */
#define NODE 1
#define LAST_NODE 2
#define PROCESSORS 3
#define BELLS 1

#ifndef MESSAGES
#define MESSAGES 2
#endif
#ifndef TURNS
#define TURNS 2
#endif

#define ARMED 0
#define SHARES 1 /* of the session's turn */
#define JOINED_SHARES 2
#define PARENT 3 /* of the node's own turn; 0: its number is free */
#define DONE 4
#define WORDS 5

#include "memory.pml"

chan to_node = [MESSAGES] of { byte };
chan to_last = [2 * MESSAGES] of { bool, byte };

/* Relaxed: the caller has a share already. */
inline rm_turn_share() {
    memory[SHARES]++
}

/* Segment.end_share, of the session's turn. */
inline end_share() {
    d_step {
#ifndef END_RELAXED
        SETTLED -> /* SYNC turn-end */
#endif
        memory[SHARES]--;
        last = memory[SHARES] == 0
    };
    if
#ifndef END_SILENT
    :: last -> rm_bell_ring(SESSION)
#endif
    :: else
    fi;
    last = false
}

/* Segment.end_share, of the node's turn, and rm_turn_free. */
inline end_joined_share() {
    d_step {
        SETTLED -> /* SYNC turn-end */
        memory[JOINED_SHARES]--;
        last = memory[JOINED_SHARES] == 0
    };
    if
    :: last ->
        last = false;
#ifdef FREE_EARLY
        STORE(RELEASE, PARENT, 0);
#endif
        parent = memory[PARENT];
#ifndef FREE_EARLY
        STORE(RELEASE, PARENT, 0); /* SYNC turn-free */
#endif
        assert(parent == turn);
        parent = 0;
        end_share()
    :: else
    fi
}

/* rm_turn_is_over */
inline rm_ready() {
    LOAD_ORDERED(ready, memory[SHARES] == 0) /* SYNC turn-end */
}

proctype session(byte how) {
    byte turn, sent, sequence, seen;
    bool ready, last;
    byte me = SESSION;
    do
    :: turn < TURNS ->
        turn++;
        STORE(RELAXED, SHARES, 1); /* its own, while the input is not complete */
        do
        :: sent < MESSAGES ->
            sent++;
            atomic {
                SETTLED -> rm_turn_share()
            };
            atomic {
                SETTLED -> to_node!turn
            }
        :: else -> break
        od;
        sent = 0;
        end_share();
        do
        ::
            rm_ready();
            if
            :: ready -> break
            :: else
            fi;
            if
            :: how == 0 -> rm_wait()
            :: how == 1 -> doorbell_wait()
            fi
        od;
        ready = false;
        assert(memory[DONE] == turn * MESSAGES * 2) /* all work, and the session sees what it did */
    :: else -> break
    od
}

proctype node() {
    byte turn, parent, seen;
    bool last;
    byte me = NODE;
end:
    do
    :: to_node?turn ->
#ifndef SHARE_LATE
        rm_turn_share();
#endif
        atomic {
            SETTLED -> to_last!false, turn
        };
        /* rm_turn_begin */
        LOAD_ACQUIRE(parent, memory[PARENT]); /* SYNC turn-free */
        if
        :: parent == 0 ->
            rm_turn_share(); /* the parent's, which the new turn has */
            STORE(RELAXED, JOINED_SHARES, 2); /* the message's, and the node's own */
            STORE(RELAXED, PARENT, turn);
            atomic {
                SETTLED -> to_last!true, turn
            };
            end_joined_share()
        :: else ->
            parent = 0;
            rm_turn_share();
            atomic {
                SETTLED -> to_last!false, turn
            }
        fi;
        end_share();
#ifdef SHARE_LATE
        rm_turn_share();
#endif
        turn = 0
    od
}

proctype last_node() {
    byte turn, parent, done, seen;
    bool last, joined;
    byte me = LAST_NODE;
end:
    do
    :: to_last?joined, turn ->
        done++;
        STORE(RELAXED, DONE, done);
        if
        :: joined -> end_joined_share()
        :: else -> end_share()
        fi;
        joined = false;
        turn = 0
    od
}

init {
    atomic {
        run store_buffer(SESSION);
        run store_buffer(NODE);
        run store_buffer(LAST_NODE);
        run node();
        run last_node();
        if
        :: run session(0)
        :: run session(1)
        fi
    }
}
