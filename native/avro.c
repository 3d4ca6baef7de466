/* Avro's schemas as nodes. */
#include "avro.h"

#include <stdlib.h>

PyObject *DecodeError;

void free_nodes(Node *nodes, Py_ssize_t count) {
    for (Py_ssize_t i = 0; nodes != NULL && i < count; i++) {
        drop(nodes[i].name);
        free_nodes(nodes[i].inner, nodes[i].count);
    }
    free(nodes);
}

/* (kind, optional, size, name, inner) */
static int parse_node(PyObject *given, Node *node) {
    if (type_of(given) != &PyTuple_Type || PyTuple_Size(given) != 5) {
        PyErr_SetString(PyExc_TypeError, "a node has five parts");
        return -1;
    }
    long kind = PyLong_AsLong(PyTuple_GetItem(given, 0));
    node->optional = PyObject_IsTrue(PyTuple_GetItem(given, 1));
    node->size = PyLong_AsSsize_t(PyTuple_GetItem(given, 2));
    node->name = with_ref(PyTuple_GetItem(given, 3));
    if (PyErr_Occurred()) return -1;
    if (kind < BOOLEAN || kind > RECORD || node->size < 0) {
        PyErr_SetString(PyExc_ValueError, "no such kind");
        return -1;
    }
    node->kind = (enum Kind)kind;
    node->inner = parse_nodes(PyTuple_GetItem(given, 4), &node->count);
    if (node->inner == NULL) return -1;
    if ((kind == ARRAY || kind == MAP) && node->count != 1) {
        PyErr_SetString(PyExc_ValueError, "an array or map is of one kind");
        return -1;
    }
    return 0;
}

Node *parse_nodes(PyObject *given, Py_ssize_t *count) {
    if (type_of(given) != &PyTuple_Type) {
        PyErr_SetString(PyExc_TypeError, "nodes are a tuple");
        return NULL;
    }
    *count = PyTuple_Size(given);
    Node *nodes = calloc((size_t)*count + 1, sizeof(Node));
    if (nodes == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < *count; i++)
        if (parse_node(PyTuple_GetItem(given, i), &nodes[i]) < 0) {
            free_nodes(nodes, *count);
            return NULL;
        }
    return nodes;
}

int add_avro(PyObject *module) {
    DecodeError = PyErr_NewExceptionWithDoc(
        "schemas.codec.DecodeError", "The bytes are not a record of the schema they claim.", PyExc_ValueError, NULL);
    if (DecodeError == NULL || PyModule_AddObjectRef(module, "DecodeError", DecodeError) < 0) return -1;
    return add_reader(module) < 0 || add_writer(module) < 0 ? -1 : 0;
}
