# MessageForm: how messages look as objects, and how their parts look as bytes. A part of _ring.pyx.

@cython.final
cdef class MessageForm:
    """How messages look as objects, and how their parts look as bytes.

    Args:
        cls: the message class, with ``__slots__`` of the names in ``FIELDS``; what ``put`` takes and ``take`` gives.
            Its ``_maker_for(x)``, if it has one, says how to make one of ``x``.
        types: the values of its ``type``; a value's index is its code on the wire.
        encode_metadata: ``metadata -> (kind, bytes)``; not asked for None, which is kind 0 without bytes.
        decode_metadata: its inverse, ``(kind, bytes) -> metadata``.
        encode_dtype: ``dtype -> bytes``, asked once for each new dtype; decode_dtype: its inverse.
        timestamp: makes a float of a ``timestamp`` that is none.
        refuse: called with a payload of an unusual class (a subclass of ndarray); raises when it must not travel.

    TypeError when ``cls`` does not have the fields.
    """

    FIELDS = ("type", "payload", "session_id", "timestamp", "metadata", "port", "sequence", "origin")

    def __init__(self, type cls, tuple types, *, encode_metadata, decode_metadata, encode_dtype, decode_dtype,
                 timestamp, refuse):
        offsets = [rm_field_offset(cls, cls.__dict__.get(name)) for name in self.FIELDS]
        if min(offsets) < 0:
            raise TypeError(f"{cls.__name__} must have __slots__ with {', '.join(self.FIELDS)}")
        (self.type_at, self.payload_at, self.session_at, self.timestamp_at, self.metadata_at, self.port_at,
         self.sequence_at, self.origin_at) = offsets
        self.cls = cls
        self.types = types
        self.encode_metadata = encode_metadata
        self.decode_metadata = decode_metadata
        self.encode_dtype = encode_dtype
        self.decode_dtype = decode_dtype
        self.timestamp = timestamp
        self.refuse = refuse

    def make(self, type cls, object kind, object payload, object session_id, object timestamp, object metadata,
             object port):
        """A message of ``cls``, which is the form's class or below it; ``timestamp`` None is now, in Unix seconds.

        As the class itself would make it, but the form's own without its ``__init__``.
        """
        if timestamp is None:
            timestamp = rm_unix_secs()
        if cls is not self.cls:  # it may have fields of its own
            return cls(kind, payload, session_id, timestamp, metadata, port=port)
        return self.new(kind, payload, session_id, timestamp, metadata, port, 0, 0)

    cdef inline object new(self, object kind, object payload, object session_id, object timestamp, object metadata,
                           object port, object sequence, object origin):
        """A message of the form's own class, without its ``__init__``."""
        cdef object message = rm_new_instance(self.cls)
        rm_set_field(message, self.type_at, kind)
        rm_set_field(message, self.payload_at, payload)
        rm_set_field(message, self.session_at, session_id)
        rm_set_field(message, self.timestamp_at, timestamp)
        rm_set_field(message, self.metadata_at, metadata)
        rm_set_field(message, self.port_at, port)
        rm_set_field(message, self.sequence_at, sequence)
        rm_set_field(message, self.origin_at, origin)
        return message

    cdef int check(self, object data) except -1:
        if not PyObject_TypeCheck(data, <PyTypeObject *><PyObject *>self.cls):
            how = getattr(self.cls, "_maker_for", None)
            raise TypeError(
                f"publish takes a {self.cls.__name__}, not {type(data).__name__}" + (f"; {how(data)}" if how else "")
            )

    cdef int code(self, object kind) except -1:
        cdef Py_ssize_t i
        for i in range(len(self.types)):
            if self.types[i] is kind:
                return <int>i
        raise TypeError(
            f"{self.cls.__name__}.type must be a {type(self.types[0]).__name__} "
            f"({', '.join([t.name for t in self.types])}), not {kind!r}"
        )


cdef inline uint64_t _origin(object value) except? 0:
    try:
        return <uint64_t>(value if PyLong_CheckExact(value) else _index(value))  # a float would be cut
    except (TypeError, OverflowError):
        raise TypeError(f"RuntimeData.origin must be a whole number from 0 to 2**64 - 1, not {value!r}") from None
