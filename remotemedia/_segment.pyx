# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: binding=False, auto_pickle=False
"""Segments: the memory that processes share, with its doorbell, its counters and its payload pool, and the waits on it.

The lower half of the ring: it knows nothing of messages. ``_ring.pyx`` puts them in; ``_segment.pxd`` maps the classes.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset, strcmp
from posix.unistd cimport close as _close_fd

import os as _os

from remotemedia.errors import ChannelCorruptedError, ChannelError, PayloadError

# Spins this long with the GIL: a message of a peer that is awake comes sooner than it can be given away and taken back.
cdef enum:
    SPIN_WITH_GIL_NS = 2000

# The owner takes returned blocks back by the batch, since looking costs a cache line that the releasers write to; but
# at once when they are large, so that memory still in cache is handed out again.
cdef enum:
    COLLECT_EVERY = 32
    COLLECT_AT_ONCE_BYTES = 65536

# Free pool memory beyond what is kept goes back to the kernel. What is needed again within this time is kept from then
# on, so that a steady stream pays for its page faults once.
cdef enum:
    KEEP_AT_FIRST_BYTES = 4194304
    NEEDED_AGAIN_NS = 1000000000

# Counts forks: what was mapped before a fork belongs to the parent, and the child must not release its blocks.
cdef uint32_t _generation = 0


cdef void _in_forked_child() noexcept nogil:
    global _generation
    _generation += 1


pthread_atfork(NULL, NULL, _in_forked_child)


cdef bint spin_until(rm_ready ready, void *arg, rm_spinner *spinner, uint64_t most_ns, uint64_t deadline_ns) noexcept:
    """Spins for as long as pays, ``most_ns`` at most; whether what was waited for came."""
    cdef uint64_t allowed_ns, start_ns, until_ns, now_ns
    cdef bint hit
    if ready(arg):
        return True
    allowed_ns = rm_spin_allowed(spinner, most_ns)
    if not allowed_ns:
        return False
    start_ns = now_ns = rm_now_ns()
    until_ns = start_ns + allowed_ns
    if deadline_ns and deadline_ns < until_ns:
        until_ns = deadline_ns
    hit = rm_spin(ready, arg, &now_ns, min(until_ns, start_ns + <uint64_t>SPIN_WITH_GIL_NS))
    if not hit and now_ns < until_ns:
        with nogil:
            hit = rm_spin(ready, arg, &now_ns, until_ns)
    rm_spin_learn(spinner, hit, now_ns - start_ns)
    return hit


cdef int wait_until(rm_segment *own, rm_ready ready, void *arg, rm_spinner *spinner, uint64_t spin_ns,
                    uint64_t deadline_ns) except -1:
    """Spins, then sleeps, the GIL released: RM_OK or RM_TIMEOUT. Signal handlers run and may raise."""
    cdef int rc
    if spin_until(ready, arg, spinner, spin_ns, deadline_ns):
        return RM_OK
    while True:
        # Before the sleep too: a signal that came while spinning would otherwise be seen after the next wake only.
        PyErr_CheckSignals()
        with nogil:
            rc = rm_wait(own, ready, arg, deadline_ns)
        if rc != RM_INTERRUPTED:
            return rc


cdef int raise_unusable(str what, const char *wrong, int code, int memfd) except -1:
    """Closes the memfd and raises OSError when the system refused to map it, ChannelCorruptedError otherwise."""
    _os.close(memfd)
    if strcmp(wrong, RM_NOT_MAPPED) == 0:  # by its text: each of the two extensions has its own
        raise OSError(code, f"a {what} cannot be mapped: {_os.strerror(code)}")
    raise ChannelCorruptedError(f"not a usable {what}: {wrong.decode()}")


def now_ns() -> int:
    """CLOCK_MONOTONIC in nanoseconds, the clock of ``published_ns``."""
    return rm_now_ns()


def create_segment(uint64_t pool_bytes, uint32_t pool_id) -> int:
    """The memfd of a new segment with a pool of at least ``pool_bytes``; the caller owns it. OSError on failure."""
    cdef int fd = rm_segment_create(pool_bytes, pool_id)
    if fd < 0:
        raise OSError(-fd, f"cannot create {pool_bytes} bytes of shared memory: {_os.strerror(-fd)}")
    return fd


def start_deathwatch(int orchestrator_pidfd, int control_fd) -> None:
    """Starts the thread that kills this process group when either descriptor says its peer is gone."""
    cdef int rc = rm_deathwatch_start(orchestrator_pidfd, control_fd)
    if rc:
        raise OSError(rc, f"cannot start the death watch: {_os.strerror(rc)}")


@cython.final
cdef class Segment:
    """A mapped segment: a doorbell, counters, and a payload pool.

    ``Segment(memfd, eventfd, owner)`` takes both descriptors over, whatever happens: the memfd is closed once mapped,
    the eventfd by ``close()`` or with the object. The mapping stays until the last view into it is gone. ``owner``
    makes this the one process that sleeps on the doorbell, allocates from the pool and may write to it: elsewhere its
    payloads are mapped read-only.

    Raises ChannelCorruptedError when the memfd does not hold a segment.
    """

    def __cinit__(self):
        memset(&self.spinner, 0, sizeof(self.spinner))
        memset(&self.data_spinner, 0, sizeof(self.data_spinner))
        memset(&self.s, 0, sizeof(self.s))
        memset(&self.pool, 0, sizeof(self.pool))
        self.s.eventfd = -1
        self.keep_bytes = KEEP_AT_FIRST_BYTES
        self.trimmed_ns = 0
        self.mapped = False
        self.generation = _generation

    def __init__(self, int memfd, int eventfd, bint owner):
        cdef const char *wrong
        self.s.eventfd = eventfd
        self.owner = owner
        wrong = rm_segment_map(&self.s, memfd, owner)
        if wrong != NULL:
            raise_unusable("segment", wrong, errno, memfd)
        _os.close(memfd)
        self.mapped = True
        if not owner:
            rm_read_only_add(&self.s)
        if owner and rm_pool_init(&self.pool, self.s.pool_bytes, self.s.block_count) < 0:
            raise MemoryError("no memory for the payload pool's bookkeeping")

    def __dealloc__(self):
        if self.s.eventfd >= 0:
            _close_fd(self.s.eventfd)  # not os.close: a view may outlive this module's names, when the interpreter ends
        if self.pool.extents != NULL:
            rm_pool_free_all(&self.pool)
        if self.mapped:
            if not self.owner:
                rm_read_only_remove(&self.s)
            rm_segment_unmap(&self.s)

    def close(self) -> None:
        """Closes the eventfd; the mapping goes with the last view."""
        cdef int fd = self.s.eventfd
        self.s.eventfd = -1
        if fd >= 0:
            _os.close(fd)

    @property
    def pool_id(self) -> int:
        return self.s.pool_id

    @property
    def pool_bytes(self) -> int:
        """Size of the payload pool."""
        return self.s.pool_bytes

    @property
    def idle_bytes(self) -> int:
        """Owner: about how much free memory of the pool the kernel still holds pages for."""
        self.collect()
        return self.pool.idle_units * RM_UNIT

    def held(self) -> dict:
        """Owner: what was published and is not back: how many ``blocks`` and ``bytes``; of the one that is out for
        longest, its ``oldest_bytes`` and since when (``oldest_ns``, on the clock of ``now_ns``; 0 when none is)."""
        cdef rm_extent *e
        cdef rm_extent *oldest = NULL
        cdef uint32_t index, blocks = 0
        cdef uint64_t units = 0
        self.collect()
        for index in range(self.pool.fresh):
            e = &self.pool.extents[index]
            if e.state == RM_USED and e.published_ns:
                blocks += 1
                units += e.units
                if oldest == NULL or e.published_ns < oldest.published_ns:
                    oldest = e
        return {
            "blocks": blocks,
            "bytes": units * RM_UNIT,
            "oldest_bytes": 0 if oldest == NULL else oldest.units * RM_UNIT,
            "oldest_ns": 0 if oldest == NULL else oldest.published_ns,
        }

    @property
    def used_bytes(self) -> int:
        """Owner: bytes of the pool in use now, after taking back what was returned."""
        self.collect()
        return self.pool.used_units * RM_UNIT

    def fileno(self) -> int:
        """The doorbell's eventfd; ValueError when closed."""
        if self.s.eventfd < 0:
            raise ValueError("the segment is closed")
        return self.s.eventfd

    cdef inline bint inherited(self) noexcept:
        """Whether it was mapped before a fork: then it is the parent's, and not this process's to release."""
        return self.generation != _generation

    cdef int check_usable(self) except -1:
        if self.inherited():
            raise ChannelError("this channel was opened before a fork and belongs to the parent process")

    # --- doorbell ---

    def wake(self) -> None:
        """Rings this doorbell: wakes the owner if it sleeps."""
        if not self.inherited():
            rm_bell_ring(&self.s)

    def arm(self) -> None:
        """Owner: asks for a write to the eventfd at the next ring. Look again after this, then wait."""
        if not self.inherited():
            rm_bell_arm(&self.s)

    def disarm(self) -> None:
        """Owner: takes ``arm`` back; the eventfd may have been written already."""
        if not self.inherited():
            rm_bell_disarm(&self.s)

    def drain(self) -> None:
        """Owner: makes the eventfd unreadable again. Does not block."""
        try:
            _os.read(self.s.eventfd, 8)
        except BlockingIOError:
            pass

    # --- faults ---

    def note_faults(self) -> None:
        """Owner, in a node's process: from now on a crash by a write to a received payload is noted in this segment,
        which must live as long as the process. Runs before the SIGSEGV handler that is already installed."""
        cdef int rc = rm_note_faults(&self.s)
        if rc:
            raise OSError(rc, f"cannot watch for SIGSEGV: {_os.strerror(rc)}")

    @property
    def wrote_to_payload(self) -> bool:
        """Whether a write to a received payload has killed the owner's process, or is about to."""
        return load_u32(&self.s.shared.wrote_to_payload) != 0

    # --- interruption ---

    @property
    def epoch(self) -> int:
        """Counts interruptions; consumers that follow this segment skip what these have cut off."""
        return load_u32_acquire(&self.s.shared.epoch)  # SYNC epoch

    def cut(self, uint64_t nodes=0, bint queues=False) -> int:
        """Owner: a new epoch, in which everything of the ones before is over, or what descends from ``nodes``, a bit
        each. ``queues``: these nodes are also to drop what waits for them. Returns the epoch.
        """
        return rm_cut(self.s.shared, nodes, queues)

    def was_cut(self, uint32_t epoch, uint64_t lineage) -> bool:
        """Whether what was of no cut in ``epoch`` has been cut off since, if it descends from these nodes."""
        return rm_was_cut(self.s.shared, epoch, lineage)

    def last_cut(self, uint64_t lineage) -> int:
        """The epoch of the last cut of what descends from these nodes."""
        return rm_last_cut(self.s.shared, lineage)

    def queue_cut(self, uint64_t node) -> int:
        """The epoch in which this node, given as its bit, last was to drop what waited for it."""
        cdef int n = 0
        while n < RM_LINEAGE_NODES:
            if node >> n & 1:
                return load_u32(&self.s.shared.queue_cuts[n])
            n += 1
        return load_u32(&self.s.shared.epoch) - RM_OLDEST_EPOCH

    def place(self, uint64_t bit, uint64_t ancestry) -> None:
        """Owner: says which node this process is (0: none that can be cut), and all that it descends from, itself
        among them.

        What the node sends as the result of a message has the message's lineage and the node's bit; what it sends of
        its own, with an ``origin`` of its own, may be made of anything: it has all of ``ancestry``.
        """
        self.bit = bit
        self.ancestry = ancestry

    @property
    def current(self) -> int:
        """The lineage of what is sent as a result of the message taken last."""
        return self.lineage | self.bit

    def descend_from(self, Descent descent) -> None:
        """Owner: what is sent from now on is made of this, as if its message had been taken last."""
        self.end_turn()
        self.taken_lineage = self.lineage = descent.lineage
        self.since_ns = descent.since_ns

    def descend_from_all(self) -> None:
        """Owner: what is sent from now on may be made of anything, until the next message is taken."""
        self.taken_lineage = self.lineage = self.ancestry
        self.since_ns = 0

    # --- turns ---

    def count_turns(self, dict pools) -> None:
        """Owner: the segments in which turns of its messages may be counted, by pool id; its own is one of them."""
        self.pools = pools

    cdef Segment home(self, uint32_t name):
        """Where a turn is counted; None for one that cannot be counted here: shared memory may say anything."""
        if self.inherited():
            return None
        if rm_turn_pool(name) == self.s.pool_id:
            return self
        return self.pools.get(rm_turn_pool(name)) if self.pools is not None else None

    cdef void share_turn(self, uint32_t name) noexcept:
        cdef Segment home = self.home(name)
        if home is not None:
            rm_turn_share(rm_turn_at(home.s.shared, name))

    cdef void end_share(self, uint32_t name, int depth) noexcept:
        """Gives a share up. The last one ends the turn: its parents lose a share, or the session hears of it."""
        cdef uint32_t parents[RM_TURN_PARENTS]
        cdef Segment home = self.home(name)
        cdef int i
        if home is None or depth > RM_TURN_DEPTH or not rm_turn_end_share(rm_turn_at(home.s.shared, name)):
            return
        if home.s.pool_id == 0:
            home.wake()
            return
        rm_turn_free(rm_turn_at(home.s.shared, name), parents)
        for i in range(RM_TURN_PARENTS):
            if parents[i]:
                self.end_share(parents[i], depth + 1)

    cdef void take_turn(self, uint32_t name) noexcept:
        """A message was taken, and its share with it."""
        if self.turn or self.made_of:
            self.put_down()
        self.turn = self.made_of = name

    cdef void put_down(self) noexcept:
        cdef uint32_t turn = self.turn, made_of = self.made_of
        self.turn = self.made_of = 0
        if made_of and made_of != turn:
            self.end_share(made_of, 0)
        if turn:
            self.end_share(turn, 0)

    def end_turn(self) -> None:
        """Owner: all is done with the message taken last. ``count_processed`` says so, too."""
        if self.turn or self.made_of:
            self.put_down()

    def gather(self, list held) -> None:
        """Owner: what is sent as a result of the message taken last is made of these Descents, too."""
        cdef uint32_t before = self.made_of
        cdef Descent descent
        cdef list names = [self.turn] if self.turn else []
        self.lineage = self.taken_lineage
        for descent in held:
            self.lineage |= descent.lineage
            if descent.turn and descent.turn not in names:
                names.append(descent.turn)
        if len(names) == 1 and names[0] != self.turn:
            self.share_turn(names[0])
            self.made_of = names[0]
        else:
            # Where more turns are under way than can be counted, it is of its own message's alone.
            self.made_of = (self.joined(names) if len(names) > 1 else 0) or self.turn
        if before and before != self.turn:
            self.end_share(before, 0)

    cdef uint32_t joined(self, list names) except? 0xffffffff:
        """One turn for two or more, with a share for the caller; 0 where there is no room for it."""
        cdef uint32_t parents[RM_TURN_PARENTS]
        cdef uint32_t number, rest = 0
        cdef int i, count = min(<int>len(names), <int>RM_TURN_PARENTS)
        if len(names) > RM_TURN_PARENTS:
            count -= 1
            rest = self.joined(names[count:])
            if not rest:
                return 0
        for i in range(count):
            parents[i] = names[i]
            self.share_turn(parents[i])
        if rest:
            parents[count] = rest
            count += 1
        number = rm_turn_begin(self.s.shared, &self.last_turn, parents, count)
        if number:
            return rm_turn_name(self.s.pool_id, number)
        for i in range(count):
            self.end_share(parents[i], 0)
        return 0

    def descent(self, uint32_t epoch, bint gathered=False) -> Descent:
        """Owner: what the message taken last is made of, with a share of its turn; with what was ``gathered``, too.
        It was found whole in ``epoch``."""
        cdef Descent descent = Descent.__new__(Descent)
        descent.segment = self
        descent.epoch = epoch
        descent.turn = self.made_of if gathered else self.turn
        descent.lineage = (self.lineage if gathered else self.taken_lineage) | self.bit
        descent.since_ns = self.since_ns
        if descent.turn:
            self.share_turn(descent.turn)
        return descent

    def roots(self, uint32_t name) -> list:
        """The numbers of the session's turns that this one descends from, in order; of one that has a share."""
        cdef set found = set()
        if name:
            self.find_roots(name, found)
        return sorted([one for one in found if rm_turn_pool(one) == 0])

    cdef int find_roots(self, uint32_t name, set found) except -1:
        cdef Segment home = self.home(name)
        cdef uint32_t parent
        cdef int i
        if home is None or name in found:
            return 0
        found.add(name)
        if home.s.pool_id == 0:
            return 0
        for i in range(RM_TURN_PARENTS):
            parent = load_u32(&rm_turn_at(home.s.shared, name).parents[i])
            if parent:
                self.find_roots(parent, found)
        return 0

    def fail_turn(self) -> list:
        """Owner: the call for the message taken last raised. The turns that this is noted for, as ``roots``."""
        numbers = self.roots(self.turn)
        for number in numbers:
            rm_turn_fail(rm_turn_at(self.home(number).s.shared, number))
        return numbers

    def begin_turn(self, uint32_t number) -> None:
        """The orchestrator's: from now on this number, below ``TURNS``, is a turn, of which the caller has a share."""
        cdef rm_turn *turn = rm_turn_at(self.s.shared, number)
        store_u32(&turn.failures, 0)
        store_u32(&turn.shares, 1)

    def end_input(self, uint32_t number) -> None:
        """The orchestrator's: gives up the share that ``begin_turn`` gave."""
        self.end_share(number, 0)

    def turn_is_over(self, uint32_t number) -> bool:
        """The orchestrator's: whether everything is done that descends from this turn's input."""
        return rm_turn_is_over(rm_turn_at(self.s.shared, number))

    def turn_failures(self, uint32_t number) -> int:
        """The orchestrator's: how many calls for this turn raised."""
        return load_u32(&rm_turn_at(self.s.shared, number).failures)

    def of_turn(self, uint32_t number) -> Descent:
        """The orchestrator's: what a message is made of that is an input of this turn."""
        cdef Descent descent = Descent.__new__(Descent)
        descent.turn = number
        return descent

    # --- counters ---

    def begin_processing(self) -> int:
        """Owner: marks the node as at work from now on; returns now. Ended by ``count_processed`` or
        ``count_busy``."""
        cdef uint64_t now = rm_now_ns()
        store_u64(&self.s.shared.node.processing_since_ns, now)
        return now

    def count_processed(self, uint64_t published_ns, uint64_t started_ns, bint failed) -> None:
        """Owner: one message done: its busy time from ``started_ns``, its latency from ``published_ns``, to now."""
        cdef rm_node_counters *n = &self.s.shared.node
        cdef uint64_t now = rm_now_ns(), latency = now - published_ns if now > published_ns else 0
        store_u64(&n.processing_since_ns, 0)
        rm_count(&n.received, 1)
        rm_count(&n.busy_ns, now - started_ns if now > started_ns else 0)
        rm_count(&n.latency_sum_ns, latency)
        if latency > load_u64(&n.latency_max_ns):
            store_u64(&n.latency_max_ns, latency)
        rm_count(&n.latency[rm_latency_bucket(latency)], 1)
        if failed:
            rm_count(&n.failed, 1)
        if self.turn or self.made_of:
            self.put_down()

    def count_busy(self, uint64_t started_ns) -> None:
        """Owner: time spent outside ``process()`` calls (``finish()``)."""
        store_u64(&self.s.shared.node.processing_since_ns, 0)
        rm_count(&self.s.shared.node.busy_ns, rm_now_ns() - started_ns)

    cdef inline void count_first_output(self, uint64_t *since_ns, uint64_t now_ns) noexcept:
        """The first output is sent ``now_ns`` that is made of a message of ``since_ns``."""
        cdef rm_first_outputs *first = &self.s.shared.first_outputs
        cdef uint64_t took_ns = now_ns - since_ns[0] if now_ns > since_ns[0] else 0
        since_ns[0] = 0
        rm_count(&first.sum_ns, took_ns)
        rm_count(&first.buckets[rm_latency_bucket(took_ns)], 1)
        if took_ns > load_u64(&first.max_ns):
            store_u64(&first.max_ns, took_ns)

    def first_output(self, uint64_t since_ns) -> None:
        """The orchestrator's: the first output of a turn is here, whose input was sent then."""
        self.count_first_output(&since_ns, rm_now_ns())

    def count_published(self) -> None:
        rm_count(&self.s.shared.node.published, 1)

    def count_dropped(self) -> None:
        rm_count(&self.s.shared.node.dropped, 1)

    def count_unrouted(self) -> None:
        rm_count(&self.s.shared.node.unrouted, 1)

    def counters(self) -> dict:
        """A snapshot of the node counters; ``latency`` is the list of buckets (``rm_latency_bucket``)."""
        cdef rm_node_counters *n = &self.s.shared.node
        cdef rm_first_outputs *first = &self.s.shared.first_outputs
        return {
            "received": load_u64(&n.received),
            "published": load_u64(&n.published),
            "failed": load_u64(&n.failed),
            "dropped": load_u64(&n.dropped),
            "unrouted": load_u64(&n.unrouted),
            "busy_ns": load_u64(&n.busy_ns),
            "processing_since_ns": load_u64(&n.processing_since_ns),
            "pool_used_bytes": load_u64(&n.pool_used_bytes),
            "latency_sum_ns": load_u64(&n.latency_sum_ns),
            "latency_max_ns": load_u64(&n.latency_max_ns),
            "latency": [load_u64(&n.latency[b]) for b in range(RM_LATENCY_BUCKETS)],
            "first_output_sum_ns": load_u64(&first.sum_ns),
            "first_output_max_ns": load_u64(&first.max_ns),
            "first_output": [load_u64(&first.buckets[b]) for b in range(RM_LATENCY_BUCKETS)],
        }

    # --- pool ---

    cpdef int collect(self) except -1:
        """Owner: takes back the blocks that were returned; how many. ChannelCorruptedError for a broken list."""
        cdef uint32_t link, index
        cdef int count = 0
        if self.inherited():
            return 0
        link = rm_blocks_take_returned(&self.s)
        self.uncollected = 0
        while link:
            index = link - 1
            if index >= self.s.block_count:
                raise ChannelCorruptedError(f"returned block {index} of {self.s.block_count} does not exist")
            link = load_u32(&self.s.blocks[index].next_returned)
            # A block that is not in use ends the walk, so a list bent into a circle ends too.
            if load_u32(&self.s.blocks[index].references) != 0 or rm_pool_release(&self.pool, index) < 0:
                raise ChannelCorruptedError(f"block {index} was returned but is not free to take")
            count += 1
        if count:
            self.note_used()
            self.freed_memory()
        return count

    cdef inline void note_used(self) noexcept:
        store_u64(&self.s.shared.node.pool_used_bytes, self.pool.used_units * RM_UNIT)

    cdef void freed_memory(self) noexcept:
        """Owner: the pool has more room. Wakes waiters, and returns to the kernel what is more than is kept."""
        rm_memory_freed(&self.s)
        if self.pool.idle_units * RM_UNIT > self.keep_bytes:
            self.trim()

    cdef void trim(self) noexcept:
        if rm_pool_trim(&self.pool, self.s.pool) < 0:
            self.keep_bytes = self.s.pool_bytes  # it cannot; do not ask again
        self.trimmed_ns = rm_now_ns()

    cdef void grow(self) noexcept:
        """Memory is about to be touched that the kernel has no page for: if it was given back just now, too early."""
        if self.trimmed_ns and rm_now_ns() - self.trimmed_ns < NEEDED_AGAIN_NS:
            self.keep_bytes *= 2
        self.trimmed_ns = 0

    def begin_rest(self) -> None:
        """Owner: is about to sleep; ended by ``end_rest``.

        Takes returned blocks back, and free memory beyond what is kept goes to the kernel. While much is still out, the
        doorbell rings when it comes back.
        """
        if self.pool.used_units == 0:
            return
        self.collect()
        if self.pool.used_units * RM_UNIT <= self.keep_bytes or self.resting:
            return
        self.resting = True
        self.begin_memory_wait()
        self.collect()  # SYNC sleep-memory: what came back since the first look rang nothing

    def end_rest(self) -> None:
        """Owner: has woken. Without a ``begin_rest`` before, nothing."""
        if self.resting:
            self.resting = False
            self.end_memory_wait()

    cdef uint32_t allocate(self, uint64_t bytes) except? 0xffffffff:
        """A block with one reference, or RM_NO_BLOCK while there is no room; PayloadError when there never will be."""
        cdef uint32_t index
        cdef uint64_t idle_units
        cdef rm_extent *e
        if bytes > self.s.pool_bytes:
            raise PayloadError(
                f"a payload of {bytes} bytes can never fit the pool of {self.s.pool_bytes} bytes (shm_segment_size)"
            )
        self.uncollected += 1
        if bytes >= COLLECT_AT_ONCE_BYTES or self.uncollected >= COLLECT_EVERY:
            self.collect()
        idle_units = self.pool.idle_units
        index = rm_pool_alloc(&self.pool, bytes)
        if index == RM_NONE:
            self.collect()
            idle_units = self.pool.idle_units
            index = rm_pool_alloc(&self.pool, bytes)
            if index == RM_NONE:
                return RM_NO_BLOCK
        e = &self.pool.extents[index]
        if self.trimmed_ns and idle_units - self.pool.idle_units < e.units:
            self.grow()
        store_u64(&self.s.blocks[index].offset, e.start * RM_UNIT)
        store_u64(&self.s.blocks[index].bytes, e.units * RM_UNIT)
        store_u32(&self.s.blocks[index].references, 1)
        self.note_used()
        return index

    cdef void put_back(self, uint32_t index) noexcept:
        """Owner: undoes ``allocate``. The block was never visible, so no waiter is woken."""
        store_u32(&self.s.blocks[index].references, 0)
        rm_pool_release(&self.pool, index)
        self.note_used()

    cdef char *own_data(self, uint32_t index) noexcept:
        """Owner: where a block of its own lies, by its private books: peers can write to the block table."""
        return self.s.pool + self.pool.extents[index].start * RM_UNIT

    cdef void drop(self, uint32_t index) noexcept:
        """Gives one reference to a block up."""
        if self.inherited():
            return
        if rm_block_drop(&self.s, index):
            if self.owner:
                rm_pool_release(&self.pool, index)
                self.note_used()
                self.freed_memory()
            else:
                rm_block_return(&self.s, index)

    def loan(self, uint64_t bytes):
        """Owner: a writable Block of ``bytes`` bytes (at least 1), or None while the pool has no room."""
        cdef uint32_t index
        self.check_usable()
        index = self.allocate(bytes if bytes else 1)
        if index == RM_NO_BLOCK:
            return None
        return new_block(self, index, self.own_data(index), bytes, True)

    def try_loan(self, object shape, object dtype, object form):
        """Owner: a writable C-contiguous array of ``shape`` and ``dtype`` in the pool, or None while it has no room.

        Its contents are undefined. PayloadError when it can never fit, or when ``form`` says its dtype cannot travel.
        """
        cdef npy_intp dims[RM_MAX_NDIM]
        cdef int ndim
        cdef uint64_t bytes_
        cdef uint32_t index
        cdef object descr
        cdef Block block
        self.check_usable()
        rm_need_numpy()
        ndim = _dimensions(shape, dims)
        descr = rm_array_dtype(dtype)
        if descr is not self.loan_dtype:
            self.loan_dtype = None
            form.encode_dtype(descr)
            if descr.names is None:  # a structured dtype is mutable: the same object may mean another
                self.loan_dtype = descr
        bytes_ = rm_shape_bytes(<uint64_t *>dims, ndim, <uint64_t>rm_dtype_bytes(descr))
        if bytes_ > self.s.pool_bytes:
            raise PayloadError(
                f"an array of {'too many' if bytes_ == RM_IMPOSSIBLE_SHAPE else bytes_} bytes can never fit "
                f"the pool of {self.s.pool_bytes} bytes (shm_segment_size)"
            )
        index = self.allocate(bytes_ if bytes_ else 1)
        if index == RM_NO_BLOCK:
            return None
        block = new_block(self, index, self.own_data(index), bytes_, True)
        return new_array(block, descr, ndim, dims, block.data, True)

    # Waits are counted, because one waiter's giving up must not silence the bell for the others.

    cpdef void begin_memory_wait(self) noexcept:
        """Owner: asks to be rung when a block comes back, until as many calls of ``end_memory_wait``."""
        self.memory_waiters += 1
        self._announce_memory_waiters()

    cpdef void end_memory_wait(self) noexcept:
        self.memory_waiters -= 1
        self._announce_memory_waiters()

    cdef inline void _announce_memory_waiters(self) noexcept:
        if not self.inherited():  # a forked child leaves its copies of the parent's waits, not the parent's
            rm_want_memory(&self.s, self.memory_waiters)

    @property
    def freed(self) -> int:
        """Owner: counts what went back to the pool. Read before an attempt to allocate, it tells a wait what is new."""
        return load_u32(&self.s.freed)

    def has_memory(self, uint32_t freed) -> bool:
        """Owner: whether a block came back since ``freed`` was read. After ``begin_memory_wait``, the last look."""
        cdef rm_memory_wait wait
        wait.segment = &self.s
        wait.ring = NULL
        wait.freed = freed
        return rm_has_memory(&wait)

    def wait_memory(self, uint64_t spin_ns, uint64_t deadline_ns, uint32_t freed) -> int:
        """Owner: blocks (GIL released) until a block came back since ``freed``: OK or TIMEOUT.

        Signal handlers run and may raise.
        """
        return self.wait_memory_or_end(NULL, spin_ns, deadline_ns, freed)

    cdef int wait_memory_or_end(self, rm_ring *ring, uint64_t spin_ns, uint64_t deadline_ns,
                                uint32_t freed) except -1:
        """``wait_memory``, which also ends when the consumer of ``ring`` closes or is gone."""
        cdef rm_memory_wait wait
        self.check_usable()
        wait.segment = &self.s
        wait.ring = ring
        wait.freed = freed
        self.begin_memory_wait()
        try:
            return wait_until(&self.s, rm_has_memory, &wait, &self.spinner, spin_ns, deadline_ns)
        finally:
            self.end_memory_wait()


