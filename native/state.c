/* An agent's state as its steps see it: the batch's changes, and before them what is stored, behind a filter.
 *
 * runtime/agent.py and runtime/filter.py say what these are for; here is what each record asks of them.
 */
#include "native.h"

#include <stdlib.h>
#include <string.h>

PyTypeObject *FilterType, *StateType;
PyObject *TooLarge;

int too_large(Py_ssize_t size, Py_ssize_t most, const char *what) {
    if (size <= most) return 0;
    PyErr_Format(TooLarge, "%s of %zd bytes is more than the %zd that a record can hold", what, size, most);
    return 1;
}

/* One bit for each key's hash, which is Python's: of this process alone, and kept with the key. */

typedef struct {
    PyObject head;
    unsigned char *bits;
    uint64_t mask;
    long long room;
} Filter;

static void Filter_dealloc(PyObject *object) {
    PyTypeObject *type = type_of(object);
    void (*release)(void *) = (void (*)(void *))PyType_GetSlot(type, Py_tp_free);
    free(((Filter *)object)->bits);
    release(object);
    drop((PyObject *)type);
}

/* (bytes): a power of two; 0 for a filter that finds every key, and has no room. */
static PyObject *Filter_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    if (named != NULL || arguments("Filter", PyTuple_Size(args), 1) < 0) return NULL;
    Py_ssize_t size = PyLong_AsSsize_t(PyTuple_GetItem(args, 0));
    if (PyErr_Occurred()) return NULL;
    if (size < 0 || (size & (size - 1))) {
        PyErr_SetString(PyExc_ValueError, "a filter has a power of two of bytes");
        return NULL;
    }
    Filter *self = (Filter *)PyType_GenericAlloc(type, 0);
    if (self == NULL) return NULL;
    self->bits = calloc(size ? (size_t)size : 1, 1);
    if (self->bits == NULL) {
        drop((PyObject *)self);
        return PyErr_NoMemory();
    }
    if (size == 0) self->bits[0] = 0xFF;
    self->mask = size ? (uint64_t)size - 1 : 0;
    self->room = size;
    return (PyObject *)self;
}

static int filter_holds(const Filter *self, PyObject *key) {
    Py_ssize_t hash = PyObject_Hash(key);
    if (hash == -1) return -1;
    return self->bits[(uint64_t)hash >> 3 & self->mask] >> (hash & 7) & 1;
}

static PyObject *Filter_may_hold(PyObject *object, PyObject *key) {
    int holds = filter_holds((Filter *)object, key);
    return holds < 0 ? NULL : with_ref(holds ? &_Py_TrueStruct : &_Py_FalseStruct);
}

static PyObject *Filter_add(PyObject *object, PyObject *keys) {
    Filter *self = (Filter *)object;
    Py_ssize_t count = PyList_Size(keys);
    if (count < 0) return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t hash = PyObject_Hash(PyList_GetItem(keys, i));
        if (hash == -1) return NULL;
        self->bits[(uint64_t)hash >> 3 & self->mask] |= (unsigned char)(1 << (hash & 7));
    }
    self->room -= count;
    return with_ref(Py_None);
}

