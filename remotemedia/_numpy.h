/* numpy's C interface, for any object that PyArray_Check has passed.
 *
 * numpy's own declarations are for its types, and Cython's cimport of numpy would import numpy with the extension: here
 * rm_need_numpy() does, with the first array. */
#ifndef REMOTEMEDIA_NUMPY_H
#define REMOTEMEDIA_NUMPY_H

#include <Python.h>
#include <numpy/arrayobject.h>

/* Before anything else of this file. 0, or -1 with an exception. */
static inline int rm_need_numpy(void) { return PyArray_API ? 0 : _import_array(); }

#define RM_ARRAY_OF(o) ((PyArrayObject *)(o))
static inline void *rm_array_data(PyObject *o) { return PyArray_DATA(RM_ARRAY_OF(o)); }
static inline npy_intp rm_array_nbytes(PyObject *o) { return PyArray_NBYTES(RM_ARRAY_OF(o)); }
static inline int rm_array_ndim(PyObject *o) { return PyArray_NDIM(RM_ARRAY_OF(o)); }
static inline npy_intp *rm_array_dims(PyObject *o) { return PyArray_DIMS(RM_ARRAY_OF(o)); }
static inline PyObject *rm_array_base(PyObject *o) { return PyArray_BASE(RM_ARRAY_OF(o)); }
static inline PyObject *rm_array_descr(PyObject *o) { return (PyObject *)PyArray_DESCR(RM_ARRAY_OF(o)); }
static inline int rm_array_contiguous(PyObject *o) { return PyArray_IS_C_CONTIGUOUS(RM_ARRAY_OF(o)); }

/* Makes an array, and the arrays it is a view of, read-only. */
static inline void rm_array_freeze(PyObject *o) {
    for (; o && PyArray_Check(o); o = rm_array_base(o)) PyArray_CLEARFLAGS(RM_ARRAY_OF(o), NPY_ARRAY_WRITEABLE);
}

static inline int rm_array_copy(PyObject *to, PyObject *from) {
    return PyArray_CopyInto(RM_ARRAY_OF(to), RM_ARRAY_OF(from));
}

/* Steals `base`. */
static inline int rm_array_set_base(PyObject *o, PyObject *base) { return PyArray_SetBaseObject(RM_ARRAY_OF(o), base); }

static inline npy_intp rm_dtype_bytes(PyObject *descr) { return PyDataType_ELSIZE((PyArray_Descr *)descr); }

static inline PyObject *rm_array_dtype(PyObject *like) {
    PyArray_Descr *descr;
    return PyArray_DescrConverter(like, &descr) ? (PyObject *)descr : NULL;
}

/* Steals `descr`. */
static inline PyObject *rm_array_new(PyObject *descr, int ndim, npy_intp *dims, void *data, int flags) {
    return PyArray_NewFromDescr(&PyArray_Type, (PyArray_Descr *)descr, ndim, dims, NULL, data, flags, NULL);
}

#endif
