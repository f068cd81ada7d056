# Deliveries: what outputs of a node were delivered, and how far they were played. A part of _ring.pyx.

cdef enum:
    FEWEST_DELIVERIES = 64
    MOST_DELIVERIES = 4096  # powers of two


@cython.final
cdef class Deliveries:
    """The messages of one node that were delivered since the last interruption, in order; their payloads are not kept.

    ``Deliveries(form, audio, audio_metadata)``: messages whose ``type`` is ``audio``, with an array and an
    ``audio_metadata``, last as long as its ``sample_rate`` says. A position is (sequence, seconds of audio up to there,
    origin, timestamp). Of messages that were not played yet the last 4,096 are known.

    Attributes:
        secs: of audio that was delivered.
        newest: the largest sequence; -1 if there was no message.
    """

    def __cinit__(self):
        self.size = FEWEST_DELIVERIES
        self.log = <rm_delivery *>PyMem_Malloc(self.size * sizeof(rm_delivery))
        if self.log == NULL:
            raise MemoryError
        self.newest = -1

    def __init__(self, MessageForm form not None, object audio, type audio_metadata not None):
        self.form, self.audio, self.audio_metadata = form, audio, audio_metadata

    def __dealloc__(self):
        PyMem_Free(self.log)

    def clear(self) -> None:
        """Forgets all."""
        self.first = self.count = 0
        self.newest, self.secs, self.before, self.has_last, self.has_played = -1, 0, 0, False, False

    def add(self, object message) -> None:
        """It was delivered."""
        rm_need_numpy()
        self.form.check(message)
        self.note(message)

    cdef int note(self, object message) except -1:
        cdef MessageForm form = self.form
        cdef rm_delivery *entry = &self.last
        entry.sequence = rm_get_field(message, form.sequence_at)
        entry.origin = rm_get_field(message, form.origin_at)
        entry.timestamp = rm_get_field(message, form.timestamp_at)
        if rm_get_field(message, form.type_at) is self.audio:
            self.secs += self.length_secs(
                rm_get_field(message, form.payload_at), rm_get_field(message, form.metadata_at)
            )
        entry.secs = self.secs
        self.has_last = True
        self.newest = max(<int64_t>entry.sequence, self.newest)
        if self.count == self.size:
            self.make_room()
        self.log[(self.first + self.count) & (self.size - 1)] = self.last
        self.count += 1

    cdef double length_secs(self, object payload, object metadata) except -1:
        cdef npy_intp frames = 1
        cdef int i
        if not PyArray_Check(payload) or not isinstance(metadata, self.audio_metadata):
            return 0
        if metadata is not self.metadata:  # mostly that of the message before
            self.channels = max(<Py_ssize_t>metadata.channels, 1)
            self.rate = max(<double>metadata.sample_rate, 1)
            self.metadata = metadata
        if rm_array_ndim(payload) == 2:
            frames = rm_array_dims(payload)[0]
        else:
            for i in range(rm_array_ndim(payload)):
                frames *= rm_array_dims(payload)[i]
            frames //= self.channels
        return frames / self.rate

    cdef int make_room(self) except -1:
        """For one more: twice as many, or in the place of the oldest."""
        cdef rm_delivery *more
        cdef Py_ssize_t i
        if self.size >= MOST_DELIVERIES:
            self.drop(1)
            return 0
        more = <rm_delivery *>PyMem_Malloc(2 * self.size * sizeof(rm_delivery))
        if more == NULL:
            raise MemoryError
        for i in range(self.count):
            more[i] = self.log[(self.first + i) & (self.size - 1)]
        PyMem_Free(self.log)
        self.log, self.first, self.size = more, 0, 2 * self.size

    @property
    def delivered(self) -> tuple | None:
        """The position of the last one; None if there was none."""
        return (self.last.sequence, self.last.secs, self.last.origin, self.last.timestamp) if self.has_last else None

    @property
    def played(self) -> tuple | None:
        """The position up to which was played; None if nothing is known to be."""
        cdef rm_delivery *at = &self.reached
        return (at.sequence, at.secs, at.origin, at.timestamp) if self.has_played else None

    def play_up_to(self, uint64_t sequence) -> None:
        """All up to this message was played, and it as well; nothing happens if it is not known."""
        cdef Py_ssize_t i
        for i in range(self.count):
            if self.log[(self.first + i) & (self.size - 1)].sequence == sequence:
                self.reached = self.log[(self.first + i) & (self.size - 1)]
                self.has_played = True
                self.drop(i + 1)
                return

    def play_secs(self, double secs) -> None:
        """So much of all audio was played, and with it what lies before that; no less than before."""
        cdef rm_delivery *entry
        if self.has_played and secs <= self.reached.secs:
            return
        while self.count:
            entry = &self.log[self.first]
            if self.before >= secs:
                return
            self.reached, self.has_played = entry[0], True
            if entry.secs > secs:
                self.reached.secs = secs
                return
            self.drop(1)

    cdef void drop(self, Py_ssize_t count) noexcept:
        """The first ones."""
        self.before = self.log[(self.first + count - 1) & (self.size - 1)].secs
        self.first = (self.first + count) & (self.size - 1)
        self.count -= count
