/* The part of CPython's stable ABI (PEP 384) that is used here, as of Python 3.11.
 *
 * Python's own headers are not on every machine that has Python, and Sluice asks for no more than Python. What stands
 * here is promised to stay: one library for every later version. It is not promised for Python without its global
 * lock, whose objects have another head; build.py refuses that one. All functions here run under that lock.
 */
#ifndef SLUICE_ABI_H
#define SLUICE_ABI_H

#include <stddef.h>
#include <stdint.h>

typedef ptrdiff_t Py_ssize_t;
typedef struct PyTypeObject PyTypeObject;
typedef struct PyObject {
    Py_ssize_t refcount;
    PyTypeObject *type;
} PyObject;

typedef PyObject *(*PyCFunction)(PyObject *, PyObject *);
typedef PyObject *(*Fast)(PyObject *, PyObject *const *, Py_ssize_t);
typedef struct {
    const char *name;
    PyCFunction call;
    int flags;
    const char *doc;
} PyMethodDef;
enum { METH_NOARGS = 4, METH_O = 8, METH_FASTCALL = 0x80 };
/* A function of many arguments as a method's entry. */
#define FAST(function) ((PyCFunction)(void (*)(void))(function)), METH_FASTCALL

typedef struct {
    const char *name;
    int type;
    Py_ssize_t offset;
    int flags;
    const char *doc;
} PyMemberDef;
enum { OBJECT = 16, LONGLONG = 17, READONLY = 1 };

typedef struct {
    const char *name;
    PyObject *(*get)(PyObject *, void *);
    int (*set)(PyObject *, PyObject *, void *);
    const char *doc;
    void *closure;
} PyGetSetDef;

typedef struct {
    int slot;
    void *function;
} PyType_Slot;
typedef struct {
    const char *name;
    int size, item_size;
    unsigned int flags;
    PyType_Slot *slots;
} PyType_Spec;
enum { Py_tp_dealloc = 52, Py_tp_doc = 56, Py_tp_members = 72, Py_tp_methods = 64, Py_tp_getset = 73, Py_tp_new = 65, Py_tp_free = 74 };
enum { Py_tp_clear = 51, Py_tp_traverse = 71 };
#define Py_TPFLAGS_DEFAULT (1u << 18)
#define Py_TPFLAGS_BASETYPE (1u << 10)
#define Py_TPFLAGS_HAVE_GC (1u << 14)
#define Py_TPFLAGS_BYTES_SUBCLASS (1u << 27)

typedef struct {
    PyObject head;
    void *init;
    Py_ssize_t index;
    PyObject *copy;
} PyModuleDef_Base;
typedef struct {
    PyModuleDef_Base base;
    const char *name, *doc;
    Py_ssize_t size;
    PyMethodDef *methods;
    void *slots, *traverse, *clear, *free;
} PyModuleDef;
#define PYTHON_API_VERSION 1013

extern PyObject _Py_NoneStruct, _Py_TrueStruct, _Py_FalseStruct;
#define Py_None (&_Py_NoneStruct)
extern PyTypeObject PyBytes_Type, PyUnicode_Type, PyTuple_Type, PyCFunction_Type;
extern PyObject *PyExc_TypeError, *PyExc_ValueError, *PyExc_IndexError, *PyExc_MemoryError, *PyExc_KeyError;
extern PyObject *PyExc_UnicodeError, *PyExc_OverflowError;

PyObject *PyCFunction_GetSelf(PyObject *);
void Py_IncRef(PyObject *);
void Py_DecRef(PyObject *);
PyObject *PyModule_Create2(PyModuleDef *, int);
int PyModule_AddFunctions(PyObject *, PyMethodDef *);
int PyModule_AddObjectRef(PyObject *, const char *, PyObject *);
PyObject *PyType_FromSpec(PyType_Spec *);
unsigned long PyType_GetFlags(PyTypeObject *);
void *PyType_GetSlot(PyTypeObject *, int);
PyObject *PyType_GenericAlloc(PyTypeObject *, Py_ssize_t);
int PyType_IsSubtype(PyTypeObject *, PyTypeObject *);
void PyObject_Free(void *);
void PyObject_GC_Del(void *);
void PyObject_GC_UnTrack(void *);
PyObject *PyErr_NewExceptionWithDoc(const char *, const char *, PyObject *, PyObject *);
PyObject *PyErr_Format(PyObject *, const char *, ...);
void PyErr_SetString(PyObject *, const char *);
void PyErr_SetObject(PyObject *, PyObject *);
PyObject *PyErr_NoMemory(void);
PyObject *PyErr_Occurred(void);
int PyErr_ExceptionMatches(PyObject *);
void PyErr_Clear(void);
PyObject *PyBytes_FromStringAndSize(const char *, Py_ssize_t);
char *PyBytes_AsString(PyObject *);
int PyBytes_AsStringAndSize(PyObject *, char **, Py_ssize_t *);
Py_ssize_t PyBytes_Size(PyObject *);
PyObject *PyUnicode_DecodeUTF8(const char *, Py_ssize_t, const char *);
PyObject *PyUnicode_FromString(const char *);
PyObject *PyUnicode_InternFromString(const char *);
const char *PyUnicode_AsUTF8AndSize(PyObject *, Py_ssize_t *);
int PyUnicode_Compare(PyObject *, PyObject *);
PyObject *PyLong_FromLongLong(long long);
PyObject *PyLong_FromSsize_t(Py_ssize_t);
PyObject *PyLong_FromUnsignedLongLong(unsigned long long);
long long PyLong_AsLongLong(PyObject *);
long PyLong_AsLong(PyObject *);
Py_ssize_t PyLong_AsSsize_t(PyObject *);
PyObject *PyTuple_New(Py_ssize_t);
int PyTuple_SetItem(PyObject *, Py_ssize_t, PyObject *);
PyObject *PyTuple_GetItem(PyObject *, Py_ssize_t);
Py_ssize_t PyTuple_Size(PyObject *);
PyObject *PyList_New(Py_ssize_t);
int PyList_SetItem(PyObject *, Py_ssize_t, PyObject *);
PyObject *PyList_GetItem(PyObject *, Py_ssize_t);
int PyList_Append(PyObject *, PyObject *);
Py_ssize_t PyList_Size(PyObject *);
PyObject *PyDict_New(void);
int PyDict_SetItem(PyObject *, PyObject *, PyObject *);
PyObject *PyDict_GetItemWithError(PyObject *, PyObject *);
Py_ssize_t PyDict_Size(PyObject *);
int PyDict_Next(PyObject *, Py_ssize_t *, PyObject **, PyObject **);
int PyObject_IsTrue(PyObject *);
PyObject *PyObject_GetAttr(PyObject *, PyObject *);
PyObject *PyObject_CallFunctionObjArgs(PyObject *, ...);
PyObject *PyObject_CallMethodObjArgs(PyObject *, PyObject *, ...);
Py_ssize_t PyObject_Hash(PyObject *);
Py_ssize_t PyMapping_Size(PyObject *);
PyObject *PyObject_GetItem(PyObject *, PyObject *);
PyObject *PySequence_Tuple(PyObject *);

static inline PyTypeObject *type_of(PyObject *object) { return object->type; }
static inline int is_bytes(PyObject *o) { return o->type == &PyBytes_Type; }
static inline int is_text(PyObject *o) { return o->type == &PyUnicode_Type; }
static inline PyObject *with_ref(PyObject *object) {
    Py_IncRef(object);
    return object;
}
static inline void drop(PyObject *object) {
    if (object != NULL) Py_DecRef(object);
}

#endif
