# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: binding=False, auto_pickle=False
"""The shared-memory ring: messages put into slots and payload blocks, and taken out again.

This is the layer below ``channel.py``: it turns message objects into bytes and back by a form that it is given, and
knows nothing of nodes or media. ``_segment.pyx`` has the memory that payloads lie in. ``_ring_abi.h`` has the layout,
``_ring_ops.h`` the protocol, ``_message.h`` what a slot says, ``_pool.h`` the allocator, ``_ring_c.pxd`` what is used
of them here; ``_ring.pxd`` maps the classes. numpy's C API is loaded with the first array, not at import.

Thread safety: every call holds the GIL except inside a wait or a large copy; a producer or consumer that is used
by a second thread meanwhile raises ChannelError instead of mixing up messages.
"""

cimport cython
from cpython.buffer cimport PyBuffer_Release, PyBUF_SIMPLE, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.long cimport PyLong_CheckExact
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

import os as _os
from operator import index as _index

from remotemedia import _segment
from remotemedia.errors import ChannelCorruptedError, ChannelError, PayloadError

# Users see one module. As globals: a cimported class cannot be assigned to its own name.
globals().update({
    name: getattr(_segment, name)
    for name in ("Block", "Descent", "Segment", "create_segment", "now_ns", "start_deathwatch")
})

ABI_VERSION = RM_ABI_VERSION
OK = RM_OK
FULL = RM_FULL
NO_MEMORY = RM_NO_MEMORY
CLOSED = RM_CLOSED
TIMEOUT = RM_TIMEOUT
STAGED = STAGED_NOT_PUBLISHED
LATENCY_BUCKETS = RM_LATENCY_BUCKETS
TURNS = RM_TURNS
# For tests alone, as are Segment.loan, Segment.idle_bytes and Block.references.
EMPTY = RM_EMPTY
INLINE_TEXT_BYTES = RM_INLINE_TEXT
LINEAGE_NODES = RM_LINEAGE_NODES
MAX_NDIM = RM_MAX_NDIM

# Below this a copy is over before the GIL could be given away and taken back.
cdef enum:
    COPY_WITH_GIL_BYTES = 65536

# What ``put`` may return beside the values of rm_status.
cdef enum:
    STAGED_NOT_PUBLISHED = 64


def create_ring(uint32_t capacity) -> int:
    """The memfd of a new ring for ``capacity`` messages; the caller owns it. OSError on failure."""
    cdef int fd
    if not 1 <= capacity <= (1 << 20):
        raise ValueError(f"capacity must be from 1 to {1 << 20} messages, not {capacity}")
    fd = rm_ring_create(capacity)
    if fd < 0:
        raise OSError(-fd, f"cannot create a ring of {capacity} messages: {_os.strerror(-fd)}")
    return fd


include "_form.pxi"
include "_deliveries.pxi"


cdef class _Ring:
    """What both ends of a ring share."""

    def __cinit__(self):
        memset(&self.r, 0, sizeof(self.r))
        memset(&self.spinner, 0, sizeof(self.spinner))
        self.mapped = False

    def __dealloc__(self):
        if self.mapped:
            munmap(self.r.shared, self.r.total_bytes)

    cdef int map(self, int memfd) except -1:
        cdef const char *wrong = rm_ring_map(&self.r, memfd)
        if wrong != NULL:
            raise_unusable("ring", wrong, errno, memfd)
        _os.close(memfd)
        self.mapped = True

    cdef int enter(self) except -1:
        if self.own is not None:
            self.own.check_usable()
        if self.busy:
            raise ChannelError("this side of the channel is in use by another thread; give each thread its own channel")
        if self.broken is not None:
            raise ChannelCorruptedError(self.broken)
        self.busy = True

    @property
    def capacity(self) -> int:
        return self.r.capacity

    @property
    def peer_gone(self) -> bool:
        """Whether ``mark_peer_gone`` was called."""
        return load_int(&self.r.peer_gone) != 0

    def mark_peer_gone(self) -> None:
        """Says that the peer's process has ended; wakes this side's waiters."""
        store_int_ordered(&self.r.peer_gone, 1)  # SYNC peer-gone
        if self.own is not None:
            # A peer that died may have taken the arming with it, between that and the write to the eventfd.
            self.own.arm()
            self.own.wake()

    def statistics(self) -> dict:
        """A snapshot of the channel's counters; may be taken at any time, from any process that maps the ring."""
        cdef rm_ring_header *h = self.r.shared
        cdef uint64_t head = load_u64(&h.head), tail = load_u64(&h.tail)
        # Two loads are no snapshot of one moment: clamp what the peer may have moved in between.
        cdef uint64_t held = min(tail - head, <uint64_t>self.r.capacity) if tail >= head else 0
        return {
            "published": tail,
            "received": head,
            "bytes": load_u64(&h.bytes),
            "bytes_copied": load_u64(&h.bytes_copied),
            "occupancy": held,
            "capacity": self.r.capacity,
            "high_water": max(held, load_u64(&h.most_held_by_producer), load_u64(&h.most_held_by_consumer)),
            "drops": load_u64(&h.drops),
            "blocked_count": load_u64(&h.blocked_count),
            "blocked_ns": load_u64(&h.blocked_ns),
            "blocked_memory_ns": load_u64(&h.blocked_memory_ns),
            "blocked_since_ns": load_u64(&h.blocked_since_ns),
            "blocked_for_memory": load_u32(&h.blocked_for_memory) != 0,
            "producer_closed": load_u32(&h.producer_closed) != 0,
            "consumer_closed": load_u32(&h.consumer_closed) != 0,
        }


