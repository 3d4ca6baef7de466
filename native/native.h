/* What the files here share. Every function that returns an object or an int < 0 has set Python's error. */
#ifndef SLUICE_NATIVE_H
#define SLUICE_NATIVE_H

#include "abi.h"

/* avro.c */
extern PyObject *DecodeError;

/* A place in bytes that somebody else holds, and their end. Nothing is read without asking for it here. */
typedef struct {
    const unsigned char *at, *end;
} Cursor;

/* Avro's and Kafka's zig-zag varint of up to 64 bits. 0, or -1 at the end of the bytes or beyond 64 bits (no error). */
static inline int read_varint(Cursor *from, int64_t *value) {
    uint64_t raw = 0;
    for (int shift = 0; shift < 64 && from->at < from->end; shift += 7) {
        unsigned char byte = *from->at++;
        if (shift == 63 && byte > 1) return -1;
        raw |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
            return 0;
        }
    }
    return -1;
}

/* So many bytes from here on: their beginning, or NULL where there are not as many (no error). */
static inline const unsigned char *read_bytes(Cursor *from, int64_t count) {
    const unsigned char *start = from->at;
    if (count < 0 || count > from->end - start) return NULL;
    from->at += count;
    return start;
}

/* Bytes that grow; `fixed` holds the first, so that most need no memory of their own. */
typedef struct {
    unsigned char *data;
    Py_ssize_t size, room;
    unsigned char fixed[2048];
} Buffer;

void buffer_begin(Buffer *);
void buffer_end(Buffer *);
/* Room for so many bytes more: where they go, or NULL. */
unsigned char *buffer_more(Buffer *, Py_ssize_t count);

static inline Py_ssize_t varint_size(int64_t value) {
    uint64_t raw = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    Py_ssize_t size = 1;
    while (raw > 0x7F) raw >>= 7, size++;
    return size;
}
static inline unsigned char *write_varint(unsigned char *to, int64_t value) {
    uint64_t raw = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    while (raw > 0x7F) *to++ = (unsigned char)(raw | 0x80), raw >>= 7;
    *to++ = (unsigned char)raw;
    return to;
}
enum { MOST_VARINT = 10 };

/* An argument of a call: sets TypeError where there are not `count`. */
int arguments(const char *function, Py_ssize_t given, Py_ssize_t count);

/* Makes a type and adds it to the module; `made`, where it is not NULL, gets it. */
int add_type(PyObject *module, const char *name, PyType_Spec *spec, PyTypeObject **made);

/* kafka.c */
typedef struct {
    const unsigned char *at; /* NULL for null */
    Py_ssize_t size;
} Bytes;

typedef struct {
    const unsigned char *name, *value; /* `value` is NULL for null */
    Py_ssize_t names, values;          /* their sizes */
} Header;
enum { MOST_HEADERS = 16 };

typedef struct {
    PyObject head;
    long long offset, timestamp;
    PyObject *key, *value;
    PyObject *packed;  /* its headers as they came; NULL where there are none */
    PyObject *headers; /* the same as a list; NULL until somebody asks */
} Record;

typedef struct {
    PyObject head;
    unsigned char *data;
    Py_ssize_t room;
    long long size, most, count, first, last; /* timestamps, milliseconds */
    int closed;
} Batch;

extern PyTypeObject *RecordType, *BatchType;

uint64_t xxh64(const unsigned char *, Py_ssize_t);
int next_header(Cursor *, Header *);
int as_bytes(PyObject *, Bytes *);
int as_headers(PyObject *pairs, Header *);
/* 1 where the record found room, else 0. */
int batch_append(Batch *, int64_t timestamp, const Bytes *key, const Bytes *value, const Header *, int count);

PyObject *header_pair(const Header *);

/* state.c */
extern PyTypeObject *StateType;
typedef struct {
    PyObject head;
    PyObject *reads, *filter, *changes, *meta, *ordered, *insort; /* `filter` may be NULL */
    long long partition, log, offset, clock, most;
} State;
/* 1, with Python's error, where something is larger than a record can hold. */
int too_large(Py_ssize_t size, Py_ssize_t most, const char *what);

/* emit.c */
extern PyTypeObject *EmitType;
extern PyObject *topic_name;
enum { PLACE = 12 }; /* the end of an origin: offset and index */
typedef struct {
    PyObject head;
    PyObject *add, *outbox; /* `outbox` is what `add` is of, where it is ours, else NULL */
    PyObject *source, *partitions, *scratch, *trace;
    PyObject *record;       /* the one at hand, whose bytes `cause` may point to */
    PyObject *cause_object; /* `cause`, once somebody has asked for it */
    Bytes cause;
    long long epoch, offset, timestamp, index, most;
} Emit;
typedef struct {
    PyObject *topic; /* its name */
    long long partition, timestamp;
    Bytes key, value;
    Header headers[MOST_HEADERS];
    int count;
} Output;
void emit_enter(Emit *, PyObject *record, int64_t offset, int64_t timestamp);

int add_avro(PyObject *module);
int add_kafka(PyObject *module);
int add_state(PyObject *module);
int add_changes(PyObject *module);
int add_emit(PyObject *module);
int add_entry(PyObject *module);

#endif
