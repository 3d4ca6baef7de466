/* Where an agent's outputs go (runtime/agent.py, Emit; runtime/producer.py, Outbox), and where each comes from. */
#include "native.h"

#include <stdlib.h>
#include <string.h>

PyTypeObject *EmitType, *OutboxType;
PyObject *OriginError;
static PyObject *add_name;

/* Origins: 1 byte format | 4 epoch | 8 log | 4 partition | agent's name || 8 offset | 4 index, as runtime/origin.py says. */

enum { FORMAT = 1, SOURCE = 17, LOG_AT = 5 };

static unsigned char *write_number(unsigned char *to, uint64_t value, int size) {
    for (int i = size - 1; i >= 0; i--) *to++ = (unsigned char)(value >> 8 * i);
    return to;
}

/* log, partition and offset, packed, out of an origin. */
static PyObject *packed(const Bytes *origin) {
    if (origin->at != NULL && origin->size >= SOURCE + PLACE && origin->at[0] == FORMAT) {
        unsigned char found[20];
        memcpy(found, origin->at + LOG_AT, 12);
        memcpy(found + 12, origin->at + origin->size - PLACE, 8);
        return PyBytes_FromStringAndSize((char *)found, sizeof(found));
    }
    PyObject *shown = PyBytes_FromStringAndSize((const char *)origin->at, origin->size);
    if (shown != NULL) PyErr_Format(OriginError, "not an origin: %R", shown);
    drop(shown);
    return NULL;
}

static PyObject *packed_coordinates(PyObject *module, PyObject *header) {
    (void)module;
    Bytes origin;
    return as_bytes(header, &origin) < 0 ? NULL : packed(&origin);
}

/* The records that a batch of input gives, by target partition, in order. */

typedef struct {
    PyObject head;
    PyObject *make;    /* makes an empty batch */
    PyObject *targets; /* by (topic, partition) a list of batches */
    struct Target {
        PyObject *topic;
        long long partition;
        PyObject *batches, *last;
    } *known;
    Py_ssize_t count, room;
} Outbox;

static void Outbox_dealloc(PyObject *object) {
    Outbox *self = (Outbox *)object;
    PyTypeObject *type = type_of(object);
    void (*release)(void *) = (void (*)(void *))PyType_GetSlot(type, Py_tp_free);
    for (Py_ssize_t i = 0; i < self->count; i++) {
        struct Target *target = &self->known[i];
        drop(target->topic), drop(target->batches), drop(target->last);
    }
    free(self->known);
    drop(self->make), drop(self->targets);
    release(object);
    drop((PyObject *)type);
}