@cython.final
cdef class RingView(_Ring):
    """A ring looked at from outside: statistics only. Takes the memfd over."""

    def __init__(self, int memfd):
        self.map(memfd)


@cython.final
cdef class _Draft:
    """A message that ``put`` is about to publish; ``_ring.pxd`` says what it holds, step by step."""

    def __cinit__(self):
        self.block = self.text_block = RM_NO_BLOCK


@cython.final
cdef class Producer(_Ring):
    """The publishing end of a ring.

    ``Producer(memfd, form, own, peer, shared)`` takes the memfd over. ``form`` says what messages look like; ``own`` is
    this process's segment, where payloads are put; ``peer`` the consumer's, whose doorbell is rung (None until it is
    known). ``shared`` lists the segments the consumer can map beside ``own``: payloads that live in them are passed on
    without a copy. ``session`` is the session id of messages that have none; ``cuts`` counts the interruptions.
    """

    def __init__(self, int memfd, MessageForm form not None, Segment own not None, Segment peer=None, shared=(),
                 str session="", Segment cuts=None):
        self.form = form
        self.own = own
        self.peer = peer
        self.session = session
        self.cuts = cuts
        self.forwardable = set(shared) | {own}
        self.draft = _Draft()
        self.map(memfd)
        store_u32(&self.r.shared.producer_pid, <uint32_t>_os.getpid())
        # A ring is handed over fresh or, in tests, with positions set by hand.
        self.r.position = load_u64(&self.r.shared.tail)
        self.r.peer_seen = load_u64(&self.r.shared.head)

    def attach_peer(self, Segment peer) -> None:
        """Names the consumer's segment once it is known."""
        self.peer = peer
        # What was published while its doorbell was unknown rang nothing, and it may sleep over it.
        peer.wake()

    @property
    def closed(self) -> bool:
        """Whether the consumer has closed or is gone."""
        return load_u32(&self.r.shared.consumer_closed) != 0 or load_int(&self.r.peer_gone) != 0

    def put(self, object message, object port=None, object epoch=None, object origin=None, bint stage=False) -> int:
        """Publishes one message without blocking: OK, FULL, NO_MEMORY (the pool has no room) or CLOSED.

        One that was cut off is dropped, which is OK, too. Its payload is an ndarray, bytes-like or str. An array in a
        loaned or received block is passed on by reference and becomes read-only; any other is copied once. ``port``
        replaces the message's; ``epoch`` is what it bears, else the one of now; ``origin`` replaces the message's,
        and makes this a result of the message that was taken last: see ``Segment.place``; a Descent instead says what
        it is made of. PayloadError when it can never travel, TypeError for a field of another type than it must have.

        With ``stage``, a message that shares its payload with this process is STAGED instead: written, and the consumer
        sees it at ``commit``. If the caller drops the message in between, the consumer is the payload's only holder.
        """
        cdef int rc
        self.enter()
        try:
            if self.staged:
                self.commit()
            rc = self._put(message, port, epoch_now(self.cuts) if epoch is None else epoch, origin, stage)
        except ChannelCorruptedError as error:
            self.broken = str(error)
            raise
        finally:
            self.busy = False
        return rc

    @property
    def epoch(self) -> int:
        """What a message published now bears."""
        return epoch_now(self.cuts)

    def commit(self) -> None:
        """Publishes what is staged, if anything is. Does not block."""
        if self.staged and not self.own.inherited():
            self.staged = False
            rm_publish(&self.r, &self.peer.s if self.peer is not None else NULL)

    cdef int _put(self, object message, object port, uint32_t epoch, object origin, bint stage) except -1:
        """``put`` by the only thread that is in it: claim, describe, place, write, send."""
        cdef _Draft draft = self.draft
        cdef rm_slot *slot = NULL
        cdef int rc
        rm_need_numpy()
        rc = self._claim(&slot)
        if rc == RM_CLOSED:
            return rc
        self._descend(draft, origin)
        if is_past(self.cuts, epoch_now(self.cuts), epoch, draft.lineage):
            return RM_OK  # the consumer would skip it, and until then it would take up room
        try:
            # Also when there is no slot: what can never travel is refused at once.
            self._describe(draft, message, port, origin)
            self._check_fits(draft)
            if rc == RM_OK:
                rc = self._place(draft)
            if rc == RM_OK:
                self._write(slot, draft, epoch)
                # By a signal handler or another thread, meanwhile: the consumer may have seen the end.
                if self.left:
                    rc = RM_CLOSED
            if rc == RM_OK:
                rc = self._send(slot, draft, stage)
        finally:
            self._let_go(draft, rc)
        return rc

    cdef inline int _claim(self, rm_slot **slot) except -1:
        """The slot to write next: RM_OK, RM_FULL or RM_CLOSED."""
        cdef int rc
        if load_int(&self.r.peer_gone):
            return RM_CLOSED
        rc = rm_claim(&self.r, slot)
        if rc == RM_CORRUPTED:
            raise ChannelCorruptedError("the consumer's position makes no sense")
        if rc == RM_CLOSED and not self.reclaimed:
            self.reclaimed = True
            self._reclaim()
        return rc

    cdef inline int _descend(self, _Draft draft, object origin) except -1:
        """What the message is made of."""
        if origin is None:
            draft.lineage, draft.turn, draft.since_ns = self.own.ancestry, 0, NULL
        elif isinstance(origin, Descent):
            draft.lineage, draft.turn = (<Descent>origin).lineage, (<Descent>origin).turn
            draft.since_ns = &(<Descent>origin).since_ns
        else:
            draft.lineage, draft.turn = self.own.lineage | self.own.bit, self.own.made_of
            draft.since_ns = &self.own.since_ns

    cdef inline int _describe(self, _Draft draft, object message, object port, object origin) except -1:
        """Reads the message object. TypeError or PayloadError when it can never travel."""
        cdef MessageForm form = self.form
        cdef rm_text *text = &draft.text
        cdef object value
        form.check(message)
        draft.type = form.code(rm_get_field(message, form.type_at))
        draft.payload = rm_get_field(message, form.payload_at)
        value = rm_get_field(message, form.session_at)
        if not value and isinstance(value, str):
            value = self.session
        draft.session = _utf8(value, &text.session, &text.session_bytes)
        draft.port = _utf8(rm_get_field(message, form.port_at) if port is None else port, &text.port, &text.port_bytes)
        value = rm_get_field(message, form.timestamp_at)
        draft.timestamp = PyFloat_AS_DOUBLE(value) if PyFloat_CheckExact(value) else form.timestamp(value)
        if origin is None or isinstance(origin, Descent):
            origin = rm_get_field(message, form.origin_at)
        draft.origin = _origin(origin)
        draft.metadata_kind = 0
        text.metadata, text.metadata_bytes = b"", 0
        value = rm_get_field(message, form.metadata_at)
        if value is not None:
            draft.metadata_kind, draft.metadata = form.encode_metadata(value)
            text.metadata = PyBytes_AS_STRING(draft.metadata)
            text.metadata_bytes = PyBytes_GET_SIZE(draft.metadata)
        self._describe_payload(draft)
        draft.text_bytes = rm_text_bytes(text)

    cdef inline int _describe_payload(self, _Draft draft) except -1:
        draft.ndim = 0
        draft.text.dtype, draft.text.dtype_bytes = b"", 0
        if PyArray_Check(draft.payload):
            draft.kind = RM_ARRAY
            self._describe_array(draft)
        elif isinstance(draft.payload, str):
            draft.kind = RM_TEXT
            draft.payload = (<str>draft.payload).encode("utf-8", "surrogatepass")
            draft.source = PyBytes_AS_STRING(draft.payload)
            draft.bytes = <uint64_t>PyBytes_GET_SIZE(draft.payload)
        elif isinstance(draft.payload, (bytes, bytearray, memoryview)):
            draft.kind = RM_BYTES
            self._describe_buffer(draft)
        else:
            raise TypeError(
                f"{self.form.cls.__name__}.payload must be a numpy array, bytes or str, "
                f"not {type(draft.payload).__name__}"
            )

    cdef inline int _describe_array(self, _Draft draft) except -1:
        cdef object array = draft.payload, dtype
        if not PyArray_CheckExact(array):
            self.form.refuse(array)
        draft.ndim = rm_array_ndim(array)
        if draft.ndim > RM_MAX_NDIM:
            raise PayloadError(f"an array may have at most {RM_MAX_NDIM} dimensions, this one has {draft.ndim}")
        if rm_array_descr(array) != <PyObject *>self.last_dtype:
            dtype = <object>rm_array_descr(array)
            self.last_dtype = None
            self.last_dtype_bytes = self.form.encode_dtype(dtype)
            # A structured dtype is mutable (``a.dtype.names = ...``): the same object may mean another.
            if dtype.names is None:
                self.last_dtype = dtype
        draft.text.dtype = PyBytes_AS_STRING(self.last_dtype_bytes)
        draft.text.dtype_bytes = PyBytes_GET_SIZE(self.last_dtype_bytes)
        draft.bytes = <uint64_t>rm_array_nbytes(array)
        draft.source = <char *>rm_array_data(array)
        draft.shared = self._shared_block(array, draft.source, draft.bytes)

    cdef int _describe_buffer(self, _Draft draft) except -1:
        cdef object payload = draft.payload
        if isinstance(payload, memoryview) and not payload.c_contiguous:
            payload = bytes(payload)
        PyObject_GetBuffer(payload, &draft.view, PyBUF_SIMPLE)  # keeps it where it is, and alive
        draft.has_view = True
        draft.source = <char *>draft.view.buf
        draft.bytes = <uint64_t>draft.view.len
        if isinstance(payload, memoryview) and isinstance((<object>payload).obj, Block):
            if self._may_share((<object>payload).obj, draft.source, draft.bytes):
                draft.shared = (<object>payload).obj

    cdef inline int _check_fits(self, _Draft draft) except -1:
        """PayloadError when the pool could not hold the message even if it were empty."""
        cdef uint64_t units = rm_units(draft.bytes) if draft.shared is None else 0
        if draft.text_bytes > RM_INLINE_TEXT:
            units += rm_units(draft.text_bytes)
            if draft.shared is not None and draft.shared.segment.s.pool_id == self.own.s.pool_id:
                units += rm_units(draft.shared.bytes)  # it is there already, and stays until this is published
        if units * RM_UNIT > self.own.s.pool_bytes:
            raise PayloadError(
                f"a payload of {draft.bytes} bytes"
                + (f" with {draft.text_bytes} bytes of session id and metadata"
                   if draft.text_bytes > RM_INLINE_TEXT else "")
                + f" can never fit the pool of {self.own.s.pool_bytes} bytes (shm_segment_size)"
            )

    cdef inline int _place(self, _Draft draft) except -1:
        """Takes the blocks it needs, and a reference to one that is shared: RM_OK or RM_NO_MEMORY."""
        if draft.shared is not None:
            draft.block = draft.shared.index
            rm_block_hold(&draft.shared.segment.s, draft.block)
        elif draft.bytes:
            draft.block = self.own.allocate(draft.bytes)
            if draft.block == RM_NO_BLOCK:
                return RM_NO_MEMORY
        if draft.text_bytes > RM_INLINE_TEXT:
            draft.text_block = self.own.allocate(draft.text_bytes)
            if draft.text_block == RM_NO_BLOCK:
                return RM_NO_MEMORY
        return RM_OK

    cdef inline int _write(self, rm_slot *slot, _Draft draft, uint32_t epoch) except -1:
        """Fills the slot, and the blocks that are its own. Nobody sees them yet."""
        cdef char *text = slot.text
        cdef int i
        if draft.text_block != RM_NO_BLOCK:
            text = self.own.own_data(draft.text_block)
        rm_write_text(slot, text, &draft.text)
        if draft.shared is not None:
            self._share(slot, draft)
        else:
            slot.pool_id = self.own.s.pool_id
            slot.offset = 0
            draft.copied = draft.bytes > 0
            if draft.copied:
                self._copy(draft)
        slot.sequence = self.r.position
        slot.timestamp = draft.timestamp
        slot.published_ns = rm_now_ns()
        slot.epoch = epoch
        slot.origin = draft.origin
        slot.lineage = draft.lineage
        slot.turn = draft.turn
        slot.type = <uint8_t>draft.type
        slot.payload_kind = <uint8_t>draft.kind
        slot.metadata_kind = <uint8_t>draft.metadata_kind
        slot.ndim = <uint8_t>draft.ndim
        slot.block = draft.block
        slot.bytes = draft.bytes
        slot.text_block = draft.text_block
        for i in range(draft.ndim):
            slot.shape[i] = <uint64_t>rm_array_dims(draft.payload)[i]

    cdef inline void _share(self, rm_slot *slot, _Draft draft) noexcept:
        """Has the slot point into a block that exists already. From here on it is the consumers' too."""
        cdef rm_segment *s = &draft.shared.segment.s
        slot.pool_id = s.pool_id
        slot.offset = <uint64_t>(
            rm_pool_home(s, draft.source) - (s.pool + load_u64(&s.blocks[draft.block].offset))
        )
        draft.shared.writable = False
        if draft.kind == RM_ARRAY:
            rm_array_freeze(draft.payload)

    cdef inline int _copy(self, _Draft draft) except -1:
        """Copies the payload into its block."""
        cdef char *target = self.own.own_data(draft.block)
        cdef object descr, out
        if draft.kind == RM_ARRAY and not rm_array_contiguous(draft.payload):
            descr = <object>rm_array_descr(draft.payload)
            Py_INCREF(descr)
            out = rm_array_new(descr, draft.ndim, rm_array_dims(draft.payload), target, NPY_ARRAY_CARRAY)
            rm_array_copy(out, draft.payload)
        elif draft.bytes < COPY_WITH_GIL_BYTES:
            memcpy(target, draft.source, draft.bytes)
        else:
            with nogil:
                memcpy(target, draft.source, draft.bytes)

    cdef inline int _send(self, rm_slot *slot, _Draft draft, bint stage) noexcept:
        """Publishes what the slot holds, or stages it: RM_OK or STAGED_NOT_PUBLISHED."""
        if draft.block != RM_NO_BLOCK and (draft.shared is None or draft.shared.segment is self.own):
            self.own.pool.extents[draft.block].published_ns = slot.published_ns
        rm_count(&self.r.shared.bytes, draft.bytes)
        if draft.copied:
            rm_count(&self.r.shared.bytes_copied, draft.bytes)
        draft.block = draft.text_block = RM_NO_BLOCK  # their references are the message's now
        if draft.turn:
            self.own.share_turn(draft.turn)
        if draft.since_ns != NULL and draft.since_ns[0]:
            self.own.count_first_output(draft.since_ns, slot.published_ns)
        if stage and draft.shared is not None:
            self.staged = True
            return STAGED_NOT_PUBLISHED
        rm_publish(&self.r, &self.peer.s if self.peer is not None else NULL)
        return RM_OK

    cdef inline void _let_go(self, _Draft draft, int rc) noexcept:
        """Empties the draft. What was placed and not sent goes back; ``rc`` is what ``put`` returns, if it does.

        Waiters for memory hear of a block that goes back (``drop``), since one may have looked for room while
        this message was made. Not so when the pool had no room for its text: the payload's block was taken and given
        back in one go, so nobody missed it, and ``put``'s caller, about to wait for more, would wake itself for ever.
        """
        if draft.block != RM_NO_BLOCK:
            if draft.shared is not None:
                draft.shared.segment.drop(draft.block)
            elif rc == RM_NO_MEMORY:
                self.own.put_back(draft.block)
            else:
                self.own.drop(draft.block)
        if draft.text_block != RM_NO_BLOCK:
            self.own.drop(draft.text_block)
        draft.block = draft.text_block = RM_NO_BLOCK
        draft.copied = False
        if draft.has_view:
            draft.has_view = False
            PyBuffer_Release(&draft.view)
        draft.session = draft.port = draft.metadata = draft.payload = draft.shared = None

    cdef Block _shared_block(self, object array, char *data, uint64_t bytes_):
        """The block this array lies in, when the consumer can reach it there."""
        cdef PyObject *base = rm_array_base(array)
        cdef Block block
        if base == NULL or bytes_ == 0 or not rm_array_contiguous(array):
            return None
        while base != NULL and PyArray_Check(<object>base):
            base = rm_array_base(<object>base)
        if base == NULL:
            return None
        if isinstance(<object>base, memoryview):
            if not isinstance((<object>base).obj, Block):
                return None
            block = (<object>base).obj
        elif isinstance(<object>base, Block):
            block = <Block><object>base
        else:
            return None
        return block if self._may_share(block, rm_pool_home(&block.segment.s, data), bytes_) else None

    cdef bint _may_share(self, Block block, char *data, uint64_t bytes_):
        return (
            bytes_ > 0
            and lies_in(block, data, bytes_)
            and (block.segment is self.own or block.segment in self.forwardable)
        )

    cdef int _reclaim(self) except -1:
        """The consumer has closed and touches the ring no more: take back what it left unread."""
        cdef rm_slot slot
        cdef uint64_t tail = self.r.position
        # SYNC closed: the consumer's last move of head came before its closing.
        self.r.position = load_u64(&self.r.shared.head)
        self.r.peer_seen = tail
        if tail - self.r.position <= self.r.capacity:
            while self.r.position != tail:
                if rm_peek(&self.r, &slot) == RM_OK:
                    self._forget(&slot)
                self.r.position += 1
        self.r.peer_seen = tail

    cdef void _forget(self, rm_slot *slot) noexcept:
        cdef Segment segment
        if slot.turn:
            self.own.end_share(slot.turn, 0)
        # The producer wrote these itself, but in memory that the peer could write to.
        if slot.text_block < self.own.s.block_count:
            self.own.drop(slot.text_block)
        if slot.block != RM_NO_BLOCK:
            for segment in self.forwardable:
                if segment.s.pool_id == slot.pool_id and slot.block < segment.s.block_count:
                    segment.drop(slot.block)
                    break

    def stall(self) -> dict:
        """Of a full channel: ``pid`` of the consumer (0 before it came), whether it is ``asleep`` in a wait of ours,
        the ``sequence`` of the message it is to take next, and since when that one waits (``since_ns``)."""
        cdef uint64_t head = load_u64(&self.r.shared.head)
        cdef rm_slot *slot = &self.r.slots[head & self.r.mask]
        return {
            "pid": load_u32(&self.r.shared.consumer_pid),
            "asleep": self.peer is not None and (
                load_u32(&self.peer.s.shared.bell_sleepers) != 0 or load_u32(&self.peer.s.shared.bell_armed) != 0
            ),
            "sequence": head,
            "since_ns": slot.published_ns,
        }

    cpdef void begin_room_wait(self) noexcept:
        """Asks to be rung when the consumer takes a message, until as many calls of ``end_room_wait``."""
        self.room_waiters += 1
        self._announce_room_waiters()

    cpdef void end_room_wait(self) noexcept:
        self.room_waiters -= 1
        self._announce_room_waiters()

    cdef inline void _announce_room_waiters(self) noexcept:
        if not self.own.inherited():
            rm_want_room(&self.r, self.room_waiters)

    def has_room(self) -> bool:
        """Whether ``wait_room`` would return at once. After ``begin_room_wait``, the last look."""
        return rm_has_room(&self.r)

    def wait_room(self, uint64_t spin_ns, uint64_t deadline_ns) -> int:
        """Blocks (GIL released) until there is room or the consumer closes: OK or TIMEOUT.

        Signal handlers run and may raise.
        """
        self.enter()
        self.begin_room_wait()
        try:
            return wait_until(&self.own.s, rm_has_room, &self.r, &self.spinner, spin_ns, deadline_ns)
        finally:
            self.end_room_wait()
            self.busy = False

    def wait_memory(self, uint64_t spin_ns, uint64_t deadline_ns, uint32_t freed) -> int:
        """As its segment's ``wait_memory``; returns also when the consumer closes or is gone."""
        return self.own.wait_memory_or_end(&self.r, spin_ns, deadline_ns, freed)

    def count_drop(self) -> None:
        """Counts one message that was dropped because the channel was full."""
        rm_count(&self.r.shared.drops, 1)

    def begin_blocked(self, bint for_memory) -> int:
        """Marks that a wait for a slot, or for payload memory, begins; returns now."""
        cdef uint64_t now = rm_now_ns()
        self.blocked_waiters += 1
        if self.blocked_waiters == 1:
            store_u32(&self.r.shared.blocked_for_memory, for_memory)
            store_u64(&self.r.shared.blocked_since_ns, now)
        return now

    def count_blocked(self, uint64_t since_ns, bint for_memory) -> None:
        """Counts one wait that ``begin_blocked`` began at ``since_ns`` and that is over now."""
        cdef uint64_t took_ns = rm_now_ns() - since_ns
        self.blocked_waiters -= 1
        if not self.blocked_waiters:
            store_u64(&self.r.shared.blocked_since_ns, 0)
        rm_count(&self.r.shared.blocked_count, 1)
        rm_count(&self.r.shared.blocked_ns, took_ns)
        if for_memory:
            rm_count(&self.r.shared.blocked_memory_ns, took_ns)

    def close(self) -> None:
        """Ends the stream: the consumer sees everything published so far, then the end. May be repeated."""
        if self.own.inherited():
            return
        self.commit()
        self.left = True
        store_u32_ordered(&self.r.shared.producer_closed, 1)  # SYNC closed, sleep-data
        if self.peer is not None:
            self.peer.wake()


