/* Kafka's records (format 2): read from a fetched batch, and written into one that is to be sent.
 *
 * What is compressed, checksummed and sent is Python's business; here are only the bytes of the records themselves.
 * https://kafka.apache.org/documentation/#recordbatch
 */
#include "native.h"

#include <stdlib.h>
#include <string.h>

PyTypeObject *RecordType, *BatchType;

/* Where a key goes: xxh64 with seed 0 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md). */

static const uint64_t P1 = 0x9E3779B185EBCA87u, P2 = 0xC2B2AE3D27D4EB4Fu, P3 = 0x165667B19E3779F9u,
                      P4 = 0x85EBCA77C2B2AE63u, P5 = 0x27D4EB2F165667C5u;

static uint64_t rotated(uint64_t value, int by) { return value << by | value >> (64 - by); }
static uint64_t word(const unsigned char *at, int size) {
    uint64_t value = 0;
    for (int i = 0; i < size; i++) value |= (uint64_t)at[i] << 8 * i;
    return value;
}
static uint64_t mixed(uint64_t lane, uint64_t input) { return rotated(lane + input * P2, 31) * P1; }

uint64_t xxh64(const unsigned char *at, Py_ssize_t size) {
    const unsigned char *end = at + size;
    uint64_t hash = P5;
    if (size >= 32) {
        uint64_t lanes[4] = {P1 + P2, P2, 0, 0 - P1};
        for (; end - at >= 32; at += 32)
            for (int i = 0; i < 4; i++) lanes[i] = mixed(lanes[i], word(at + 8 * i, 8));
        hash = rotated(lanes[0], 1) + rotated(lanes[1], 7) + rotated(lanes[2], 12) + rotated(lanes[3], 18);
        for (int i = 0; i < 4; i++) hash = (hash ^ mixed(0, lanes[i])) * P1 + P4;
    }
    hash += (uint64_t)size;
    for (; end - at >= 8; at += 8) hash = rotated(hash ^ mixed(0, word(at, 8)), 27) * P1 + P4;
    if (end - at >= 4) hash = rotated(hash ^ word(at, 4) * P1, 23) * P2 + P3, at += 4;
    for (; at < end; at++) hash = rotated(hash ^ *at * P5, 11) * P1;
    hash = (hash ^ hash >> 33) * P2;
    hash = (hash ^ hash >> 29) * P3;
    return hash ^ hash >> 32;
}

