/* Avro records to tuples.
 *
 * Every length is proven against the bytes that are there before it is followed, and nothing is made that is larger
 * than what was given.
 */
#include "avro.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    PyObject head;
    PyObject *name;     /* of the kind of record, for messages */
    Node *fields;       /* the first of the schema, as far as anybody wants them */
    Py_ssize_t count;
    int whole;          /* the last of them is the schema's last */
    int text;           /* texts become str, not the bytes that they are */
    Py_ssize_t *slots;  /* by field its place in the result, or -1 */
    PyObject *defaults; /* of the result's size: the values of those that no field gives */
    Py_ssize_t *absent; /* the places of those, ended by -1 */
    Py_ssize_t start;
    PyObject *header;   /* the bytes before `start`, or empty: not looked at */
    PyObject *other;    /* called with what begins with another header */
} Reader;

/* The bytes that a reader is at. */
typedef struct {
    Cursor rest;
    const Reader *reader;
} Source;

static PyObject *ended(const Source *from) {
    return PyErr_Format(DecodeError, "not a record of %U: it ends within a field", from->reader->name);
}

/* 1 where a value stands, 0 for null. */
static int read_branch(Source *from) {
    const unsigned char *branch = read_bytes(&from->rest, 1);
    if (branch == NULL) return ended(from), -1;
    if (*branch == 0 || *branch == 2) return *branch == 2;
    PyErr_Format(DecodeError, "not a record of %U: no branch %d", from->reader->name, (int)*branch);
    return -1;
}

static int skip_sized(Source *from) {
    int64_t size;
    if (read_varint(&from->rest, &size) == 0 && read_bytes(&from->rest, size)) return 0;
    ended(from);
    return -1;
}

static int skip(const Node *node, Source *from);

/* Steps over the items of an array or map. A block may tell its bytes, behind a negative count. */
static int skip_items(const Node *node, Source *from) {
    for (;;) {
        int64_t count;
        if (read_varint(&from->rest, &count) < 0) return ended(from), -1;
        if (count == 0) return 0;
        if (count < 0) {
            if (skip_sized(from) < 0) return -1;
            continue;
        }
        for (; count > 0; count--) {
            const unsigned char *before = from->rest.at;
            if ((node->kind == MAP && skip_sized(from) < 0) || skip(node->inner, from) < 0) return -1;
            if (from->rest.at == before) return ended(from), -1; /* of nothing there is no end */
        }
    }
}

/* Steps over a value that nobody wants. */
static int skip(const Node *node, Source *from) {
    int64_t value;
    if (node->optional) {
        int found = read_branch(from);
        if (found <= 0) return found;
    }
    switch (node->kind) {
    case BOOLEAN:
    case FIXED: return read_bytes(&from->rest, node->kind == FIXED ? node->size : 1) ? 0 : (ended(from), -1);
    case NUMBER: return read_varint(&from->rest, &value) == 0 ? 0 : (ended(from), -1);
    case TEXT:
    case BYTES: return skip_sized(from);
    case ARRAY:
    case MAP: return skip_items(node, from);
    case RECORD:
        for (Py_ssize_t i = 0; i < node->count; i++)
            if (skip(&node->inner[i], from) < 0) return -1;
    }
    return 0;
}

static PyObject *read_value(const Node *node, Source *from);

static PyObject *read_text(Source *from, int text) {
    int64_t size;
    const unsigned char *start;
    if (read_varint(&from->rest, &size) < 0 || (start = read_bytes(&from->rest, size)) == NULL) return ended(from);
    if (!text) return PyBytes_FromStringAndSize((const char *)start, (Py_ssize_t)size);
    PyObject *found = PyUnicode_DecodeUTF8((const char *)start, (Py_ssize_t)size, NULL);
    if (found == NULL && PyErr_ExceptionMatches(PyExc_UnicodeError)) {
        PyErr_Clear();
        PyErr_Format(DecodeError, "not a record of %U: a text is not UTF-8", from->reader->name);
    }
    return found;
}

