/* A batch's way through an agent's step: what was applied or seen before is passed over (runtime/step.py).
 *
 * A record is one of Kafka's (kafka.c), or any object with the same attributes.
 */
#include "native.h"

#include <string.h>

static PyTypeObject *EntryType;
static PyObject *offset_name, *timestamp_name, *headers_name;

typedef struct {
    PyObject head;
    State *state;
    Emit *emit;
    PyObject *marks;  /* by source the furthest place that was seen of it */
    PyObject *letter; /* called with a letter's header: whether it is this stage's, and new */
    PyObject *gap;    /* raises: called with the offset expected, and the one found */
    int dense;        /* offsets follow each other */
    PyObject *source; /* the last record's; NULL without any */
    unsigned char mark[PLACE];
    Py_ssize_t marked; /* bytes of it: 0 where nothing of the source was seen before */
    long long handled, dropped;
} Entry;

static void Entry_dealloc(PyObject *object) {
    Entry *self = (Entry *)object;
    PyTypeObject *type = type_of(object);
    drop((PyObject *)self->state), drop((PyObject *)self->emit);
    drop(self->marks), drop(self->letter), drop(self->gap), drop(self->source);
    PyObject_Free(object);
    drop((PyObject *)type);
}

/* (state, emit, marks, letter, gap, dense) */
static PyObject *Entry_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    if (named != NULL || arguments("Entry", PyTuple_Size(args), 6) < 0) return NULL;
    PyObject *state = PyTuple_GetItem(args, 0), *emit = PyTuple_GetItem(args, 1), *marks = PyTuple_GetItem(args, 2);
    if (!PyType_IsSubtype(type_of(state), StateType) || !PyType_IsSubtype(type_of(emit), EmitType) ||
        PyDict_Size(marks) < 0) {
        PyErr_SetString(PyExc_TypeError, "an entry is of a State, an Emit and a dict");
        return NULL;
    }
    Entry *self = (Entry *)PyType_GenericAlloc(type, 0);
    if (self == NULL) return NULL;
    self->state = (State *)with_ref(state);
    self->emit = (Emit *)with_ref(emit);
    self->marks = with_ref(marks);
    self->letter = with_ref(PyTuple_GetItem(args, 3));
    self->gap = with_ref(PyTuple_GetItem(args, 4));
    self->dense = PyObject_IsTrue(PyTuple_GetItem(args, 5));
    return (PyObject *)self;
}

/* Watermarks: of the source at hand it is kept here, since most records are of the same as the one before. */

static int keep_mark(Entry *self) {
    if (self->source == NULL || !self->marked) return 0;
    PyObject *mark = PyBytes_FromStringAndSize((char *)self->mark, self->marked);
    int failed = mark == NULL ? -1 : PyDict_SetItem(self->marks, self->source, mark);
    drop(mark);
    return failed;
}

static int turn_to(Entry *self, const unsigned char *source, Py_ssize_t size) {
    if (self->source != NULL && PyBytes_Size(self->source) == size &&
        memcmp(PyBytes_AsString(self->source), source, (size_t)size) == 0)
        return 0;
    if (keep_mark(self) < 0) return -1;
    drop(self->source);
    self->marked = 0;
    self->source = PyBytes_FromStringAndSize((const char *)source, size);
    if (self->source == NULL) return -1;
    PyObject *mark = PyDict_GetItemWithError(self->marks, self->source);
    if (mark == NULL) return PyErr_Occurred() ? -1 : 0;
    Py_ssize_t found = PyBytes_Size(mark);
    if (found < 0) return -1;
    self->marked = found < PLACE ? found : PLACE;
    memcpy(self->mark, PyBytes_AsString(mark), (size_t)self->marked);
    return 0;
}

