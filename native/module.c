/* The module, and what its parts share. */
#include "native.h"

#include <stdlib.h>

void buffer_begin(Buffer *buffer) {
    buffer->data = buffer->fixed;
    buffer->size = 0;
    buffer->room = sizeof(buffer->fixed);
}

void buffer_end(Buffer *buffer) {
    if (buffer->data != buffer->fixed) free(buffer->data);
}

unsigned char *buffer_more(Buffer *buffer, Py_ssize_t count) {
    if (count <= buffer->room - buffer->size) return buffer->data + buffer->size;
    if (count > PTRDIFF_MAX / 4 - buffer->size) {
        PyErr_NoMemory();
        return NULL;
    }
    Py_ssize_t room = 2 * (buffer->size + count);
    unsigned char *data = realloc(buffer->data == buffer->fixed ? NULL : buffer->data, (size_t)room);
    if (data == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (buffer->data == buffer->fixed)
        for (Py_ssize_t i = 0; i < buffer->size; i++) data[i] = buffer->fixed[i];
    buffer->data = data;
    buffer->room = room;
    return data + buffer->size;
}

int arguments(const char *function, Py_ssize_t given, Py_ssize_t count) {
    if (given == count) return 0;
    PyErr_Format(PyExc_TypeError, "%s takes %zd arguments, not %zd", function, count, given);
    return -1;
}

int add_type(PyObject *module, const char *name, PyType_Spec *spec, PyTypeObject **made) {
    PyObject *type = PyType_FromSpec(spec);
    int failed = type == NULL || PyModule_AddObjectRef(module, name, type) < 0;
    if (made != NULL && !failed) *made = (PyTypeObject *)with_ref(type);
    drop(type);
    return failed ? -1 : 0;
}

static PyModuleDef definition = {
    {{1, NULL}, NULL, 0, NULL}, "native._native", "What is done for every record, in C.", -1, NULL, NULL, NULL, NULL, NULL,
};

__attribute__((visibility("default"))) PyObject *PyInit__native(void) {
    int (*parts[])(PyObject *) = {add_avro, add_kafka, add_state, add_changes, add_emit, add_entry};
    PyObject *module = PyModule_Create2(&definition, PYTHON_API_VERSION);
    for (size_t i = 0; module != NULL && i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i](module) < 0) {
            drop(module);
            return NULL;
        }
    return module;
}
