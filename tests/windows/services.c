/* Says in JSON what the service control manager knows of a service, and asks things of it: by the documentation of these
   calls, and with nothing of the product in it.
   Usage: services query NAME | control NAME NUMBER | create NAME COMMAND | delete NAME | hold FILE
   `hold` opens a file as most programs do, so that others may read it only, says so, and holds it until its input ends. */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void text(const char *name, const WCHAR *wide)
{
    char bytes[4096] = "";
    const char *at;
    if (wide) WideCharToMultiByte(CP_UTF8, 0, wide, -1, bytes, sizeof bytes, NULL, NULL);
    printf("\"%s\": \"", name);
    for (at = bytes; *at; at++) {
        if (*at == '"' || *at == '\\') putchar('\\');
        putchar(*at);
    }
    fputs("\", ", stdout);
}

static int failed(const char *what)
{
    fprintf(stderr, "%s: error %lu\n", what, GetLastError());
    return 1;
}

static int query(SC_HANDLE manager, const WCHAR *name)
{
    static BYTE bytes[8192];
    QUERY_SERVICE_CONFIGW *config = (QUERY_SERVICE_CONFIGW *)bytes;
    SERVICE_STATUS_PROCESS status;
    DWORD needed;
    SC_HANDLE service = OpenServiceW(manager, name, SERVICE_QUERY_CONFIG | SERVICE_QUERY_STATUS);
    if (!service) {
        if (GetLastError() != ERROR_SERVICE_DOES_NOT_EXIST) return failed("OpenService");
        puts("null");
        return 0;
    }
    if (!QueryServiceConfigW(service, config, sizeof bytes, &needed)) return failed("QueryServiceConfig");
    if (!QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)&status, sizeof status, &needed))
        return failed("QueryServiceStatusEx");
    putchar('{');
    text("command", config->lpBinaryPathName);
    text("display", config->lpDisplayName);
    text("account", config->lpServiceStartName);
    printf("\"start\": %lu, \"type\": %lu, \"state\": %lu, \"process\": %lu, \"accepts\": %lu, \"exit\": %lu}\n",
           config->dwStartType, config->dwServiceType, status.dwCurrentState, status.dwProcessId,
           status.dwControlsAccepted, status.dwWin32ExitCode);
    return 0;
}

static int hold(const WCHAR *path)
{
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE) return failed("CreateFile");
    puts("held");
    fflush(stdout);
    while (getchar() != EOF) { }
    return 0;
}

int wmain(int count, WCHAR **words)
{
    SERVICE_STATUS status;
    SC_HANDLE manager, service;
    if (count == 3 && !wcscmp(words[1], L"hold")) return hold(words[2]);
    manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
    if (!manager) return failed("OpenSCManager");
    if (count == 3 && !wcscmp(words[1], L"query")) return query(manager, words[2]);
    if (count == 4 && !wcscmp(words[1], L"create")) {
        service = CreateServiceW(manager, words[2], words[2], SERVICE_ALL_ACCESS, SERVICE_WIN32_OWN_PROCESS,
                                 SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, words[3], NULL, NULL, NULL, NULL, NULL);
        return service ? 0 : failed("CreateService");
    }
    service = OpenServiceW(manager, words[2], SERVICE_ALL_ACCESS);
    if (!service) return failed("OpenService");
    if (count == 4 && !wcscmp(words[1], L"control"))
        return ControlService(service, _wtoi(words[3]), &status) ? 0 : failed("ControlService");
    if (count == 3 && !wcscmp(words[1], L"delete")) return DeleteService(service) ? 0 : failed("DeleteService");
    return 2;
}
