/* What a message's slot says of it, added up and checked: text and shapes. No Python here. */
#ifndef REMOTEMEDIA_MESSAGE_H
#define REMOTEMEDIA_MESSAGE_H

#include "_ring_abi.h"
#include <sys/types.h>

/* --- text: session id, port, dtype and metadata, one after the other -------------------------------------------- */

/* The text of a message about to be written, borrowed from whatever holds it. */
typedef struct {
    const char *session, *port, *dtype, *metadata;
    ssize_t session_bytes, port_bytes, dtype_bytes, metadata_bytes;
} rm_text;

static inline uint64_t rm_text_bytes(const rm_text *text) {
    return (uint64_t)text->session_bytes + (uint64_t)text->port_bytes + (uint64_t)text->dtype_bytes +
           (uint64_t)text->metadata_bytes;
}

/* The same of a message that came. Four lengths of 32 bits: the sum cannot overflow. */
static inline uint64_t rm_slot_text_bytes(const rm_slot *slot) {
    return (uint64_t)slot->session_bytes + slot->port_bytes + slot->dtype_bytes + slot->metadata_bytes;
}

/* Writes the text to `at`, which is in the slot or in a block, and its lengths to the slot. */
static inline void rm_write_text(rm_slot *slot, char *at, const rm_text *text) {
    slot->session_bytes = (uint32_t)text->session_bytes;
    slot->port_bytes = (uint32_t)text->port_bytes;
    slot->dtype_bytes = (uint32_t)text->dtype_bytes;
    slot->metadata_bytes = (uint32_t)text->metadata_bytes;
    /* Never read back from the slot: between a length's being written and used, a peer could make it another. */
    memcpy(at, text->session, (size_t)text->session_bytes);
    at += text->session_bytes;
    memcpy(at, text->port, (size_t)text->port_bytes);
    at += text->port_bytes;
    memcpy(at, text->dtype, (size_t)text->dtype_bytes);
    at += text->dtype_bytes;
    memcpy(at, text->metadata, (size_t)text->metadata_bytes);
}

/* --- shapes ------------------------------------------------------------------------------------------------------ */

#define RM_MOST_BYTES ((uint64_t)1 << 62)
#define RM_IMPOSSIBLE_SHAPE UINT64_MAX

/* The bytes of an array, or RM_IMPOSSIBLE_SHAPE for more than RM_MOST_BYTES. An array without bytes must be possible,
 * too: numpy wants the dimensions beside an empty one, and elements without bytes, to be as few as if they counted. */
static inline uint64_t rm_shape_bytes(const uint64_t *shape, unsigned ndim, uint64_t element_bytes) {
    uint64_t extent = element_bytes ? element_bytes : 1;
    int empty = element_bytes == 0;
    for (unsigned i = 0; i < ndim; i++) {
        if (shape[i] == 0) {
            empty = 1;
            continue;
        }
        if (extent > RM_MOST_BYTES / shape[i]) return RM_IMPOSSIBLE_SHAPE;
        extent *= shape[i];
    }
    return empty ? 0 : extent;
}

#endif
