"""What ``_segment.pyx`` and ``_ring.pyx`` use of C: their headers, numpy's and Python's interfaces. No code."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "_ring_abi.h" nogil:
    enum: RM_ABI_VERSION, RM_MAX_NDIM, RM_NO_BLOCK, RM_INLINE_TEXT, RM_LINEAGE_NODES, RM_LATENCY_BUCKETS
    enum: RM_TURNS, RM_TURN_PARENTS
    enum: RM_ARRAY, RM_BYTES, RM_TEXT
    ctypedef uint64_t atomic_u64 "_Atomic uint64_t"
    ctypedef uint32_t atomic_u32 "_Atomic uint32_t"
    ctypedef int atomic_int "_Atomic int"
    ctypedef struct rm_node_counters:
        atomic_u64 received, published, failed, dropped, unrouted, busy_ns
        atomic_u64 processing_since_ns, pool_used_bytes, latency_sum_ns, latency_max_ns
        atomic_u64 latency[RM_LATENCY_BUCKETS]
    ctypedef struct rm_first_outputs:
        atomic_u64 sum_ns, max_ns
        atomic_u64 buckets[RM_LATENCY_BUCKETS]
    ctypedef struct rm_turn:
        atomic_u32 shares, failures
        atomic_u32 parents[RM_TURN_PARENTS]
    ctypedef struct rm_segment_header:
        atomic_u32 epoch, bell_sleepers, bell_armed, wrote_to_payload
        atomic_u32 queue_cuts[RM_LINEAGE_NODES]
        rm_node_counters node
        rm_first_outputs first_outputs
    ctypedef struct rm_block:
        atomic_u32 references, next_returned
        atomic_u64 offset, bytes
    ctypedef struct rm_slot:
        uint64_t sequence
        double timestamp
        uint64_t published_ns
        uint32_t epoch
        uint8_t type, payload_kind, metadata_kind, ndim
        uint32_t pool_id, block
        uint64_t offset, bytes
        uint32_t text_block, turn
        uint64_t shape[RM_MAX_NDIM]
        uint32_t session_bytes, port_bytes, dtype_bytes, metadata_bytes
        uint64_t origin, lineage
        char text[RM_INLINE_TEXT]
    ctypedef struct rm_ring_header:
        atomic_u64 tail, head, bytes, bytes_copied, drops, blocked_count, blocked_ns
        atomic_u64 blocked_memory_ns, blocked_since_ns
        atomic_u64 most_held_by_producer, most_held_by_consumer
        atomic_u32 producer_closed, consumer_closed, producer_pid, consumer_pid, blocked_for_memory
    uint64_t load_u64 "RM_LOAD_RELAXED"(atomic_u64 *)
    uint32_t load_u32 "RM_LOAD_RELAXED"(atomic_u32 *)
    void store_u64 "RM_STORE_RELAXED"(atomic_u64 *, uint64_t)
    void store_u32 "RM_STORE_RELAXED"(atomic_u32 *, uint32_t)
    void store_int_ordered "RM_STORE_ORDERED"(atomic_int *, int)
    int load_int "RM_LOAD_RELAXED"(atomic_int *)
    uint32_t load_u32_acquire "RM_LOAD_ACQUIRE"(atomic_u32 *)
    void store_u32_ordered "RM_STORE_ORDERED"(atomic_u32 *, uint32_t)
    void rm_count(atomic_u64 *, uint64_t)
    uint32_t rm_latency_bucket(uint64_t)
    uint64_t rm_now_ns()
    double rm_unix_secs()

cdef extern from "_cuts.h" nogil:
    uint32_t RM_OLDEST_EPOCH
    bint rm_is_before(uint32_t, uint32_t)
    bint rm_was_cut(rm_segment_header *, uint32_t, uint64_t)
    uint32_t rm_last_cut(rm_segment_header *, uint64_t)
    uint32_t rm_cut(rm_segment_header *, uint64_t, bint)

cdef extern from "_turns.h" nogil:
    enum: RM_TURN_DEPTH
    uint32_t rm_turn_name(uint32_t, uint32_t)
    uint32_t rm_turn_pool(uint32_t)
    rm_turn *rm_turn_at(rm_segment_header *, uint32_t)
    void rm_turn_share(rm_turn *)
    bint rm_turn_end_share(rm_turn *)
    bint rm_turn_is_over(rm_turn *)
    void rm_turn_fail(rm_turn *)
    uint32_t rm_turn_begin(rm_segment_header *, uint32_t *, const uint32_t *, uint32_t)
    void rm_turn_free(rm_turn *, uint32_t *)

cdef extern from "_message.h" nogil:
    ctypedef struct rm_text:
        const char *session
        const char *port
        const char *dtype
        const char *metadata
        Py_ssize_t session_bytes, port_bytes, dtype_bytes, metadata_bytes
    uint64_t RM_IMPOSSIBLE_SHAPE
    uint64_t rm_text_bytes(const rm_text *)
    uint64_t rm_slot_text_bytes(const rm_slot *)
    void rm_write_text(rm_slot *, char *, const rm_text *)
    uint64_t rm_shape_bytes(const uint64_t *, unsigned int, uint64_t)

cdef extern from "_ring_ops.h" nogil:
    enum: RM_OK, RM_FULL, RM_NO_MEMORY, RM_CLOSED, RM_EMPTY, RM_CORRUPTED, RM_TIMEOUT, RM_INTERRUPTED
    ctypedef struct rm_segment:
        rm_segment_header *shared
        rm_block *blocks
        char *pool
        char *writable
        uint64_t total_bytes, pool_bytes
        uint32_t block_count, pool_id
        int eventfd
        atomic_u32 freed
    ctypedef struct rm_ring:
        rm_ring_header *shared
        rm_slot *slots
        uint64_t total_bytes
        uint32_t capacity, mask
        uint64_t position, peer_seen
        atomic_int peer_gone
    ctypedef struct rm_memory_wait:
        rm_segment *segment
        rm_ring *ring
        uint32_t freed
    ctypedef int (*rm_ready)(void *) noexcept nogil
    int rm_segment_create(uint64_t, uint32_t)
    const char *RM_NOT_MAPPED
    const char *rm_segment_map(rm_segment *, int, int)
    void rm_segment_unmap(rm_segment *)
    char *rm_pool_writable(rm_segment *)
    char *rm_pool_home(const rm_segment *, char *)
    void rm_bell_ring(rm_segment *)
    void rm_bell_arm(rm_segment *)
    void rm_bell_disarm(rm_segment *)
    ctypedef struct rm_spinner:
        uint64_t allowed_ns
        uint32_t waits
    uint64_t rm_spin_allowed(rm_spinner *, uint64_t)
    void rm_spin_learn(rm_spinner *, int, uint64_t)
    int rm_spin(rm_ready, void *, uint64_t *, uint64_t)
    int rm_wait(rm_segment *, rm_ready, void *, uint64_t)
    void rm_block_hold(rm_segment *, uint32_t)
    int rm_block_held_alone(rm_segment *, uint32_t)
    int rm_block_drop(rm_segment *, uint32_t)
    void rm_prefetch "__builtin_prefetch"(const void *)
    void rm_block_return(rm_segment *, uint32_t)
    uint32_t rm_blocks_take_returned(rm_segment *)
    void rm_memory_freed(rm_segment *)
    char *rm_block_data(rm_segment *, uint32_t, uint64_t, uint64_t)
    int rm_ring_create(uint32_t)
    const char *rm_ring_map(rm_ring *, int)
    int rm_claim(rm_ring *, rm_slot **)
    void rm_publish(rm_ring *, rm_segment *)
    int rm_peek(rm_ring *, rm_slot *)
    void rm_release(rm_ring *, rm_segment *)
    int rm_has_message(void *) noexcept
    ctypedef struct rm_any_wait:
        rm_ring **rings
        uint32_t count
    int rm_has_any_message(void *) noexcept
    int rm_has_room(void *) noexcept
    void rm_want_room(rm_ring *, uint32_t)
    int rm_has_memory(void *) noexcept
    void rm_want_memory(rm_segment *, uint32_t)

cdef extern from "_pool.h" nogil:
    ctypedef struct rm_extent:
        uint64_t start, units, published_ns
        uint8_t state
    ctypedef struct rm_pool:
        rm_extent *extents
        uint64_t used_units, total_units, idle_units
        uint32_t fresh
    enum: RM_UNIT, RM_NONE, RM_USED
    uint64_t rm_units(uint64_t)
    int rm_pool_init(rm_pool *, uint64_t, uint32_t)
    void rm_pool_free_all(rm_pool *)
    uint32_t rm_pool_alloc(rm_pool *, uint64_t)
    int rm_pool_release(rm_pool *, uint32_t)
    int rm_pool_trim(rm_pool *, char *)

cdef extern from "_payload_fault.h" nogil:
    void rm_read_only_add(rm_segment *)
    void rm_read_only_remove(rm_segment *)
    int rm_note_faults(rm_segment *)

cdef extern from "_deathwatch.h" nogil:
    int rm_deathwatch_start(int, int)

cdef extern from "<sys/mman.h>" nogil:
    int munmap(void *, size_t)

cdef extern from "<pthread.h>" nogil:
    int pthread_atfork(void (*prepare)() noexcept, void (*parent)() noexcept, void (*child)() noexcept)

cdef extern from "_numpy.h":
    ctypedef Py_ssize_t npy_intp
    enum: NPY_ARRAY_CARRAY, NPY_ARRAY_CARRAY_RO
    int rm_need_numpy() except -1
    bint PyArray_Check(object)
    bint PyArray_CheckExact(object)
    void *rm_array_data(object)
    npy_intp rm_array_nbytes(object)
    int rm_array_ndim(object)
    npy_intp *rm_array_dims(object)
    PyObject *rm_array_base(object)
    PyObject *rm_array_descr(object)
    bint rm_array_contiguous(object)
    void rm_array_freeze(object)
    int rm_array_copy(object, object) except -1
    int rm_array_set_base(object, object) except -1  # steals the second
    object rm_array_new(object, int, npy_intp *, void *, int)  # steals the first
    object rm_array_dtype(object)
    npy_intp rm_dtype_bytes(object)

cdef extern from "_fields.h":
    Py_ssize_t rm_field_offset(object, object)
    object rm_get_field(object, Py_ssize_t)
    void rm_set_field(object, Py_ssize_t, object)
    object rm_new_instance(object)

cdef extern from "Python.h":
    bint PyObject_TypeCheck(object, PyTypeObject *)
    ctypedef struct PyTypeObject:
        pass
    bint PyFloat_CheckExact(object)
    double PyFloat_AS_DOUBLE(object)
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    bint PyUnicode_IS_ASCII(object)
