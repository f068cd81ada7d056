/* A message class keeps its fields in __slots__: the ring reads and fills them where they are, which spares a message
 * the tuple of arguments and the call of a Python function at each end. */
#ifndef REMOTEMEDIA_FIELDS_H
#define REMOTEMEDIA_FIELDS_H

#include <Python.h>
#include <structmember.h>

/* Where a field of `cls` is, given its descriptor; -1 when that is not the descriptor of such a field. */
static Py_ssize_t rm_field_offset(PyObject *cls, PyObject *descriptor) {
    PyMemberDef *member;
    if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type) ||
        !PyType_IsSubtype((PyTypeObject *)cls, PyDescr_TYPE(descriptor)))
        return -1;
    member = ((PyMemberDescrObject *)descriptor)->d_member;
    return member->type == T_OBJECT_EX && !(member->flags & READONLY) ? member->offset : -1;
}

/* The value of a field. */
static inline PyObject *rm_get_field(PyObject *message, Py_ssize_t at) {
    PyObject *value = *(PyObject **)((char *)message + at);
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "a field of the message was deleted");
        return NULL;
    }
    Py_INCREF(value);
    return value;
}

/* Of a new message, whose fields are empty. */
static inline void rm_set_field(PyObject *message, Py_ssize_t at, PyObject *value) {
    Py_INCREF(value);
    *(PyObject **)((char *)message + at) = value;
}

static inline PyObject *rm_new_instance(PyObject *cls) {
    return ((PyTypeObject *)cls)->tp_alloc((PyTypeObject *)cls, 0);
}

#endif