static PyObject *read_record(const Node *node, Source *from) {
    PyObject *found = PyTuple_New(node->count);
    for (Py_ssize_t i = 0; found != NULL && i < node->count; i++) {
        PyObject *value = read_value(&node->inner[i], from);
        if (value == NULL || PyTuple_SetItem(found, i, value) < 0) {
            drop(found);
            return NULL;
        }
    }
    return found;
}

static int read_item(const Node *node, Source *from, PyObject *into) {
    const unsigned char *before = from->rest.at;
    PyObject *name = NULL, *value;
    int failed = -1;
    if (node->kind == MAP && (name = read_text(from, from->reader->text)) == NULL) return -1;
    if ((value = read_value(node->inner, from)) != NULL) {
        failed = node->kind == MAP ? PyDict_SetItem(into, name, value) : PyList_Append(into, value);
        if (from->rest.at == before) ended(from), failed = -1; /* of nothing there is no end */
    }
    drop(name);
    drop(value);
    return failed;
}

static PyObject *read_items(const Node *node, Source *from) {
    PyObject *found = node->kind == MAP ? PyDict_New() : PyList_New(0);
    while (found != NULL) {
        int64_t count, size;
        if (read_varint(&from->rest, &count) < 0 || (count < 0 && read_varint(&from->rest, &size) < 0)) {
            ended(from);
            break;
        }
        if (count == 0) return found;
        uint64_t left = count < 0 ? -(uint64_t)count : (uint64_t)count;
        while (left > 0 && read_item(node, from, found) == 0) left--;
        if (left > 0) break;
    }
    drop(found);
    return NULL;
}

static PyObject *read_value(const Node *node, Source *from) {
    int64_t value;
    const unsigned char *start;
    if (node->optional) {
        int found = read_branch(from);
        if (found <= 0) return found < 0 ? NULL : with_ref(Py_None);
    }
    switch (node->kind) {
    case BOOLEAN:
        if ((start = read_bytes(&from->rest, 1)) == NULL) return ended(from);
        return with_ref(*start ? &_Py_TrueStruct : &_Py_FalseStruct);
    case FIXED:
        if ((start = read_bytes(&from->rest, node->size)) == NULL) return ended(from);
        return PyBytes_FromStringAndSize((const char *)start, node->size);
    case NUMBER: return read_varint(&from->rest, &value) < 0 ? ended(from) : PyLong_FromLongLong(value);
    case TEXT: return read_text(from, from->reader->text);
    case BYTES: return read_text(from, 0);
    case ARRAY:
    case MAP: return read_items(node, from);
    case RECORD: return read_record(node, from);
    }
    return NULL;
}

static int read_fields(const Reader *self, Source *from, PyObject *into) {
    for (Py_ssize_t i = 0; self->absent[i] >= 0; i++)
        if (PyTuple_SetItem(into, self->absent[i], with_ref(PyTuple_GetItem(self->defaults, self->absent[i]))) < 0)
            return -1;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        if (self->slots[i] < 0) {
            if (skip(&self->fields[i], from) < 0) return -1;
            continue;
        }
        PyObject *value = read_value(&self->fields[i], from);
        if (value == NULL || PyTuple_SetItem(into, self->slots[i], value) < 0) return -1;
    }
    if (self->whole && from->rest.at != from->rest.end) {
        PyErr_Format(DecodeError, "not a record of %U: there are %zd bytes behind its end", self->name,
                     (Py_ssize_t)(from->rest.end - from->rest.at));
        return -1;
    }
    return 0;
}

static PyObject *Reader_read(PyObject *object, PyObject *given) {
    const Reader *self = (Reader *)object;
    char *bytes;
    Py_ssize_t size, start = self->start, headers = PyBytes_Size(self->header);
    if (PyBytes_AsStringAndSize(given, &bytes, &size) < 0) return NULL;
    if (headers && (size < headers || memcmp(bytes, PyBytes_AsString(self->header), (size_t)headers) != 0))
        return PyObject_CallFunctionObjArgs(self->other, given, NULL);
    unsigned char *data = (unsigned char *)bytes;
    Source from = {{data + (start < size ? start : size), data + size}, self};
    PyObject *found = PyTuple_New(PyTuple_Size(self->defaults));
    if (found != NULL && read_fields(self, &from, found) < 0) {
        drop(found);
        return NULL;
    }
    return found;
}

