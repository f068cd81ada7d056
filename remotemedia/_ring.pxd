"""The classes of ``_ring.pyx`` on a screen each. ``_segment.pxd`` has those below, ``_ring_c.pxd`` the C they use."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from remotemedia._ring_c cimport *
from remotemedia._segment cimport (
    Block,
    Descent,
    Segment,
    epoch_now,
    is_past,
    lies_in,
    new_array,
    new_block,
    raise_unusable,
    spin_until,
    wait_until,
)


@cython.final
cdef class MessageForm:
    cdef object cls
    cdef tuple types
    cdef object encode_metadata, decode_metadata, decode_dtype, timestamp, refuse
    cdef readonly object encode_dtype
    # Where the fields lie in an instance.
    cdef Py_ssize_t type_at, payload_at, session_at, timestamp_at, metadata_at, port_at, sequence_at, origin_at
    cdef int check(self, object data) except -1
    cdef int code(self, object kind) except -1
    cdef inline object new(self, object kind, object payload, object session_id, object timestamp, object metadata,
                           object port, object sequence, object origin)


# A message that was delivered, and the audio up to its end.
ctypedef struct rm_delivery:
    uint64_t sequence
    uint64_t origin
    double timestamp
    double secs


@cython.final
cdef class Deliveries:
    cdef MessageForm form
    cdef object audio
    cdef type audio_metadata
    # Those that are not known to be played, in a circle.
    cdef rm_delivery *log
    cdef Py_ssize_t size, first, count
    cdef double before  # seconds of audio before the first of them
    cdef rm_delivery last, reached
    cdef bint has_last, has_played
    cdef readonly int64_t newest
    cdef readonly double secs
    # The last one's metadata, and what it says.
    cdef object metadata
    cdef double rate
    cdef Py_ssize_t channels
    cdef int note(self, object message) except -1
    cdef double length_secs(self, object payload, object metadata) except -1
    cdef int make_room(self) except -1
    cdef void drop(self, Py_ssize_t count) noexcept


cdef class _Ring:
    cdef rm_ring r
    cdef bint mapped
    cdef rm_spinner spinner
    cdef MessageForm form
    cdef Segment own
    cdef readonly Segment peer
    cdef bint busy  # a thread is in it
    cdef bint left  # this side has closed
    cdef str broken  # why it is unusable
    cdef int map(self, int memfd) except -1
    cdef int enter(self) except -1


@cython.final
cdef class RingView(_Ring):
    pass


# A message that ``put`` is about to publish. Each Producer has one, empty between two calls of ``put``. It is filled
# step by step: what the message says, the blocks it needs, then its slot. What was not sent goes back.
@cython.final
cdef class _Draft:
    # _descend: lineage, turn, since_ns; _describe: the rest
    cdef object session, port, payload  # the text and ``source`` point into these
    cdef bytes metadata
    cdef Py_buffer view
    cdef bint has_view
    cdef rm_text text
    cdef char *source
    cdef double timestamp
    cdef uint64_t origin, lineage
    cdef uint32_t turn
    cdef uint64_t *since_ns
    cdef int type, kind, metadata_kind, ndim
    cdef uint64_t bytes, text_bytes
    cdef Block shared  # the payload lies there already, where the consumer can reach it
    # _place
    cdef uint32_t block, text_block  # RM_NO_BLOCK: none
    # _write
    cdef bint copied


@cython.final
cdef class Producer(_Ring):
    cdef set forwardable  # segments that the consumer maps
    cdef object session
    cdef Segment cuts
    cdef object last_dtype
    cdef bytes last_dtype_bytes

    # A message's way out, in this order.
    cdef _Draft draft
    cdef int _put(self, object message, object port, uint32_t epoch, object origin, bint stage) except -1
    cdef inline int _claim(self, rm_slot **slot) except -1
    cdef inline int _describe(self, _Draft draft, object message, object port, object origin) except -1
    cdef inline int _describe_payload(self, _Draft draft) except -1
    cdef inline int _describe_array(self, _Draft draft) except -1
    cdef Block _shared_block(self, object array, char *data, uint64_t bytes_)
    cdef int _describe_buffer(self, _Draft draft) except -1
    cdef bint _may_share(self, Block block, char *data, uint64_t bytes_)
    cdef inline int _check_fits(self, _Draft draft) except -1
    cdef inline int _place(self, _Draft draft) except -1
    cdef inline int _descend(self, _Draft draft, object origin) except -1
    cdef inline int _write(self, rm_slot *slot, _Draft draft, uint32_t epoch) except -1
    cdef inline void _share(self, rm_slot *slot, _Draft draft) noexcept
    cdef inline int _copy(self, _Draft draft) except -1
    cdef inline int _send(self, rm_slot *slot, _Draft draft, bint stage) noexcept
    cdef inline void _let_go(self, _Draft draft, int rc) noexcept
    cdef bint staged

    # The consumer has closed.
    cdef bint reclaimed
    cdef int _reclaim(self) except -1
    cdef void _forget(self, rm_slot *slot) noexcept

    # Waits.
    cdef uint32_t room_waiters, blocked_waiters
    cpdef void begin_room_wait(self) noexcept
    cpdef void end_room_wait(self) noexcept
    cdef inline void _announce_room_waiters(self) noexcept


@cython.final
cdef class Consumer(_Ring):
    cdef dict pools
    cdef Segment pool  # the last one used
    cdef Segment cuts
    cdef bint taking, close_wanted
    cdef public Deliveries deliveries  # what is taken is noted there

    # A message's way in, in this order.
    cdef object _next(self, bint take, object before=*)
    cdef object _take(self, rm_slot *slot, uint32_t now)
    cdef inline char *_text(self, rm_slot *slot) except NULL
    cdef inline Block _payload_block(self, rm_slot *slot)
    cdef inline object _message(self, rm_slot *slot, char *text, Block block)
    cdef inline object _payload(self, rm_slot *slot, char *dtype_at, Block block)
    cdef object _array_payload(self, rm_slot *slot, char *dtype_at, Block block)
    cdef int _skip(self, rm_slot *slot) except -1
    cdef bint _over(self) noexcept

    # Of the last messages: what comes again need not be decoded again.
    cdef readonly uint32_t epoch, stamp
    cdef readonly uint64_t lineage
    cdef readonly uint64_t published_ns
    cdef bytes session_bytes
    cdef str session
    cdef int _decode_session(self, bytes raw) except -1
    cdef bytes port_bytes
    cdef str named_port, port
    cdef int _decode_port(self, bytes raw) except -1
    cdef bytes dtype_bytes
    cdef object dtype
    cdef object _decoded_dtype(self, bytes raw)
