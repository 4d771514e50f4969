/* The one function of bcryptprimitives.dll that Rust programs call, for a Wine that does not have it. */
#include <windows.h>

BOOLEAN WINAPI SystemFunction036(PVOID bytes, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T length)
{
    while (length) {
        ULONG part = length > 0x10000000 ? 0x10000000 : (ULONG)length;
        SystemFunction036(bytes, part);
        bytes += part;
        length -= part;
    }
    return TRUE;
}