@cython.final
@cython.no_gc_clear
cdef class Descent:
    """What data is made of that a node keeps past the call that it came with.

    ``epoch`` and ``lineage`` are as a message's. Of ``turn`` it has a share until ``release``, or its end. ``holds`` is
    its keeper's to count.
    """

    @property
    def released(self) -> bool:
        """Whether its share was given up, or it never had one: it is not of this process's node."""
        return self.segment is None

    def release(self) -> None:
        """Gives the share up. May be repeated."""
        cdef Segment segment = self.segment
        self.segment = None
        if segment is not None and self.turn:
            segment.end_share(self.turn, 0)

    def __dealloc__(self):
        if self.segment is not None and self.turn:
            self.segment.end_share(self.turn, 0)


@cython.final
@cython.freelist(64)
@cython.no_gc_clear
cdef class Block:
    """A reference to a payload block; the owner of every view made from it. Gone with its last view."""

    def __dealloc__(self):
        if self.segment is not None:
            self.segment.drop(self.index)

    def __len__(self):
        return self.bytes

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE and not self.writable:
            raise BufferError("this payload is shared and read-only; as_numpy(writable=True) gives one to write to")
        PyBuffer_FillInfo(view, self, self.data, <Py_ssize_t>self.bytes, not self.writable, flags)

    def __releasebuffer__(self, Py_buffer *view):
        pass

    @property
    def references(self) -> int:
        """How many processes' handles and messages hold this block now."""
        return load_u32(&self.segment.s.blocks[self.index].references)

    def again(self) -> Block:
        """One more handle on the block: as long as there are two, neither makes its memory writable."""
        cdef Block other = new_block(self.segment, self.index, self.data, self.bytes, False)
        rm_block_hold(&self.segment.s, self.index)
        return other

    def try_writable(self, object array):
        """A writable array over the same memory as ``array`` when nobody else holds this block, else None.

        Its address differs from ``array``'s, whose mapping is read-only. Also None when the process has no address
        space for a second one.
        """
        cdef rm_segment *s = &self.segment.s
        cdef char *data
        rm_need_numpy()
        if not rm_block_held_alone(s, self.index) or not rm_array_contiguous(array):
            return None
        data = rm_pool_home(s, <char *>rm_array_data(array))
        if not lies_in(self, data, <uint64_t>rm_array_nbytes(array)) or rm_pool_writable(s) == NULL:
            return None
        data = s.writable + (data - s.pool)
        return new_array(self, <object>rm_array_descr(array), rm_array_ndim(array), rm_array_dims(array), data, True)


cdef int _dimensions(object shape, npy_intp *dims) except -1:
    """Fills ``dims`` from an int or a sequence of ints; how many."""
    cdef int i, ndim
    if isinstance(shape, int):
        dims[0] = shape
        ndim = 1
    else:
        sizes = tuple(shape)
        ndim = <int>len(sizes)
        if ndim > RM_MAX_NDIM:
            raise PayloadError(f"an array may have at most {RM_MAX_NDIM} dimensions, not {ndim}")
        for i in range(ndim):
            dims[i] = sizes[i]
    for i in range(ndim):
        if dims[i] < 0:
            raise ValueError(f"negative dimensions are not allowed: {shape}")
    return ndim
