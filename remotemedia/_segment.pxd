"""The classes of ``_segment.pyx`` on a screen each. ``_ring_c.pxd`` has the C they use."""

cimport cython
from cpython.ref cimport Py_INCREF

from remotemedia._ring_c cimport *


# Waits with the GIL released.
cdef bint spin_until(rm_ready ready, void *arg, rm_spinner *spinner, uint64_t most_ns, uint64_t deadline_ns) noexcept
cdef int wait_until(rm_segment *own, rm_ready ready, void *arg, rm_spinner *spinner, uint64_t spin_ns,
                    uint64_t deadline_ns) except -1
cdef int raise_unusable(str what, const char *wrong, int code, int memfd) except -1


@cython.final
cdef class Segment:
    cdef rm_segment s
    cdef bint mapped
    cdef readonly bint owner
    cdef uint32_t generation  # of this process, when it was mapped
    cdef inline bint inherited(self) noexcept
    cdef int check_usable(self) except -1

    # Of the messages that its node sends: see ``place``.
    cdef readonly uint64_t bit, ancestry, lineage

    # Turns: see _turns.h. ``turn`` is of the message taken last, ``made_of`` of what is sent as its result.
    cdef dict pools  # the segments that count turns, by pool id
    cdef readonly uint32_t turn, made_of
    cdef uint64_t taken_lineage  # of the message alone
    cdef uint32_t last_turn
    cdef Segment home(self, uint32_t name)
    cdef void share_turn(self, uint32_t name) noexcept
    cdef void end_share(self, uint32_t name, int depth) noexcept
    cdef void take_turn(self, uint32_t name) noexcept
    cdef void put_down(self) noexcept
    cdef uint32_t joined(self, list names) except? 0xffffffff
    cdef int find_roots(self, uint32_t name, set found) except -1

    # Since when the message taken last waits for its first output; 0 once it is there.
    cdef uint64_t since_ns
    cdef inline void count_first_output(self, uint64_t *since_ns, uint64_t now_ns) noexcept

    # The owner's waits.
    cdef rm_spinner spinner, data_spinner
    cdef uint32_t memory_waiters
    cdef bint resting
    cpdef void begin_memory_wait(self) noexcept
    cpdef void end_memory_wait(self) noexcept
    cdef inline void _announce_memory_waiters(self) noexcept
    cdef int wait_memory_or_end(self, rm_ring *ring, uint64_t spin_ns, uint64_t deadline_ns, uint32_t freed) except -1

    # The owner's pool, by its private books.
    cdef rm_pool pool
    cdef uint32_t uncollected  # blocks allocated since ``collect``
    cdef uint64_t keep_bytes, trimmed_ns
    cdef object loan_dtype  # the last one that was found fit to travel
    cpdef int collect(self) except -1
    cdef inline void note_used(self) noexcept
    cdef void freed_memory(self) noexcept
    cdef void trim(self) noexcept
    cdef void grow(self) noexcept
    cdef uint32_t allocate(self, uint64_t bytes) except? 0xffffffff
    cdef void put_back(self, uint32_t index) noexcept
    cdef char *own_data(self, uint32_t index) noexcept

    cdef void drop(self, uint32_t index) noexcept  # everybody's


# What data is made of that a node keeps past the call that it came with.
@cython.final
cdef class Descent:
    cdef Segment segment  # None: given up
    cdef readonly uint32_t epoch, turn
    cdef readonly uint64_t lineage
    cdef uint64_t since_ns  # as a segment's
    cdef public int holds


@cython.final
cdef class Block:
    cdef Segment segment  # None: the reference is not this object's any more
    cdef uint32_t index
    cdef char *data
    cdef uint64_t bytes
    cdef readonly bint writable


cdef inline uint32_t epoch_now(Segment cuts) noexcept:
    return load_u32_acquire(&cuts.s.shared.epoch) if cuts is not None else 0  # SYNC epoch


cdef inline bint is_past(Segment cuts, uint32_t now, uint32_t epoch, uint64_t lineage) noexcept:
    """Whether an interruption up to ``now`` has cut off what was of no cut in ``epoch``."""
    return cuts is not None and rm_is_before(epoch, now) and rm_was_cut(cuts.s.shared, epoch, lineage)


cdef inline Block new_block(Segment segment, uint32_t index, char *data, uint64_t bytes_, bint writable):
    """Takes one reference over."""
    cdef Block block = Block.__new__(Block)
    block.segment = segment
    block.index = index
    block.data = data
    block.bytes = bytes_
    block.writable = writable
    return block


cdef inline bint lies_in(Block block, const char *data, uint64_t bytes_) noexcept:
    """``data`` is an address of the first mapping."""
    return data >= block.data and data + bytes_ <= block.data + block.bytes


cdef inline object new_array(Block block, object descr, int ndim, npy_intp *shape, void *data, bint writable):
    """An array over the block's memory, and its holder."""
    cdef object out
    Py_INCREF(descr)  # stolen
    out = rm_array_new(descr, ndim, shape, data, NPY_ARRAY_CARRAY if writable else NPY_ARRAY_CARRAY_RO)
    Py_INCREF(block)  # stolen
    rm_array_set_base(out, block)
    return out
