/* Rows and mappings to Avro records. */
#include "avro.h"

#include <string.h>

typedef struct {
    PyObject head;
    Node record;
    PyObject *header;
} Writer;

static int write_value(const Node *node, PyObject *value, Buffer *to);

static int write_number(int64_t value, Buffer *to) {
    unsigned char *at = buffer_more(to, MOST_VARINT);
    if (at == NULL) return -1;
    to->size = write_varint(at, value) - to->data;
    return 0;
}

static int write_sized(const char *bytes, Py_ssize_t size, Buffer *to) {
    unsigned char *at = buffer_more(to, MOST_VARINT + size);
    if (at == NULL) return -1;
    at = write_varint(at, size);
    memcpy(at, bytes, (size_t)size);
    to->size = at + size - to->data;
    return 0;
}

/* A text, as str or as the UTF-8 that it is; or bytes. */
static int write_text(PyObject *value, int text, Buffer *to) {
    Py_ssize_t size;
    if (text && is_text(value)) {
        const char *utf8 = PyUnicode_AsUTF8AndSize(value, &size);
        return utf8 == NULL ? -1 : write_sized(utf8, size, to);
    }
    char *bytes;
    return PyBytes_AsStringAndSize(value, &bytes, &size) < 0 ? -1 : write_sized(bytes, size, to);
}

static int write_fixed(const Node *node, PyObject *value, Buffer *to) {
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(value, &bytes, &size) < 0) return -1;
    if (size != node->size) {
        PyErr_SetObject(PyExc_ValueError, node->name);
        return -1;
    }
    unsigned char *at = buffer_more(to, size);
    if (at == NULL) return -1;
    memcpy(at, bytes, (size_t)size);
    to->size += size;
    return 0;
}

static int write_array(const Node *node, PyObject *values, Buffer *to) {
    PyObject *items = PySequence_Tuple(values);
    if (items == NULL) return -1;
    Py_ssize_t count = PyTuple_Size(items);
    int failed = count ? write_number(count, to) : 0;
    for (Py_ssize_t i = 0; !failed && i < count; i++) failed = write_value(node->inner, PyTuple_GetItem(items, i), to);
    drop(items);
    return failed ? -1 : write_number(0, to);
}

static int write_map(const Node *node, PyObject *values, Buffer *to) {
    Py_ssize_t count = PyDict_Size(values), at = 0;
    PyObject *name, *value;
    if (count < 0 || (count && write_number(count, to) < 0)) return -1;
    while (PyDict_Next(values, &at, &name, &value))
        if (write_text(name, 1, to) < 0 || write_value(node->inner, value, to) < 0) return -1;
    return write_number(0, to);
}

/* A row has its values in the schema's order; any other mapping of names is asked for each. */
static int write_record(const Node *node, PyObject *row, Buffer *to) {
    int in_order = PyType_GetFlags(type_of(row)) >> 26 & 1; /* a tuple, or one with names */
    if (in_order && PyTuple_Size(row) != node->count) {
        PyErr_Format(PyExc_ValueError, "a row of %zd values, not %zd", PyTuple_Size(row), node->count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < node->count; i++) {
        const Node *field = &node->inner[i];
        PyObject *value = in_order ? PyTuple_GetItem(row, i) : PyObject_GetItem(row, field->name);
        if (value == NULL) return -1;
        int failed = write_value(field, value, to);
        if (!in_order) drop(value);
        if (failed) return -1;
    }
    return 0;
}

static int write_byte(int byte, Buffer *to) {
    unsigned char *at = buffer_more(to, 1);
    if (at == NULL) return -1;
    *at = (unsigned char)byte;
    to->size++;
    return 0;
}

static int write_value(const Node *node, PyObject *value, Buffer *to) {
    int truth;
    if (node->optional) {
        if (value == Py_None) return write_byte(0, to);
        if (write_byte(2, to) < 0) return -1;
    }
    switch (node->kind) {
    case BOOLEAN: return (truth = PyObject_IsTrue(value)) < 0 ? -1 : write_byte(truth, to);
    case NUMBER: {
        long long number = PyLong_AsLongLong(value);
        return number == -1 && PyErr_Occurred() ? -1 : write_number(number, to);
    }
    case TEXT: return write_text(value, 1, to);
    case BYTES: return write_text(value, 0, to);
    case FIXED: return write_fixed(node, value, to);
    case ARRAY: return write_array(node, value, to);
    case MAP: return write_map(node, value, to);
    case RECORD: return write_record(node, value, to);
    }
    return -1;
}

static PyObject *Writer_write(PyObject *object, PyObject *row) {
    Writer *self = (Writer *)object;
    Py_ssize_t size = PyBytes_Size(self->header);
    PyObject *written = NULL;
    Buffer to;
    buffer_begin(&to);
    unsigned char *at = buffer_more(&to, size);
    if (at != NULL) {
        memcpy(at, PyBytes_AsString(self->header), (size_t)size);
        to.size = size;
        if (write_record(&self->record, row, &to) == 0)
            written = PyBytes_FromStringAndSize((const char *)to.data, to.size);
    }
    buffer_end(&to);
    return written;
}

static void Writer_dealloc(PyObject *object) {
    Writer *self = (Writer *)object;
    PyTypeObject *type = type_of(object);
    free_nodes(self->record.inner, self->record.count);
    drop(self->header);
    PyObject_Free(object);
    drop((PyObject *)type);
}

/* (fields, header) */
static PyObject *Writer_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    if (named != NULL || arguments("Writer", PyTuple_Size(args), 2) < 0) return NULL;
    Writer *self = (Writer *)PyType_GenericAlloc(type, 0);
    if (self == NULL) return NULL;
    self->record.kind = RECORD;
    self->record.inner = parse_nodes(PyTuple_GetItem(args, 0), &self->record.count);
    self->header = with_ref(PyTuple_GetItem(args, 1));
    if (self->record.inner == NULL || PyBytes_Size(self->header) < 0) {
        drop((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyMethodDef writer_methods[] = {
    {"write", Writer_write, METH_O, "The header and the bytes of a row, or of a mapping of all fields."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot writer_slots[] = {
    {Py_tp_new, (void *)Writer_new},
    {Py_tp_dealloc, (void *)Writer_dealloc},
    {Py_tp_methods, writer_methods},
    {0, NULL},
};
static PyType_Spec writer_spec = {"native.Writer", sizeof(Writer), 0, Py_TPFLAGS_DEFAULT, writer_slots};

int add_writer(PyObject *module) { return add_type(module, "Writer", &writer_spec, NULL); }
