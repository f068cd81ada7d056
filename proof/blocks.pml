/* A payload pool: references, the return list, the wait for memory. Read beside _ring_ops.h and _ring.pyx.
 *
 * The owner sends messages through more readers than it has blocks for. A second thread of its process keeps an array
 * over each block, drops it when it likes, and may look at used_bytes meanwhile; the GIL is theirs in turn. A reader
 * that is a block's only holder may write to it in place before it passes it on. What carries a
 * message from process to process is in ring.pml; here it is a channel.
 */
#define OWNER 0 /* a processor, and its process' doorbell */
#define THREAD 1
#define READER 2
#define LAST_READER 3
#define PROCESSORS 4
#define BELLS 1

#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif

#define ARMED 0
#define MEMORY_WANTED 1
#define FREED 2
#define NEXT_RETURNED 3
#define DATA (NEXT_RETURNED + BLOCKS)
#define WORDS (DATA + BLOCKS)

#include "memory.pml"

#define FUTEX 0
#define ASYNCIO 1

byte references[BLOCKS];
byte returned; /* index + 1 */

/* Private to the owner's process, under the GIL. */
bool gil;
bool used[BLOCKS];

chan kept = [MESSAGES] of { byte, byte };
chan sent = [BLOCKS] of { byte, byte };
chan passed_on = [BLOCKS] of { byte, byte };

inline take_gil() {
    d_step {
        !gil -> gil = true
    }
}

inline give_gil() {
    d_step {
        SETTLED -> gil = false
    }
}

/* --- giving back ----------------------------------------------------------------------------------------------- */

inline rm_block_drop(id) {
    if
    :: references[id] == 1 -> /* rm_block_held_alone, SYNC block-return; in two steps, as in the code */
        references[id] = 0;
        last = true
    :: else ->
        d_step {
            SETTLED -> /* SYNC block-return */
            references[id]--;
            last = references[id] == 0
        }
    fi
}

inline rm_block_return(id) {
#ifdef WANTED_EARLY
    LOAD_ORDERED(wanted, memory[MEMORY_WANTED]);
#endif
    head = returned;
    do
    ::
        STORE(RELAXED, NEXT_RETURNED + id, head);
        d_step {
#ifndef PUSH_RELAXED
            SETTLED -> /* SYNC block-return, sleep-memory */
#endif
            last = returned == head;
            if
            :: last -> returned = id + 1
            :: else -> head = returned
            fi
        };
        if
        :: last -> break
        :: else
        fi
    od;
#ifndef WANTED_EARLY
    LOAD_ORDERED(wanted, memory[MEMORY_WANTED]); /* SYNC sleep-memory */
#endif
    if
    :: wanted -> rm_bell_ring(OWNER)
    :: else
    fi;
    last = false;
    wanted = false;
    head = 0
}

/* --- the owner's process --------------------------------------------------------------------------------------- */

inline rm_memory_freed() {
    d_step {
        SETTLED -> memory[FREED]++ /* SYNC sleep-memory */
    };
    LOAD_ORDERED(seen, memory[MEMORY_WANTED]); /* SYNC sleep-memory */
    if
    :: seen -> rm_bell_ring(OWNER)
    :: else
    fi
}

/* Segment.collect. */
inline collect() {
    if
    :: returned ->
        d_step {
            SETTLED -> /* SYNC block-return */
            link = returned;
            returned = 0
        };
        do
        :: link ->
            id = link - 1;
            link = memory[NEXT_RETURNED + id];
            assert(references[id] == 0 && used[id]);
            used[id] = false
        :: else -> break
        od;
        id = 0;
#ifndef COLLECT_SILENT
        rm_memory_freed()
#endif
    :: else
    fi
}

inline rm_has_memory() {
    /* SYNC sleep-memory */
    LOAD_ORDERED(ready, returned != 0);
    if
    :: !ready -> LOAD_ORDERED(ready, memory[FREED] != freed)
    :: else
    fi
}