/* 1 where the origin is beyond all that was seen of its source. */
static int is_new(Entry *self, const Bytes *origin) {
    Py_ssize_t place = origin->size < PLACE ? origin->size : PLACE;
    const unsigned char *mark = origin->at + origin->size - place;
    if (turn_to(self, origin->at, origin->size - place) < 0) return -1;
    Py_ssize_t common = place < self->marked ? place : self->marked;
    int compared = memcmp(mark, self->mark, (size_t)common);
    if (compared < 0 || (compared == 0 && place <= self->marked)) return 0;
    memcpy(self->mark, mark, (size_t)place);
    self->marked = place;
    return 1;
}

/* What a record's headers say. */
typedef struct {
    int count;
    Header first, trace, cause; /* the first of all, and the first of these names; `name` is NULL without */
} Headers;

static int is_named(const Header *header, const char *name) {
    Py_ssize_t size = (Py_ssize_t)strlen(name);
    return header->names == size && memcmp(header->name, name, (size_t)size) == 0;
}

static void note(Headers *found, const Header *header) {
    if (!found->count++) found->first = *header;
    if (found->trace.name == NULL && is_named(header, "traceparent")) found->trace = *header;
    if (found->cause.name == NULL && is_named(header, "cause")) found->cause = *header;
}

/* Of a record of Kafka's. */
static int scan(Record *record, Headers *found) {
    if (record->packed == NULL) return 0;
    const unsigned char *at = (const unsigned char *)PyBytes_AsString(record->packed);
    Cursor from = {at, at + PyBytes_Size(record->packed)};
    Header header;
    while (from.at < from.end) {
        if (next_header(&from, &header) < 0) {
            PyErr_SetString(DecodeError, "not headers");
            return -1;
        }
        note(found, &header);
    }
    return 0;
}

/* Of any other. */
static int list(PyObject *pairs, Headers *found) {
    Header headers[MOST_HEADERS];
    int count = as_headers(pairs, headers);
    for (int i = 0; i < count; i++) note(found, &headers[i]);
    return count < 0 ? -1 : 0;
}

static int number(PyObject *record, PyObject *name, long long *found) {
    PyObject *value = PyObject_GetAttr(record, name);
    if (value == NULL) return -1;
    *found = PyLong_AsLongLong(value);
    drop(value);
    return PyErr_Occurred() ? -1 : 0;
}

/* A record's letter: 1 where it is for this stage, and new to it. */
static int claimed(Entry *self, const Header *header) {
    PyObject *value = PyBytes_FromStringAndSize((const char *)header->value, header->values);
    PyObject *answer = value == NULL ? NULL : PyObject_CallFunctionObjArgs(self->letter, value, NULL);
    int claimed = answer == NULL ? -1 : PyObject_IsTrue(answer);
    drop(value), drop(answer);
    return claimed;
}

/* 1 where the record is to be handled: by its headers it was not seen before, and is for this stage. */
static int admit(Entry *self, const Headers *headers) {
    Emit *emit = self->emit;
    const Header *first = &headers->first;
    if (headers->trace.name != NULL) {
        drop(emit->trace);
        emit->trace = header_pair(&headers->trace);
        if (emit->trace == NULL) {
            emit->trace = with_ref(Py_None);
            return -1;
        }
    }
    int is_origin = is_named(first, "origin"), is_letter = is_named(first, "letter"), is_cause = is_named(first, "cause");
    if ((is_origin || is_letter || is_cause) && first->value == NULL) {
        PyErr_SetString(PyExc_TypeError, "a header that says where the record comes from is null");
        return -1;
    }
    Bytes cause = {NULL, 0};
    if (headers->count > 1 && headers->cause.name != NULL) cause = (Bytes){headers->cause.value, headers->cause.values};
    if (is_origin) {
        Bytes origin = {first->value, first->values};
        int found = is_new(self, &origin);
        if (found <= 0) return found;
        emit->cause = cause.size > 0 ? cause : origin;
    } else if (is_letter) {
        int found = claimed(self, first);
        if (found <= 0) return found;
        emit->cause = cause;
    } else if (is_cause && !self->dense) {
        emit->cause = (Bytes){first->value, first->values};
    }
    return 1;
}