static void Reader_dealloc(PyObject *object) {
    Reader *self = (Reader *)object;
    PyTypeObject *type = type_of(object);
    free_nodes(self->fields, self->count);
    free(self->slots);
    free(self->absent);
    drop(self->name);
    drop(self->defaults);
    drop(self->header);
    drop(self->other);
    PyObject_Free(object);
    drop((PyObject *)type);
}

/* By field its place, from the tuple `slots`; and the places that no field has. */
static int Reader_place(Reader *self, PyObject *slots) {
    Py_ssize_t size = PyTuple_Size(self->defaults), rest = 0;
    self->slots = calloc((size_t)self->count + 1, sizeof(Py_ssize_t));
    self->absent = calloc((size_t)size + 1, sizeof(Py_ssize_t));
    char *taken = calloc((size_t)size + 1, 1);
    int failed = self->slots == NULL || self->absent == NULL || taken == NULL;
    if (failed) PyErr_NoMemory();
    for (Py_ssize_t i = 0; !failed && i < self->count; i++) {
        PyObject *slot = PyTuple_GetItem(slots, i);
        self->slots[i] = slot == NULL ? 0 : PyLong_AsSsize_t(slot);
        failed = PyErr_Occurred() != NULL;
        if (!failed && self->slots[i] >= size) {
            PyErr_SetString(PyExc_ValueError, "a slot is beyond the result");
            failed = 1;
        }
        if (!failed && self->slots[i] >= 0) taken[self->slots[i]] = 1;
    }
    for (Py_ssize_t i = 0; !failed && i < size; i++)
        if (!taken[i]) self->absent[rest++] = i;
    if (!failed) self->absent[rest] = -1;
    free(taken);
    return failed ? -1 : 0;
}

/* (name, fields, whole, text, slots, defaults, start, header, other) */
static PyObject *Reader_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    if (named != NULL || arguments("Reader", PyTuple_Size(args), 9) < 0) return NULL;
    Reader *self = (Reader *)PyType_GenericAlloc(type, 0);
    if (self == NULL) return NULL;
    self->name = with_ref(PyTuple_GetItem(args, 0));
    self->fields = parse_nodes(PyTuple_GetItem(args, 1), &self->count);
    self->whole = PyObject_IsTrue(PyTuple_GetItem(args, 2));
    self->text = PyObject_IsTrue(PyTuple_GetItem(args, 3));
    self->defaults = with_ref(PyTuple_GetItem(args, 5));
    self->header = with_ref(PyTuple_GetItem(args, 7));
    self->other = with_ref(PyTuple_GetItem(args, 8));
    if (self->fields == NULL || PyTuple_Size(self->defaults) < 0 || PyBytes_Size(self->header) < 0) goto failed;
    self->start = PyLong_AsSsize_t(PyTuple_GetItem(args, 6));
    if (PyErr_Occurred()) goto failed;
    if (self->start < 0) {
        PyErr_SetString(PyExc_ValueError, "a record begins somewhere");
        goto failed;
    }
    if (Reader_place(self, PyTuple_GetItem(args, 4)) < 0) goto failed;
    return (PyObject *)self;
failed:
    drop((PyObject *)self);
    return NULL;
}

static PyMethodDef reader_methods[] = {
    {"read", Reader_read, METH_O, "The wanted fields of a record."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot reader_slots[] = {
    {Py_tp_new, (void *)Reader_new},
    {Py_tp_dealloc, (void *)Reader_dealloc},
    {Py_tp_methods, reader_methods},
    {0, NULL},
};
static PyType_Spec reader_spec = {"native.Reader", sizeof(Reader), 0, Py_TPFLAGS_DEFAULT, reader_slots};

int add_reader(PyObject *module) { return add_type(module, "Reader", &reader_spec, NULL); }