inline rm_ready() {
    rm_has_memory()
}

/* `freed` was read before the attempt that failed. */
inline wait_memory() {
    STORE(ORDERED, MEMORY_WANTED, 1); /* SYNC sleep-memory */
    give_gil();
    if
    :: how == FUTEX -> rm_wait()
    :: how == ASYNCIO -> doorbell_wait()
    fi;
    take_gil();
    STORE(ORDERED, MEMORY_WANTED, 0)
}

/* Room for one block, or for as many as there are. */
inline allocate(wanted_blocks) {
    do
    ::
        freed = memory[FREED];
        collect();
        block = 0;
        free = 0;
        d_step {
            do
            :: id < BLOCKS ->
                if
                :: !used[id] ->
                    free++;
                    block = id
                :: else
                fi;
                id++
            :: else -> break
            od;
            id = 0
        };
        if
        :: free >= wanted_blocks -> break
        :: else
        fi;
        give_gil(); /* between two steps of Python's */
        take_gil();
        wait_memory()
    od;
    freed = 0;
    free = 0
}

proctype owner(byte how) {
    byte message, block, id, link, free, freed, sequence, seen;
    bool ready;
    byte me = OWNER;
    take_gil();
    do
    :: message < MESSAGES ->
        message++;
        allocate(1);
        used[block] = true;
        references[block] = 2; /* the message's, and the thread's */
        STORE(RELAXED, DATA + block, message);
        kept!block, message;
        atomic {
            SETTLED -> sent!block, message
        }
    :: else -> break
    od;
    allocate(BLOCKS); /* nothing was lost */
    give_gil()
}

proctype thread() {
    byte block, message, id, link, seen;
    bool last, looked;
    byte me = THREAD;
end:
    do
    :: kept?block, message ->
        take_gil();
        assert(memory[DATA + block] == message); /* nobody has written in place */
        rm_block_drop(block);
        if
        :: last ->
            used[block] = false;
#ifndef DROP_SILENT
            rm_memory_freed()
#endif
        :: else
        fi;
        last = false;
        block = 0;
        message = 0;
        give_gil()
    :: !looked ->
        looked = true;
        take_gil();
        collect();
        give_gil()
    od
}

/* --- the readers ----------------------------------------------------------------------------------------------- */

/* Block.try_writable, and the write; or not. */
inline try_writable() {
    if
#ifndef WRITE_SHARED
    :: references[block] == 1 -> /* rm_block_held_alone, SYNC block-return */
#else
    :: true ->
#endif
        message = message + MESSAGES;
        STORE(RELAXED, DATA + block, message)
    :: true
    fi
}

proctype reader(byte me; chan from) {
    byte block, message, head, seen;
    bool last, wanted;
end:
    do
    :: from?block, message ->
        assert(memory[DATA + block] == message);
        if
        :: me == READER ->
            try_writable();
#ifndef HOLD_LATE
            references[block]++;
#endif
            atomic {
                SETTLED -> passed_on!block, message
            };
#ifdef HOLD_LATE
            references[block]++
#endif
        :: true
        fi;
#ifdef DROP_EARLY
        rm_block_drop(block);
        assert(memory[DATA + block] == message);
#else
        /* Nobody has written there meanwhile, unless a store of its own is still on the way. */
        assert(!SETTLED || memory[DATA + block] == message);
        rm_block_drop(block);
#endif
        if
        :: last -> rm_block_return(block)
        :: else
        fi;
        block = 0;
        message = 0
    od
}

init {
    atomic {
        run store_buffer(OWNER);
        run store_buffer(THREAD);
        run store_buffer(READER);
        run store_buffer(LAST_READER);
        run thread();
        run reader(READER, sent);
        run reader(LAST_READER, passed_on);
        if
        :: run owner(FUTEX)
        :: run owner(ASYNCIO)
        fi
    }
}