@cython.final
cdef class Consumer(_Ring):
    """The receiving end of a ring.

    ``Consumer(memfd, form, own, peer, pools, cuts)`` takes the memfd over. ``form`` says what messages look like;
    ``own`` is this process's segment, whose doorbell the producer rings; ``peer`` the producer's; ``pools`` maps pool
    ids to the segments payloads may lie in. ``cuts`` is the segment that counts the interruptions: what they cut off is
    skipped. ``port`` is the port of messages that name none.
    """

    def __init__(self, int memfd, MessageForm form not None, Segment own not None, Segment peer, dict pools,
                 Segment cuts=None, str port=""):
        self.form = form
        self.own = own
        self.peer = peer
        self.pools = pools
        self.cuts = cuts
        self.session_bytes = self.port_bytes = b""
        self.session = self.named_port = ""
        self.port = port
        self.map(memfd)
        store_u32(&self.r.shared.consumer_pid, <uint32_t>_os.getpid())
        self.r.position = load_u64(&self.r.shared.head)
        self.r.peer_seen = self.r.position

    @property
    def ended(self) -> bool:
        """Whether the producer has closed and everything it published was taken."""
        return load_u32_acquire(&self.r.shared.producer_closed) != 0 and not self.pending

    @property
    def pending(self) -> bool:
        """Whether a message waits to be taken."""
        return load_u64(&self.r.shared.tail) != self.r.position

    def take(self):
        """The next message without blocking, or None when there is none now.

        Arrays are read-only views, bytes a read-only memoryview: no copy; text is decoded. ``published_ns`` and
        ``stamp`` of this object are the message's; ``epoch`` is the one in which it was now found whole.

        Raises ChannelCorruptedError when the ring, the header or the block table hold impossible values.
        """
        self.enter()
        try:
            return self._next(True)
        finally:
            self.busy = False

    def skip_stale(self, object before=None) -> None:
        """Takes the messages that wait here and were cut off, or sent ``before`` that epoch. Raises like ``take``."""
        self.enter()
        try:
            self._next(False, before)
        finally:
            self.busy = False

    def receive(self, uint64_t spin_ns, uint64_t deadline_ns):
        """``take``, waiting (GIL released) for a message. None at the end, when the peer has died or at the deadline.

        Signal handlers run and may raise; then no message was taken.
        """
        cdef object message
        cdef int rc
        self.enter()
        try:
            while True:
                message = self._next(True)
                if message is not None or self._over():
                    return message
                rc = wait_until(&self.own.s, rm_has_message, &self.r, &self.spinner, spin_ns, deadline_ns)
                if rc == RM_TIMEOUT:
                    return self._next(True)
        finally:
            self.busy = False

    cdef bint _over(self) noexcept:
        """Whether no message will come any more: the wait for one would return at once, for ever."""
        return self.left or (rm_has_message(&self.r) and load_u64(&self.r.shared.tail) == self.r.position)

    cdef object _next(self, bint take, object before=None):
        """Skips what is stale; then, if it is to ``take``, the next message."""
        cdef rm_slot slot
        cdef uint32_t now
        cdef int rc
        if self.left:  # what came between the last look and the closing is the producer's again
            return None
        self.taking = True
        try:
            while True:
                rc = rm_peek(&self.r, &slot)
                if rc == RM_CORRUPTED:
                    raise ChannelCorruptedError("the producer's position or the message's sequence makes no sense")
                if rc != RM_OK:
                    return None
                now = epoch_now(self.cuts)
                if not is_past(self.cuts, now, slot.epoch, slot.lineage):
                    if take:
                        return self._take(&slot, now)
                    if before is None or not rm_is_before(slot.epoch, before):
                        return None
                self._skip(&slot)
        except ChannelCorruptedError as error:
            self.broken = str(error)
            raise
        finally:
            self.taking = False
            if self.close_wanted:
                self.close()

    cdef object _take(self, rm_slot *slot, uint32_t now):
        """The message in ``slot``; the slot is free afterwards. On failure the message stays where it is."""
        cdef char *text = self._text(slot)
        cdef Block block = self._payload_block(slot)  # from here on the message's reference is this block's
        cdef object message
        try:
            message = self._message(slot, text, block)
        except BaseException:
            # The message stays where it is (a signal handler may have raised), and its reference with it.
            if block is not None:
                block.segment = None
            raise
        if slot.text_block != RM_NO_BLOCK:
            self.peer.drop(slot.text_block)
        self.stamp = slot.epoch
        self.epoch = now if self.cuts is not None else slot.epoch
        self.own.taken_lineage = self.own.lineage = self.lineage = slot.lineage
        if slot.turn | self.own.turn:
            self.own.take_turn(slot.turn)
        self.published_ns = self.own.since_ns = slot.published_ns
        rm_release(&self.r, &self.peer.s if self.peer is not None else NULL)
        if self.deliveries is not None:
            self.deliveries.note(message)
        return message

    cdef inline char *_text(self, rm_slot *slot) except NULL:
        """Where the text is, all of it."""
        cdef char *text
        cdef uint64_t length = rm_slot_text_bytes(slot)
        if slot.text_block == RM_NO_BLOCK:
            if length > RM_INLINE_TEXT:
                raise ChannelCorruptedError("text of a message is longer than its slot")
            return slot.text
        if self.peer is None:
            raise ChannelCorruptedError("text of a message lies in an unknown pool")
        text = rm_block_data(&self.peer.s, slot.text_block, 0, length)
        if text == NULL:
            raise ChannelCorruptedError("text of a message lies outside its block")
        return text

    cdef inline Block _payload_block(self, rm_slot *slot):
        """A handle on the block that the payload lies in; None when the payload has no bytes."""
        cdef Segment segment
        cdef char *data
        if slot.block == RM_NO_BLOCK:
            if slot.bytes:
                raise ChannelCorruptedError("a payload has bytes but no block")
            return None
        segment = self.pool
        if segment is None or segment.s.pool_id != slot.pool_id:
            self.pool = segment = self.pools.get(slot.pool_id)
        if segment is None:
            raise ChannelCorruptedError(f"a payload lies in pool {slot.pool_id}, which is not mapped here")
        data = rm_block_data(&segment.s, slot.block, slot.offset, slot.bytes)
        if data == NULL:
            raise ChannelCorruptedError(f"a payload of {slot.bytes} bytes lies outside its block {slot.block}")
        rm_prefetch(data)
        return new_block(segment, slot.block, data, slot.bytes, False)

    cdef inline object _message(self, rm_slot *slot, char *text, Block block):
        """A message object of what the slot says. Its text is read one part after the other."""
        cdef MessageForm form = self.form
        cdef object payload, metadata = None
        if slot.type >= len(form.types):
            raise ChannelCorruptedError(f"unknown data type code {slot.type}")
        if not _equals(self.session_bytes, text, slot.session_bytes):
            self._decode_session(text[: slot.session_bytes])
        text += slot.session_bytes
        if slot.port_bytes and not _equals(self.port_bytes, text, slot.port_bytes):
            self._decode_port(text[: slot.port_bytes])
        text += slot.port_bytes
        payload = self._payload(slot, text, block)
        text += slot.dtype_bytes
        if slot.metadata_kind or slot.metadata_bytes:
            metadata = form.decode_metadata(slot.metadata_kind, text[: slot.metadata_bytes])
        return form.new(
            <object>PyTuple_GET_ITEM(form.types, slot.type), payload, self.session, slot.timestamp, metadata,
            self.named_port if slot.port_bytes else self.port, slot.sequence, slot.origin,
        )

    # What the last messages said is kept: most are of the same session, port and dtype.

    cdef int _decode_session(self, bytes raw) except -1:
        self.session = _decode(raw)
        self.session_bytes = raw

    cdef int _decode_port(self, bytes raw) except -1:
        self.named_port = _decode(raw)
        self.port_bytes = raw

    cdef inline object _payload(self, rm_slot *slot, char *dtype_at, Block block):
        if slot.payload_kind == RM_ARRAY:
            return self._array_payload(slot, dtype_at, block)
        if slot.payload_kind == RM_TEXT:
            return _decode(block.data[: block.bytes]) if block is not None else ""
        if slot.payload_kind == RM_BYTES:
            return PyMemoryView_FromObject(block) if block is not None else memoryview(b"")
        raise ChannelCorruptedError(f"unknown payload kind {slot.payload_kind}")

    cdef object _array_payload(self, rm_slot *slot, char *dtype_at, Block block):
        cdef uint64_t expected
        cdef object dtype, payload
        rm_need_numpy()
        if slot.ndim > RM_MAX_NDIM:
            raise ChannelCorruptedError(f"an array of {slot.ndim} dimensions")
        if self.dtype is not None and _equals(self.dtype_bytes, dtype_at, slot.dtype_bytes):
            dtype = self.dtype
        else:
            dtype = self._decoded_dtype(dtype_at[: slot.dtype_bytes])
        expected = rm_shape_bytes(slot.shape, slot.ndim, <uint64_t>rm_dtype_bytes(dtype))
        if expected == RM_IMPOSSIBLE_SHAPE:
            raise ChannelCorruptedError("an array's shape is impossible")
        if expected != slot.bytes:
            raise ChannelCorruptedError(f"an array of {expected} bytes came with {slot.bytes}")
        if block is not None:
            return new_array(block, dtype, slot.ndim, <npy_intp *>slot.shape, block.data, False)
        Py_INCREF(dtype)
        payload = rm_array_new(dtype, slot.ndim, <npy_intp *>slot.shape, NULL, 0)
        rm_array_freeze(payload)
        return payload

    cdef object _decoded_dtype(self, bytes raw):
        cdef object dtype = self.form.decode_dtype(raw)
        # A structured dtype is mutable: the one of an array delivered before may have been changed.
        self.dtype = dtype if dtype.names is None else None
        self.dtype_bytes = raw
        return dtype

    cdef int _skip(self, rm_slot *slot) except -1:
        """Takes a message without looking at it."""
        cdef Segment segment
        if slot.turn:
            self.own.end_share(slot.turn, 0)
        if slot.text_block != RM_NO_BLOCK and self.peer is not None and slot.text_block < self.peer.s.block_count:
            self.peer.drop(slot.text_block)
        if slot.block != RM_NO_BLOCK:
            segment = self.pools.get(slot.pool_id)
            if segment is not None and slot.block < segment.s.block_count:
                segment.drop(slot.block)
        rm_release(&self.r, &self.peer.s if self.peer is not None else NULL)

    def ready(self) -> bool:
        """Whether ``receive`` would return at once. After ``arm``, the last look before an asyncio wait."""
        return rm_has_message(&self.r)

    def close(self) -> None:
        """Drops what was not taken and tells the producer that nobody listens. May be repeated."""
        cdef rm_slot slot
        if self.own.inherited() or load_u32(&self.r.shared.consumer_closed):
            return
        if self.taking:  # a signal handler or another thread, in the middle of take(): it closes when it is done
            self.close_wanted = True
            return
        # Of a corrupted ring nothing is believed, not even which blocks its messages hold.
        while self.broken is None and rm_peek(&self.r, &slot) == RM_OK:
            self._skip(&slot)
        self.left = True
        # Last: from here on the producer takes back what it published meanwhile.
        store_u32_ordered(&self.r.shared.consumer_closed, 1)  # SYNC closed, sleep-room
        if self.peer is not None:
            self.peer.wake()