static PyObject *partition_of(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    (void)module;
    char *key;
    Py_ssize_t size;
    if (arguments("partition_of", count, 2) < 0 || PyBytes_AsStringAndSize(args[0], &key, &size) < 0) return NULL;
    long long partitions = PyLong_AsLongLong(args[1]);
    if (PyErr_Occurred()) return NULL;
    if (partitions < 1) {
        PyErr_SetString(PyExc_ValueError, "there is at least one partition");
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(xxh64((unsigned char *)key, size) % (uint64_t)partitions);
}

/* A fetched record. */

static void Record_dealloc(PyObject *object) {
    Record *self = (Record *)object;
    PyTypeObject *type = type_of(object);
    drop(self->key);
    drop(self->value);
    drop(self->packed);
    drop(self->headers);
    PyObject_Free(object);
    drop((PyObject *)type);
}

int next_header(Cursor *from, Header *header) {
    int64_t names, values;
    if (read_varint(from, &names) < 0 || (header->name = read_bytes(from, names)) == NULL) return -1;
    header->names = (Py_ssize_t)names;
    if (read_varint(from, &values) < 0) return -1;
    header->values = (Py_ssize_t)values;
    header->value = NULL;
    if (values < 0) return 0; /* null */
    return (header->value = read_bytes(from, values)) == NULL ? -1 : 0;
}

PyObject *header_pair(const Header *header) {
    PyObject *pair = PyTuple_New(2);
    PyObject *name = PyUnicode_DecodeUTF8((const char *)header->name, header->names, "replace");
    PyObject *value = header->value == NULL ? with_ref(Py_None)
                                            : PyBytes_FromStringAndSize((const char *)header->value, header->values);
    if (pair == NULL || name == NULL || value == NULL) {
        drop(pair), drop(name), drop(value);
        return NULL;
    }
    PyTuple_SetItem(pair, 0, name);
    PyTuple_SetItem(pair, 1, value);
    return pair;
}

/* The headers as pairs of name and bytes, made when somebody asks for them. */
static PyObject *Record_headers(PyObject *object, void *closure) {
    (void)closure;
    Record *self = (Record *)object;
    if (self->headers == NULL) {
        PyObject *found = PyList_New(0);
        Cursor from = {NULL, NULL};
        Header header;
        if (self->packed != NULL) {
            from.at = (unsigned char *)PyBytes_AsString(self->packed);
            from.end = from.at + PyBytes_Size(self->packed);
        }
        while (found != NULL && from.at < from.end && next_header(&from, &header) == 0) {
            PyObject *pair = header_pair(&header);
            if (pair == NULL || PyList_Append(found, pair) < 0) drop(found), found = NULL;
            drop(pair);
        }
        self->headers = found;
    }
    return self->headers == NULL ? NULL : with_ref(self->headers);
}

static PyMemberDef record_members[] = {
    {"offset", LONGLONG, offsetof(Record, offset), READONLY, "Offset in its partition."},
    {"timestamp", LONGLONG, offsetof(Record, timestamp), READONLY, "Milliseconds since the epoch."},
    {"key", OBJECT, offsetof(Record, key), READONLY, "Bytes or None."},
    {"value", OBJECT, offsetof(Record, value), READONLY, "Bytes or None."},
    {NULL, 0, 0, 0, NULL},
};
static PyGetSetDef record_getters[] = {
    {"headers", Record_headers, NULL, "A list of (name, bytes or None).", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot record_slots[] = {
    {Py_tp_dealloc, (void *)Record_dealloc},
    {Py_tp_members, record_members},
    {Py_tp_getset, record_getters},
    {0, NULL},
};
static PyType_Spec record_spec = {"native.Record", sizeof(Record), 0, Py_TPFLAGS_DEFAULT, record_slots};

static PyObject *sized_bytes(Cursor *from, int *failed) {
    int64_t size;
    const unsigned char *start = NULL;
    *failed = read_varint(from, &size) < 0 || (size >= 0 && (start = read_bytes(from, size)) == NULL);
    if (*failed) return NULL;
    return size < 0 ? with_ref(Py_None) : PyBytes_FromStringAndSize((const char *)start, (Py_ssize_t)size);
}

/* A record whose bytes these are, to their end. NULL without an error where they are none. */
static PyObject *parse_record(Cursor from, int64_t offset, int64_t timestamp, int64_t append_time) {
    int64_t later, behind, headers;
    int failed = 0;
    if (read_bytes(&from, 1) == NULL || read_varint(&from, &later) < 0 || read_varint(&from, &behind) < 0) return NULL;
    Record *record = (Record *)PyType_GenericAlloc(RecordType, 0);
    if (record == NULL) return NULL;
    record->offset = (long long)((uint64_t)offset + (uint64_t)behind);
    record->timestamp = append_time >= 0 ? append_time : (long long)((uint64_t)timestamp + (uint64_t)later);
    record->key = sized_bytes(&from, &failed);
    if (!failed && record->key != NULL) record->value = sized_bytes(&from, &failed);
    if (failed || record->value == NULL || read_varint(&from, &headers) < 0 || headers < 0) goto failed;
    const unsigned char *first = from.at;
    Header header;
    for (; headers > 0; headers--)
        if (next_header(&from, &header) < 0) goto failed;
    if (from.at != from.end) goto failed;
    if (from.at > first) {
        record->packed = PyBytes_FromStringAndSize((const char *)first, from.at - first);
        if (record->packed == NULL) goto failed;
    }
    return (PyObject *)record;
failed:
    drop((PyObject *)record);
    return NULL;
}

/* (bytes, count, offset of the first, its timestamp, append time or -1): the records of a batch that is unpacked. */
static PyObject *records(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    char *bytes;
    Py_ssize_t size;
    if (arguments("records", given, 5) < 0 || PyBytes_AsStringAndSize(args[0], &bytes, &size) < 0) return NULL;
    long long count = PyLong_AsLongLong(args[1]), offset = PyLong_AsLongLong(args[2]);
    long long timestamp = PyLong_AsLongLong(args[3]), append_time = PyLong_AsLongLong(args[4]);
    if (PyErr_Occurred()) return NULL;
    PyObject *found = PyList_New(0);
    Cursor from = {(unsigned char *)bytes, (unsigned char *)bytes + size};
    for (; found != NULL && count > 0; count--) {
        int64_t length;
        const unsigned char *start = NULL;
        PyObject *record = NULL;
        if (read_varint(&from, &length) == 0 && (start = read_bytes(&from, length)) != NULL)
            record = parse_record((Cursor){start, start + length}, offset, timestamp, append_time);
        if (record == NULL && !PyErr_Occurred()) PyErr_SetString(DecodeError, "not a batch of records");
        if (record == NULL || PyList_Append(found, record) < 0) drop(found), found = NULL;
        drop(record);
    }
    if (found != NULL && from.at != from.end) {
        PyErr_SetString(DecodeError, "there is more in the batch than its records");
        drop(found), found = NULL;
    }
    return found;
}

/* A batch to be sent. */

static void Batch_dealloc(PyObject *object) {
    Batch *self = (Batch *)object;
    PyTypeObject *type = type_of(object);
    void (*release)(void *) = (void (*)(void *))PyType_GetSlot(type, Py_tp_free);
    free(self->data);
    release(object);
    drop((PyObject *)type);
}

/* (most): bytes of records that it holds, of more than one at least. */
static PyObject *Batch_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    if (named != NULL || arguments("Batch", PyTuple_Size(args), 1) < 0) return NULL;
    Batch *self = (Batch *)PyType_GenericAlloc(type, 0);
    if (self == NULL) return NULL;
    self->most = PyLong_AsSsize_t(PyTuple_GetItem(args, 0));
    if (PyErr_Occurred()) {
        drop((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static int batch_room(Batch *self, Py_ssize_t more) {
    if (more <= self->room - self->size) return 0;
    Py_ssize_t room = self->room ? 2 * self->room : 4096;
    while (room - self->size < more) room *= 2;
    unsigned char *data = realloc(self->data, (size_t)room);
    if (data == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->data = data;
    self->room = room;
    return 0;
}

static unsigned char *put_sized(unsigned char *to, const unsigned char *bytes, Py_ssize_t size) {
    to = write_varint(to, bytes == NULL ? -1 : size);
    if (bytes != NULL && size > 0) memcpy(to, bytes, (size_t)size), to += size;
    return to;
}
static Py_ssize_t sized(const unsigned char *bytes, Py_ssize_t size) {
    return bytes == NULL ? 1 : varint_size(size) + size;
}

int batch_append(Batch *self, int64_t timestamp, const Bytes *key, const Bytes *value, const Header *headers, int count) {
    if (self->closed) return 0;
    if (!self->count) self->first = self->last = timestamp;
    int64_t later = (int64_t)((uint64_t)timestamp - (uint64_t)self->first);
    Py_ssize_t size = 1 + varint_size(later) + varint_size(self->count) + sized(key->at, key->size) +
                      sized(value->at, value->size) + varint_size(count);
    for (int i = 0; i < count; i++)
        size += sized(headers[i].name, headers[i].names) + sized(headers[i].value, headers[i].values);
    Py_ssize_t whole = varint_size(size) + size;
    if (self->count && self->size + whole > self->most) return 0;
    if (batch_room(self, whole) < 0) return -1;
    unsigned char *to = write_varint(self->data + self->size, size);
    *to++ = 0;
    to = write_varint(to, later);
    to = write_varint(to, self->count);
    to = put_sized(to, key->at, key->size);
    to = put_sized(to, value->at, value->size);
    to = write_varint(to, count);
    for (int i = 0; i < count; i++) {
        to = put_sized(to, headers[i].name, headers[i].names);
        to = put_sized(to, headers[i].value, headers[i].values);
    }
    self->size = to - self->data;
    self->count++;
    if (timestamp > self->last) self->last = timestamp;
    return 1;
}

int as_bytes(PyObject *object, Bytes *found) {
    found->at = NULL;
    found->size = 0;
    if (object == Py_None) return 0;
    char *at;
    if (PyBytes_AsStringAndSize(object, &at, &found->size) < 0) return -1;
    found->at = (unsigned char *)at;
    return 0;
}

/* Headers from a list or tuple of pairs, up to MOST_HEADERS. Their count, or -1. */
int as_headers(PyObject *pairs, Header *headers) {
    PyObject *all = PySequence_Tuple(pairs); /* what it holds is held by `pairs` as well */
    if (all == NULL) return -1;
    Py_ssize_t count = PyTuple_Size(all);
    if (count > MOST_HEADERS) {
        PyErr_Format(PyExc_ValueError, "%zd headers", count);
        count = -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PyTuple_GetItem(all, i);
        PyObject *name = PyTuple_GetItem(pair, 0), *value = name == NULL ? NULL : PyTuple_GetItem(pair, 1);
        Bytes bytes = {NULL, 0};
        headers[i].name = value == NULL ? NULL
                                        : (const unsigned char *)PyUnicode_AsUTF8AndSize(name, &headers[i].names);
        if (headers[i].name == NULL || as_bytes(value, &bytes) < 0) {
            count = -1;
            break;
        }
        headers[i].value = bytes.at;
        headers[i].values = bytes.size;
    }
    drop(all);
    return (int)count;
}

/* (timestamp, key, value, headers): whether there was room; the first record always finds some. */
static PyObject *Batch_add(PyObject *object, PyObject *const *args, Py_ssize_t given) {
    Header headers[MOST_HEADERS];
    Bytes key, value;
    if (arguments("add", given, 4) < 0 || as_bytes(args[1], &key) < 0 || as_bytes(args[2], &value) < 0) return NULL;
    long long timestamp = PyLong_AsLongLong(args[0]);
    if (PyErr_Occurred()) return NULL;
    int count = as_headers(args[3], headers);
    int added = count < 0 ? -1 : batch_append((Batch *)object, timestamp, &key, &value, headers, count);
    return added < 0 ? NULL : with_ref(added ? &_Py_TrueStruct : &_Py_FalseStruct);
}

static PyObject *Batch_take(PyObject *object, PyObject *none) {
    (void)none;
    Batch *self = (Batch *)object;
    PyObject *taken = PyBytes_FromStringAndSize((const char *)self->data, self->size);
    if (taken != NULL) {
        free(self->data);
        self->data = NULL;
        self->room = 0;
        self->closed = 1;
    }
    return taken;
}

static PyMethodDef batch_methods[] = {
    {"add", FAST(Batch_add), "Adds a record; False where there is no room for it."},
    {"take", Batch_take, METH_NOARGS, "The bytes of its records; it takes no more of them."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef batch_members[] = {
    {"count", LONGLONG, offsetof(Batch, count), READONLY, "How many records it has."},
    {"size", LONGLONG, offsetof(Batch, size), READONLY, "How many bytes they have."},
    {"first", LONGLONG, offsetof(Batch, first), READONLY, "Timestamp of the first record, milliseconds."},
    {"last", LONGLONG, offsetof(Batch, last), READONLY, "Highest timestamp, milliseconds."},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot batch_slots[] = {
    {Py_tp_new, (void *)Batch_new},         {Py_tp_dealloc, (void *)Batch_dealloc},
    {Py_tp_methods, batch_methods},         {Py_tp_members, batch_members},
    {0, NULL},
};
static PyType_Spec batch_spec = {"native.Batch", sizeof(Batch), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, batch_slots};

static PyMethodDef functions[] = {
    {"partition_of", FAST(partition_of), "The partition of a key."},
    {"records", FAST(records), "The records of an unpacked batch."},
    {NULL, NULL, 0, NULL},
};

int add_kafka(PyObject *module) {
    if (PyModule_AddFunctions(module, functions) < 0 || add_type(module, "Record", &record_spec, &RecordType) < 0)
        return -1;
    return add_type(module, "Batch", &batch_spec, &BatchType);
}