static PyMethodDef filter_methods[] = {
    {"add", Filter_add, METH_O, "These keys, a list, are held from now on."},
    {"may_hold", Filter_may_hold, METH_O, "False for a key that was never added."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef filter_members[] = {
    {"room", LONGLONG, offsetof(Filter, room), READONLY, "Keys that may still be added before it is full."},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot filter_slots[] = {
    {Py_tp_new, (void *)Filter_new},       {Py_tp_dealloc, (void *)Filter_dealloc},
    {Py_tp_methods, filter_methods},       {Py_tp_members, filter_members},
    {0, NULL},
};
static PyType_Spec filter_spec = {
    "native.Filter", sizeof(Filter), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, filter_slots,
};

/* The batch's changes, as runtime.changelog has them: (kind, key, value, offset). */

enum { PUT, DELETE };
enum { STORED_OFFSET = 8 }; /* bytes before a stored value: the offset of its last change */

static PyObject *put_kind, *get_name;

static void State_dealloc(PyObject *object) {
    State *self = (State *)object;
    PyTypeObject *type = type_of(object);
    void (*release)(void *) = (void (*)(void *))PyType_GetSlot(type, Py_tp_free);
    drop(self->reads), drop(self->filter), drop(self->changes), drop(self->meta), drop(self->ordered), drop(self->insort);
    release(object);
    drop((PyObject *)type);
}

/* (reads, filter or None, meta, partition, log, most bytes of a value, insort) */
static PyObject *State_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    if (named != NULL || arguments("State", PyTuple_Size(args), 7) < 0) return NULL;
    State *self = (State *)PyType_GenericAlloc(type, 0);
    if (self == NULL) return NULL;
    PyObject *filter = PyTuple_GetItem(args, 1);
    self->reads = with_ref(PyTuple_GetItem(args, 0));
    if (filter != Py_None && PyType_IsSubtype(type_of(filter), FilterType)) self->filter = with_ref(filter);
    self->meta = with_ref(PyTuple_GetItem(args, 2));
    self->partition = PyLong_AsLongLong(PyTuple_GetItem(args, 3));
    self->log = PyLong_AsLongLong(PyTuple_GetItem(args, 4));
    self->most = PyLong_AsLongLong(PyTuple_GetItem(args, 5));
    self->insort = with_ref(PyTuple_GetItem(args, 6));
    self->ordered = with_ref(Py_None);
    self->changes = PyDict_New();
    self->offset = self->clock = -1;
    if (PyErr_Occurred()) {
        drop((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyObject *value_of(PyObject *change) {
    PyObject *kind = PyTuple_GetItem(change, 0), *value = PyTuple_GetItem(change, 2);
    if (kind == NULL || value == NULL) return NULL;
    long found = PyLong_AsLong(kind);
    if (found == -1 && PyErr_Occurred()) return NULL;
    return with_ref(found == DELETE ? Py_None : value);
}

/* A key of the agent's: bytes, and at least one, since the marker stands under none. */
static int as_key(PyObject *key) {
    Py_ssize_t size = PyBytes_Size(key);
    if (size == 0) PyErr_SetString(PyExc_ValueError, "the empty key of a state is the runtime's");
    return size > 0 ? 0 : -1;
}

static PyObject *State_get(PyObject *object, PyObject *key) {
    State *self = (State *)object;
    if (as_key(key) < 0) return NULL;
    PyObject *change = PyDict_GetItemWithError(self->changes, key);
    if (change != NULL) return value_of(change);
    if (PyErr_Occurred()) return NULL;
    if (self->filter != NULL) {
        int holds = filter_holds((Filter *)self->filter, key);
        if (holds <= 0) return holds < 0 ? NULL : with_ref(Py_None);
    }
    PyObject *stored = PyObject_CallMethodObjArgs(self->reads, get_name, key, NULL);
    if (stored == NULL || stored == Py_None) return stored;
    char *bytes;
    Py_ssize_t size;
    PyObject *value = NULL;
    if (PyBytes_AsStringAndSize(stored, &bytes, &size) == 0)
        value = size < STORED_OFFSET ? PyBytes_FromStringAndSize(NULL, 0)
                                     : PyBytes_FromStringAndSize(bytes + STORED_OFFSET, size - STORED_OFFSET);
    drop(stored);
    return value;
}

/* Where the changes are kept in order as well, for scans, a new key finds its place. */
static int note_order(State *self, PyObject *key) {
    if (self->ordered == Py_None || PyDict_GetItemWithError(self->changes, key) != NULL) return 0;
    if (PyErr_Occurred()) return -1;
    PyObject *done = PyObject_CallFunctionObjArgs(self->insort, self->ordered, key, NULL);
    drop(done);
    return done == NULL ? -1 : 0;
}

static PyObject *State_put(PyObject *object, PyObject *const *args, Py_ssize_t given) {
    State *self = (State *)object;
    if (arguments("put", given, 2) < 0) return NULL;
    Py_ssize_t size = PyBytes_Size(args[1]);
    if (size < 0 || as_key(args[0]) < 0) return NULL;
    if (too_large(PyBytes_Size(args[0]) + size, (Py_ssize_t)self->most, "a state")) return NULL;
    if (note_order(self, args[0]) < 0) return NULL;
    PyObject *change = PyTuple_New(4), *offset = PyLong_FromLongLong(self->offset);
    if (change == NULL || offset == NULL) {
        drop(change), drop(offset);
        return NULL;
    }
    PyTuple_SetItem(change, 0, with_ref(put_kind));
    PyTuple_SetItem(change, 1, with_ref(args[0]));
    PyTuple_SetItem(change, 2, with_ref(args[1]));
    PyTuple_SetItem(change, 3, offset);
    int failed = PyDict_SetItem(self->changes, args[0], change);
    drop(change);
    return failed ? NULL : with_ref(Py_None);
}

static PyMethodDef state_methods[] = {
    {"get", State_get, METH_O, "The value, or None."},
    {"put", FAST(State_put), "Sets a value. The empty key is the runtime's. Raises TooLarge."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef state_members[] = {
    {"changes", OBJECT, offsetof(State, changes), READONLY, "The batch's, by key."},
    {"meta", OBJECT, offsetof(State, meta), 0, "Small facts of the agent's own about the whole partition; JSON."},
    {"_ordered", OBJECT, offsetof(State, ordered), 0, "The changed keys in order, once anybody has scanned them."},
    {"_reads", OBJECT, offsetof(State, reads), READONLY, "Where the state is read from."},
    {"partition", LONGLONG, offsetof(State, partition), READONLY, "Input partition."},
    {"log", LONGLONG, offsetof(State, log), READONLY, "The incarnation of the input topic."},
    {"offset", LONGLONG, offsetof(State, offset), 0, "Offset of the record at hand."},
    {"clock", LONGLONG, offsetof(State, clock), 0,
     "Stream time: the running maximum of the input's record timestamps, milliseconds."},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot state_slots[] = {
    {Py_tp_new, (void *)State_new},       {Py_tp_dealloc, (void *)State_dealloc},
    {Py_tp_methods, state_methods},       {Py_tp_members, state_members},
    {0, NULL},
};
static PyType_Spec state_spec = {
    "native.State", sizeof(State), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, state_slots,
};

int add_state(PyObject *module) {
    put_kind = PyLong_FromLongLong(PUT);
    get_name = PyUnicode_InternFromString("get");
    TooLarge = PyErr_NewExceptionWithDoc(
        "runtime.agent.TooLarge", "An output or a state is more than Kafka takes.", PyExc_ValueError, NULL);
    if (put_kind == NULL || get_name == NULL || TooLarge == NULL || PyModule_AddObjectRef(module, "TooLarge", TooLarge) < 0)
        return -1;
    return add_type(module, "Filter", &filter_spec, &FilterType) < 0 ||
                   add_type(module, "State", &state_spec, &StateType) < 0
               ? -1
               : 0;
}