def spin_any(Segment own, tuple consumers, uint64_t spin_ns) -> bool:
    """Waits without sleeping for a message, an end or a death in any of ``consumers`` (64 at most are looked at).

    Spins for as long as pays, ``spin_ns`` at most; whether one of them is ready. Short: also an event loop may call it.
    What pays is learned in ``own``, the segment of them all.
    """
    cdef rm_ring *rings[64]
    cdef rm_any_wait wait
    cdef Py_ssize_t i
    wait.rings = rings
    wait.count = <uint32_t>min(len(consumers), 64)
    for i in range(wait.count):
        rings[i] = &(<Consumer?>consumers[i]).r
    return spin_until(rm_has_any_message, &wait, &own.data_spinner, spin_ns, 0)


cdef object _utf8(object text, const char **at, Py_ssize_t *length):
    """Where the UTF-8 of a str is; the object returned keeps it there."""
    cdef bytes raw
    if not isinstance(text, str):
        raise TypeError(f"session_id and port must be str, not {type(text).__name__}")
    if PyUnicode_IS_ASCII(text):
        at[0] = PyUnicode_AsUTF8AndSize(text, length)
        return text
    raw = (<str>text).encode("utf-8", "surrogatepass")
    at[0] = PyBytes_AS_STRING(raw)
    length[0] = PyBytes_GET_SIZE(raw)
    return raw


cdef inline bint _equals(bytes have, char *raw, uint32_t length):
    return PyBytes_GET_SIZE(have) == <Py_ssize_t>length and memcmp(PyBytes_AS_STRING(have), raw, length) == 0


cdef str _decode(bytes raw):
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise ChannelCorruptedError(f"a message's text is not UTF-8: {error}") from None
