/* An attacker's code in the service: what it does first when its work has begun, confined as it then is. */

#define _GNU_SOURCE
#include <Python.h>
#include <dlfcn.h>
#include <unistd.h>

static const char begun[] = "READY=1";

/* The tools are there before the service gives up reading, as if the attacker had brought them along. */
__attribute__((constructor)) static void prepare(void)
{
    Py_InitializeEx(0);
    PyRun_SimpleString("import array, ctypes, encodings.idna, errno, json, mmap, os, socket");
    PyEval_SaveThread();
}

/* What the service tells systemd goes through here. */
ssize_t write(int to, const void *data, size_t length)
{
    static int done;
    ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    FILE *script = NULL;
    if (!done && length >= strlen(begun) && memcmp(data, begun, strlen(begun)) == 0) {
        done = 1;
        script = fopen(getenv("SCRIPT"), "r");
    }
    if (script) {
        PyGILState_Ensure();
        PyRun_SimpleFile(script, "escape.py");
    }
    return next(to, data, length);
}
