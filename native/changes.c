/* A batch's changes on their way into the changelog and the store (runtime/changelog.py, runtime/store.py).
 *
 * A change is a tuple (kind, key, value, offset).
 */
#include "native.h"

#include <string.h>

enum { PUT, DELETE };

typedef struct {
    long kind;
    PyObject *key;
    Bytes keys, value;
    long long offset;
} Change;

static int read_change(PyObject *given, Change *change) {
    if (type_of(given) != &PyTuple_Type || PyTuple_Size(given) != 4) {
        PyErr_SetString(PyExc_TypeError, "a change has a kind, a key, a value and an offset");
        return -1;
    }
    change->kind = PyLong_AsLong(PyTuple_GetItem(given, 0));
    change->key = PyTuple_GetItem(given, 1);
    change->offset = PyLong_AsLongLong(PyTuple_GetItem(given, 3));
    if (PyErr_Occurred()) return -1;
    return as_bytes(change->key, &change->keys) < 0 || as_bytes(PyTuple_GetItem(given, 2), &change->value) < 0 ? -1 : 0;
}

static unsigned char *big_endian(unsigned char *to, uint64_t value, int size) {
    for (int i = size - 1; i >= 0; i--) *to++ = (unsigned char)(value >> 8 * i);
    return to;
}

/* 1 kind | 4 bytes of key | 4 bytes of value | 8 offset, then key and value. */
static int write_change(const Change *change, Buffer *to) {
    Py_ssize_t size = 17 + change->keys.size + change->value.size;
    unsigned char *at = buffer_more(to, size);
    if (at == NULL) return -1;
    *at++ = (unsigned char)change->kind;
    at = big_endian(at, (uint64_t)change->keys.size, 4);
    at = big_endian(at, (uint64_t)change->value.size, 4);
    at = big_endian(at, (uint64_t)change->offset, 8);
    if (change->keys.size) memcpy(at, change->keys.at, (size_t)change->keys.size);
    if (change->value.size) memcpy(at + change->keys.size, change->value.at, (size_t)change->value.size);
    to->size += size;
    return 0;
}

static int close_part(PyObject *parts, Buffer *part) {
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)part->data, part->size);
    int failed = bytes == NULL || PyList_Append(parts, bytes) < 0;
    drop(bytes);
    part->size = 0;
    return failed ? -1 : 0;
}

/* (changes, most): their bytes, in parts of which each but the last has more than `most`; one at least. */
static PyObject *packed_changes(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    if (arguments("packed_changes", given, 2) < 0) return NULL;
    Py_ssize_t most = PyLong_AsSsize_t(args[1]);
    PyObject *changes = PyErr_Occurred() ? NULL : PySequence_Tuple(args[0]);
    PyObject *parts = changes == NULL ? NULL : PyList_New(0);
    Buffer part;
    buffer_begin(&part);
    Py_ssize_t count = parts == NULL ? 0 : PyTuple_Size(changes);
    for (Py_ssize_t i = 0; parts != NULL && i < count; i++) {
        Change change;
        if ((part.size > most && close_part(parts, &part) < 0) || read_change(PyTuple_GetItem(changes, i), &change) < 0 ||
            write_change(&change, &part) < 0)
            drop(parts), parts = NULL;
    }
    if (parts != NULL && close_part(parts, &part) < 0) drop(parts), parts = NULL;
    buffer_end(&part);
    drop(changes);
    return parts;
}

/* (changes, put, delete): calls put(key, offset and value) or delete(key) for each. */
static PyObject *apply_changes(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    if (arguments("apply_changes", given, 3) < 0) return NULL;
    Py_ssize_t count = PyList_Size(args[0]);
    if (count < 0) return NULL;
    for (Py_ssize_t i = 0; i < PyList_Size(args[0]); i++) {
        Change change;
        PyObject *done;
        if (read_change(PyList_GetItem(args[0], i), &change) < 0) return NULL;
        if (change.kind == DELETE) {
            done = PyObject_CallFunctionObjArgs(args[2], change.key, NULL);
        } else {
            PyObject *stored = PyBytes_FromStringAndSize(NULL, 8 + change.value.size);
            if (stored == NULL) return NULL;
            unsigned char *at = (unsigned char *)PyBytes_AsString(stored);
            at = big_endian(at, (uint64_t)change.offset, 8);
            if (change.value.size) memcpy(at, change.value.at, (size_t)change.value.size);
            done = PyObject_CallFunctionObjArgs(args[1], change.key, stored, NULL);
            drop(stored);
        }
        if (done == NULL) return NULL;
        drop(done);
    }
    return with_ref(Py_None);
}

static PyMethodDef functions[] = {
    {"packed_changes", FAST(packed_changes), "The bytes of changes, in parts."},
    {"apply_changes", FAST(apply_changes), "Calls put(key, offset and value) or delete(key) for each change of a list."},
    {NULL, NULL, 0, NULL},
};

int add_changes(PyObject *module) { return PyModule_AddFunctions(module, functions); }
