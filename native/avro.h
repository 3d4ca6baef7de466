/* A schema, taken apart once (schemas/codec.py makes the nodes), and followed for every record. */
#ifndef SLUICE_AVRO_H
#define SLUICE_AVRO_H

#include "native.h"

enum Kind { BOOLEAN, NUMBER, TEXT, BYTES, FIXED, ARRAY, MAP, RECORD };

typedef struct Node {
    enum Kind kind;
    int optional;     /* ["null", kind] */
    Py_ssize_t size;  /* of a fixed */
    PyObject *name;   /* of a field */
    Py_ssize_t count; /* of `inner`: fields of a record, else 1 or 0 */
    struct Node *inner;
} Node;

/* From a tuple of tuples; NULL with Python's error. */
Node *parse_nodes(PyObject *given, Py_ssize_t *count);
void free_nodes(Node *, Py_ssize_t count);

int add_reader(PyObject *module);
int add_writer(PyObject *module);

#endif