/* (make) */
static PyObject *Outbox_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    if (named != NULL || arguments("Outbox", PyTuple_Size(args), 1) < 0) return NULL;
    Outbox *self = (Outbox *)PyType_GenericAlloc(type, 0);
    if (self == NULL) return NULL;
    self->make = with_ref(PyTuple_GetItem(args, 0));
    self->targets = PyDict_New();
    if (self->targets == NULL) {
        drop((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static int begin_batch(Outbox *self, struct Target *target) {
    PyObject *batch = PyObject_CallFunctionObjArgs(self->make, NULL);
    if (batch == NULL || PyList_Append(target->batches, batch) < 0) {
        drop(batch);
        return -1;
    }
    drop(target->last);
    target->last = batch;
    return 0;
}

static struct Target *new_target(Outbox *self, PyObject *topic, long long partition) {
    if (self->count == self->room) {
        Py_ssize_t room = self->room ? 2 * self->room : 16;
        struct Target *known = realloc(self->known, (size_t)room * sizeof(struct Target));
        if (known == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        self->known = known;
        self->room = room;
    }
    PyObject *number = PyLong_FromLongLong(partition), *place = PyTuple_New(2), *batches = PyList_New(0);
    if (number == NULL || place == NULL || batches == NULL) {
        drop(number), drop(place), drop(batches);
        return NULL;
    }
    PyTuple_SetItem(place, 0, with_ref(topic));
    PyTuple_SetItem(place, 1, number);
    int failed = PyDict_SetItem(self->targets, place, batches);
    drop(place);
    if (failed) {
        drop(batches);
        return NULL;
    }
    struct Target *target = &self->known[self->count++];
    *target = (struct Target){with_ref(topic), partition, batches, NULL};
    return begin_batch(self, target) < 0 ? NULL : target;
}

/* Topics are few, and nearly always the very same objects. */
static struct Target *target_of(Outbox *self, PyObject *topic, long long partition) {
    for (int careful = 0; careful < 2; careful++)
        for (Py_ssize_t i = 0; i < self->count; i++) {
            struct Target *target = &self->known[i];
            if (target->partition != partition || target->last == NULL) continue;
            if (careful ? PyUnicode_Compare(target->topic, topic) == 0 : target->topic == topic) return target;
        }
    return PyErr_Occurred() ? NULL : new_target(self, topic, partition);
}

static PyObject *as_pairs(const Header *headers, int count) {
    PyObject *pairs = PyList_New(count);
    for (int i = 0; pairs != NULL && i < count; i++) {
        PyObject *pair = header_pair(&headers[i]);
        if (pair == NULL || PyList_SetItem(pairs, i, pair) < 0) drop(pairs), pairs = NULL;
    }
    return pairs;
}

static PyObject *as_object(const Bytes *bytes) {
    return bytes->at == NULL ? with_ref(Py_None) : PyBytes_FromStringAndSize((const char *)bytes->at, bytes->size);
}

/* Appends to a batch of whatever type: 1 where there was room. */
static int append(PyObject *batch, const Output *output) {
    if (type_of(batch) == BatchType || PyType_IsSubtype(type_of(batch), BatchType))
        return batch_append((Batch *)batch, output->timestamp, &output->key, &output->value, output->headers,
                            output->count);
    PyObject *timestamp = PyLong_FromLongLong(output->timestamp), *pairs = as_pairs(output->headers, output->count);
    PyObject *key = as_object(&output->key), *value = as_object(&output->value), *answer = NULL;
    if (timestamp != NULL && pairs != NULL && key != NULL && value != NULL)
        answer = PyObject_CallMethodObjArgs(batch, add_name, timestamp, key, value, pairs, NULL);
    drop(timestamp), drop(pairs), drop(key), drop(value);
    int room = answer == NULL ? -1 : PyObject_IsTrue(answer);
    drop(answer);
    return room;
}

static int outbox_add(Outbox *self, const Output *output) {
    struct Target *target = target_of(self, output->topic, output->partition);
    if (target == NULL) return -1;
    int room = append(target->last, output);
    if (room != 0) return room < 0 ? -1 : 0;
    if (begin_batch(self, target) < 0) return -1;
    return append(target->last, output) < 0 ? -1 : 0;
}

/* (topic, partition, key, value, headers, timestamp) */
static PyObject *Outbox_add(PyObject *object, PyObject *const *args, Py_ssize_t given) {
    Output output;
    if (arguments("add", given, 6) < 0 || as_bytes(args[2], &output.key) < 0 || as_bytes(args[3], &output.value) < 0)
        return NULL;
    output.topic = args[0];
    output.partition = PyLong_AsLongLong(args[1]);
    output.timestamp = PyLong_AsLongLong(args[5]);
    if (PyErr_Occurred()) return NULL;
    output.count = as_headers(args[4], output.headers);
    if (output.count < 0 || outbox_add((Outbox *)object, &output) < 0) return NULL;
    return with_ref(Py_None);
}

static PyMethodDef outbox_methods[] = {
    {"add", FAST(Outbox_add), "Adds a record; the timestamp in milliseconds."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef outbox_members[] = {
    {"targets", OBJECT, offsetof(Outbox, targets), READONLY, "By (topic, partition) a list of batches."},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot outbox_slots[] = {
    {Py_tp_new, (void *)Outbox_new},       {Py_tp_dealloc, (void *)Outbox_dealloc},
    {Py_tp_methods, outbox_methods},       {Py_tp_members, outbox_members},
    {0, NULL},
};
static PyType_Spec outbox_spec = {
    "native.Outbox", sizeof(Outbox), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, outbox_slots,
};

/* The outputs of the record at hand. */

static void Emit_dealloc(PyObject *object) {
    Emit *self = (Emit *)object;
    PyTypeObject *type = type_of(object);
    void (*release)(void *) = (void (*)(void *))PyType_GetSlot(type, Py_tp_free);
    drop(self->add), drop(self->source), drop(self->partitions), drop(self->scratch), drop(self->record);
    drop(self->trace), drop(self->cause_object);
    release(object);
    drop((PyObject *)type);
}

/* (add, source, partitions, epoch, most bytes of a value) */
static PyObject *Emit_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    if (named != NULL || arguments("Emit", PyTuple_Size(args), 5) < 0) return NULL;
    Emit *self = (Emit *)PyType_GenericAlloc(type, 0);
    if (self == NULL) return NULL;
    self->add = with_ref(PyTuple_GetItem(args, 0));
    self->source = with_ref(PyTuple_GetItem(args, 1));
    self->partitions = with_ref(PyTuple_GetItem(args, 2));
    self->epoch = PyLong_AsLongLong(PyTuple_GetItem(args, 3));
    self->most = PyLong_AsLongLong(PyTuple_GetItem(args, 4));
    self->scratch = PyDict_New();
    self->trace = with_ref(Py_None);
    self->offset = self->timestamp = -1;
    if (PyBytes_Size(self->source) < 0 || PyDict_Size(self->partitions) < 0 || PyErr_Occurred()) {
        drop((PyObject *)self);
        return NULL;
    }
    /* An outbox of ours is added to without a call. */
    if (type_of(self->add) == &PyCFunction_Type) {
        PyObject *owner = PyCFunction_GetSelf(self->add);
        if (owner != NULL && PyType_IsSubtype(type_of(owner), OutboxType)) self->outbox = owner;
    }
    return (PyObject *)self;
}

static int send(Emit *self, const Output *output) {
    if (self->outbox != NULL) return outbox_add((Outbox *)self->outbox, output);
    PyObject *partition = PyLong_FromLongLong(output->partition), *timestamp = PyLong_FromLongLong(output->timestamp);
    PyObject *pairs = as_pairs(output->headers, output->count), *done = NULL;
    PyObject *key = as_object(&output->key), *value = as_object(&output->value);
    if (partition != NULL && timestamp != NULL && pairs != NULL && key != NULL && value != NULL)
        done = PyObject_CallFunctionObjArgs(self->add, output->topic, partition, key, value, pairs, timestamp, NULL);
    drop(partition), drop(timestamp), drop(pairs), drop(key), drop(value);
    drop(done);
    return done == NULL ? -1 : 0;
}

static Header header_of(const char *name, const Bytes *value) {
    return (Header){(const unsigned char *)name, value->at, (Py_ssize_t)strlen(name), value->size};
}

/* Key and value to a topic, with the origin that the place says, and further headers. */
static int emit_output(Emit *self, PyObject *topic, PyObject *key, PyObject *value, int64_t offset, int64_t index,
                       int64_t timestamp, int further) {
    Output output = {.topic = topic, .timestamp = timestamp, .count = 1};
    Bytes origin = {NULL, PyBytes_Size(self->source)};
    unsigned char bytes[512];
    if (as_bytes(key, &output.key) < 0 || as_bytes(value, &output.value) < 0) return -1;
    if (origin.size + PLACE > (Py_ssize_t)sizeof(bytes)) {
        PyErr_SetString(PyExc_ValueError, "an agent has a shorter name");
        return -1;
    }
    PyObject *partitions = PyDict_GetItemWithError(self->partitions, topic);
    if (partitions == NULL) {
        if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "%S is not among the agent's outputs", topic);
        return -1;
    }
    long long count = PyLong_AsLongLong(partitions);
    if (count < 1) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "there is at least one partition");
        return -1;
    }
    output.partition = (long long)(xxh64(output.key.at, output.key.size) % (uint64_t)count);
    memcpy(bytes, PyBytes_AsString(self->source), (size_t)origin.size);
    write_number(write_number(bytes + origin.size, (uint64_t)offset, 8), (uint64_t)index, 4);
    origin.at = bytes;
    origin.size += PLACE;
    output.headers[0] = header_of("origin", &origin);
    if (further && self->trace != Py_None) {
        PyObject *name = PyTuple_GetItem(self->trace, 0), *trace = PyTuple_GetItem(self->trace, 1);
        Header *header = &output.headers[output.count++];
        Bytes found;
        if (name == NULL || trace == NULL || as_bytes(trace, &found) < 0) return -1;
        header->name = (const unsigned char *)PyUnicode_AsUTF8AndSize(name, &header->names);
        header->value = found.at;
        header->values = found.size;
        if (header->name == NULL) return -1;
    }
    if (further && self->cause.at != NULL) output.headers[output.count++] = header_of("cause", &self->cause);
    return send(self, &output);
}

/* (topic, key, value): a record, in the partition of its key. */
static PyObject *Emit_record(PyObject *object, PyObject *const *args, Py_ssize_t given) {
    Emit *self = (Emit *)object;
    if (arguments("record", given, 3) < 0) return NULL;
    Py_ssize_t keys = PyBytes_Size(args[1]), size = PyBytes_Size(args[2]);
    if (keys < 0 || size < 0 || too_large(keys + size, (Py_ssize_t)self->most, "an output")) return NULL;
    PyObject *topic = PyObject_GetAttr(args[0], topic_name);
    if (topic == NULL) return NULL;
    int failed = emit_output(self, topic, args[1], args[2], self->offset, self->index++, self->timestamp, 1);
    drop(topic);
    return failed ? NULL : with_ref(Py_None);
}

/* (topic's name, key, value, offset, index, timestamp): a row, with nothing but its origin. */
static PyObject *Emit_write(PyObject *object, PyObject *const *args, Py_ssize_t given) {
    Emit *self = (Emit *)object;
    if (arguments("_write", given, 6) < 0) return NULL;
    Py_ssize_t keys = PyBytes_Size(args[1]), size = PyBytes_Size(args[2]);
    if (keys < 0 || size < 0 || too_large(keys + size, (Py_ssize_t)self->most, "a row")) return NULL;
    long long numbers[3];
    for (int i = 0; i < 3; i++) numbers[i] = PyLong_AsLongLong(args[3 + i]);
    if (PyErr_Occurred()) return NULL;
    if (emit_output(self, args[0], args[1], args[2], numbers[0], numbers[1], numbers[2], 0) < 0) return NULL;
    return with_ref(Py_None);
}

void emit_enter(Emit *self, PyObject *record, int64_t offset, int64_t timestamp) {
    Py_IncRef(record); /* what `cause` points to is the record's */
    drop(self->record);
    drop(self->cause_object);
    self->record = record;
    self->cause_object = NULL;
    self->cause = (Bytes){NULL, 0};
    if (self->trace != Py_None) {
        drop(self->trace);
        self->trace = with_ref(Py_None);
    }
    self->offset = offset;
    self->timestamp = timestamp;
    self->index = 0;
}

static PyObject *Emit_cause(PyObject *object, void *closure) {
    (void)closure;
    Emit *self = (Emit *)object;
    if (self->cause.at == NULL) return with_ref(Py_None);
    if (self->cause_object == NULL) self->cause_object = as_object(&self->cause);
    return self->cause_object == NULL ? NULL : with_ref(self->cause_object);
}

static PyObject *Emit_coordinates(PyObject *object, void *closure) {
    (void)closure;
    Emit *self = (Emit *)object;
    return self->cause.at == NULL ? with_ref(Py_None) : packed(&self->cause);
}

static PyMethodDef emit_methods[] = {
    {"record", FAST(Emit_record), "Appends a record to a topic, in the partition of its key. Raises TooLarge."},
    {"_write", FAST(Emit_write), "Appends a row."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef emit_members[] = {
    {"epoch", LONGLONG, offsetof(Emit, epoch), READONLY, "Epoch of the agent: with the offset, the version of a row."},
    {"offset", LONGLONG, offsetof(Emit, offset), 0, "Of the record at hand."},
    {"timestamp", LONGLONG, offsetof(Emit, timestamp), 0, "Of the record at hand, milliseconds."},
    {"index", LONGLONG, offsetof(Emit, index), 0, "How many outputs it has had so far."},
    {"trace", OBJECT, offsetof(Emit, trace), READONLY, "The header of its W3C trace."},
    {"scratch", OBJECT, offsetof(Emit, scratch), READONLY, "The agent's own notes about the batch, for its ``close``."},
    {NULL, 0, 0, 0, NULL},
};
static PyGetSetDef emit_getters[] = {
    {"cause", Emit_cause, NULL,
     "An origin that says what ingest record caused the one at hand; None where it is that record itself.", NULL},
    {"coordinates", Emit_coordinates, NULL,
     "The place of that ingest record, as runtime.origin.PACKED says; or None. Raises OriginError.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot emit_slots[] = {
    {Py_tp_new, (void *)Emit_new},       {Py_tp_dealloc, (void *)Emit_dealloc}, {Py_tp_methods, emit_methods},
    {Py_tp_members, emit_members},       {Py_tp_getset, emit_getters},          {0, NULL},
};
static PyType_Spec emit_spec = {
    "native.Emit", sizeof(Emit), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, emit_slots,
};

PyObject *topic_name;
static PyMethodDef functions[] = {
    {"packed_coordinates", packed_coordinates, METH_O,
     "log, partition and offset of an origin's record, as runtime.origin.PACKED says. Raises OriginError."},
    {NULL, NULL, 0, NULL},
};

int add_emit(PyObject *module) {
    add_name = PyUnicode_InternFromString("add");
    topic_name = PyUnicode_InternFromString("name");
    OriginError =
        PyErr_NewExceptionWithDoc("runtime.origin.OriginError", "The header is not an origin.", PyExc_ValueError, NULL);
    if (add_name == NULL || topic_name == NULL || OriginError == NULL ||
        PyModule_AddObjectRef(module, "OriginError", OriginError) < 0 || PyModule_AddFunctions(module, functions) < 0)
        return -1;
    return add_type(module, "Outbox", &outbox_spec, &OutboxType) < 0 || add_type(module, "Emit", &emit_spec, &EmitType) < 0
               ? -1
               : 0;
}
