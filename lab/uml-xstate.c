// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Preloaded into user-mode Linux where the processor has more registers than that kernel keeps.
 *
 * User-mode Linux sets the extended registers of its processes with a buffer as large as AVX-512 needs. The host takes
 * back a set of exactly its own size only, which is larger where there is AMX. So a set that the host refuses is put on
 * top of one of its own size. What was not kept stays in its initial state: nothing in a guest has leave to use it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long ptrace_function(int, pid_t, void *, void *);

static char whole[16384] __attribute__((aligned(64)));
static size_t whole_size;

static long set_whole(ptrace_function *real, pid_t pid, void *kind, const struct iovec *given)
{
    struct iovec own = {whole, sizeof whole};

    if (whole_size == 0) {
        if (real(PTRACE_GETREGSET, pid, kind, &own) < 0)
            return -1;
        whole_size = own.iov_len;
    }
    memcpy(whole, given->iov_base, given->iov_len < whole_size ? given->iov_len : whole_size);
    own.iov_len = whole_size;
    return real(PTRACE_SETREGSET, pid, kind, &own);
}

long ptrace(enum __ptrace_request request, ...)
{
    static ptrace_function *real;
    va_list arguments;
    pid_t pid;
    void *address, *data;
    long done;

    va_start(arguments, request);
    pid = va_arg(arguments, pid_t);
    address = va_arg(arguments, void *);
    data = va_arg(arguments, void *);
    va_end(arguments);
    if (real == NULL)
        real = (ptrace_function *)dlsym(RTLD_NEXT, "ptrace");
    if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
        return real(request, pid, address, data);
    if (whole_size != 0)
        return set_whole(real, pid, address, data);
    done = real(request, pid, address, data);
    return done < 0 && errno == EFAULT ? set_whole(real, pid, address, data) : done;
}