/* Makes the record the one at hand: 1 where it is to be handled. */
static int enter(Entry *self, PyObject *record) {
    State *state = self->state;
    Headers headers = {0};
    PyObject *pairs = NULL;
    long long offset, timestamp;
    int of_kafka = type_of(record) == RecordType, admitted;
    if (of_kafka) {
        offset = ((Record *)record)->offset;
        timestamp = ((Record *)record)->timestamp;
    } else if (number(record, offset_name, &offset) < 0 || number(record, timestamp_name, &timestamp) < 0) {
        return -1;
    }
    if (offset != state->offset + 1 && self->dense) {
        PyObject *expected = PyLong_FromLongLong(state->offset + 1), *found = PyLong_FromLongLong(offset);
        PyObject *never = NULL;
        if (expected != NULL && found != NULL) never = PyObject_CallFunctionObjArgs(self->gap, expected, found, NULL);
        drop(expected), drop(found), drop(never);
        return -1;
    }
    state->offset = offset;
    if (timestamp > state->clock) state->clock = timestamp;
    emit_enter(self->emit, record, offset, timestamp);
    if (of_kafka) {
        if (scan((Record *)record, &headers) < 0) return -1;
    } else {
        pairs = PyObject_GetAttr(record, headers_name);
        if (pairs == NULL || list(pairs, &headers) < 0) {
            drop(pairs);
            return -1;
        }
    }
    admitted = headers.count ? admit(self, &headers) : 1;
    drop(pairs); /* the record holds them as well */
    return admitted;
}

static PyObject *Entry_enter(PyObject *object, PyObject *record) {
    Entry *self = (Entry *)object;
    int admitted = enter(self, record);
    if (admitted < 0 || keep_mark(self) < 0) return NULL;
    return with_ref(admitted ? &_Py_TrueStruct : &_Py_FalseStruct);
}

/* (records, step): calls step(record, state, emit) for each that is to be handled. */
static PyObject *Entry_run(PyObject *object, PyObject *const *args, Py_ssize_t given) {
    Entry *self = (Entry *)object;
    if (arguments("run", given, 2) < 0) return NULL;
    for (Py_ssize_t i = 0; i < PyList_Size(args[0]); i++) {
        PyObject *record = PyList_GetItem(args[0], i);
        int admitted = record == NULL ? -1 : enter(self, record);
        if (admitted < 0) return NULL;
        if (admitted) {
            PyObject *done =
                PyObject_CallFunctionObjArgs(args[1], record, (PyObject *)self->state, (PyObject *)self->emit, NULL);
            if (done == NULL) return NULL;
            drop(done);
        } else {
            self->dropped++;
        }
        self->handled++;
    }
    if (PyErr_Occurred() || keep_mark(self) < 0) return NULL;
    return with_ref(Py_None);
}

static PyMethodDef entry_methods[] = {
    {"enter", Entry_enter, METH_O, "Makes a record the one at hand; False if it was handled before, or is not for us."},
    {"run", FAST(Entry_run), "Calls a step for each record that is to be handled."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef entry_members[] = {
    {"handled", LONGLONG, offsetof(Entry, handled), READONLY, "Records whose steps have succeeded, or had none."},
    {"dropped", LONGLONG, offsetof(Entry, dropped), READONLY, "Of those, the ones that had none."},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot entry_slots[] = {
    {Py_tp_new, (void *)Entry_new},       {Py_tp_dealloc, (void *)Entry_dealloc},
    {Py_tp_methods, entry_methods},       {Py_tp_members, entry_members},
    {0, NULL},
};
static PyType_Spec entry_spec = {"native.Entry", sizeof(Entry), 0, Py_TPFLAGS_DEFAULT, entry_slots};

int add_entry(PyObject *module) {
    offset_name = PyUnicode_InternFromString("offset");
    timestamp_name = PyUnicode_InternFromString("timestamp");
    headers_name = PyUnicode_InternFromString("headers");
    if (offset_name == NULL || timestamp_name == NULL || headers_name == NULL) return -1;
    return add_type(module, "Entry", &entry_spec, &EntryType);
}
