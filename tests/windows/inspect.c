/* Says in JSON what a certificate store holds, and what the system says of the private keys: by the documentation of
   these calls, and with nothing of the product in it. Also does to keys what others may do to them.
   Usage: inspect (machine|user) STORE | keys (machine|user) | (create|delete) (machine|user) KEY
        | access (machine|user) KEY LIST */
#include <windows.h>
#include <wincrypt.h>
#include <sddl.h>
#include <stdio.h>
#include <string.h>

static void text(const WCHAR *wide)
{
    char bytes[4096] = "";
    const char *at;
    if (wide) WideCharToMultiByte(CP_UTF8, 0, wide, -1, bytes, sizeof bytes, NULL, NULL);
    putchar('"');
    for (at = bytes; *at; at++) {
        if (*at == '"' || *at == '\\') putchar('\\');
        if (*at == '\n') fputs("\\n", stdout); else putchar(*at);
    }
    putchar('"');
}

static void hex(const BYTE *bytes, DWORD length)
{
    putchar('"');
    while (length--) printf("%02X", *bytes++);
    putchar('"');
}

static void blob(PCCERT_CONTEXT certificate, DWORD property, const char *name, BOOL is_text)
{
    static BYTE bytes[8192];
    DWORD length = sizeof bytes;
    printf(", \"%s\": ", name);
    if (!CertGetCertificateContextProperty(certificate, property, bytes, &length)) fputs("null", stdout);
    else if (is_text) text((WCHAR *)bytes);
    else hex(bytes, length);
}

/* Opens the key by what the certificate says of it, as any program would. */
static void capi_key(const CRYPT_KEY_PROV_INFO *info)
{
    static BYTE bytes[8192];
    HCRYPTPROV provider;
    HCRYPTKEY key = 0;
    HCRYPTHASH hash = 0;
    DWORD length = sizeof bytes;
    char *descriptor = NULL;
    if (!CryptAcquireContextW(&provider, info->pwszContainerName, info->pwszProvName, info->dwProvType,
                              (info->dwFlags & CRYPT_MACHINE_KEYSET) | CRYPT_SILENT)) {
        printf(", \"open\": %lu", GetLastError());
        return;
    }
    fputs(", \"open\": 0", stdout);
    if (CryptGetProvParam(provider, PP_KEYSET_SEC_DESCR, bytes, &length, DACL_SECURITY_INFORMATION)
        && ConvertSecurityDescriptorToStringSecurityDescriptorA(bytes, SDDL_REVISION_1, DACL_SECURITY_INFORMATION,
                                                               &descriptor, NULL))
        printf(", \"access\": \"%s\"", descriptor);
    if (CryptGetUserKey(provider, info->dwKeySpec, &key)) {
        length = sizeof bytes;
        printf(", \"exports\": %s",
               CryptExportKey(key, 0, PRIVATEKEYBLOB, 0, bytes, &length) ? "true" : "false");
        length = sizeof bytes;
        printf(", \"signs\": %s",
               CryptCreateHash(provider, CALG_SHA_256, 0, 0, &hash) && CryptHashData(hash, (BYTE *)"x", 1, 0)
               && CryptSignHashW(hash, info->dwKeySpec, NULL, 0, bytes, &length) ? "true" : "false");
    }
}

static int list_keys(DWORD flags)
{
    HCRYPTPROV provider;
    char name[4096];
    DWORD length = sizeof name, first = CRYPT_FIRST;
    if (!CryptAcquireContextW(&provider, NULL, MS_ENH_RSA_AES_PROV_W, PROV_RSA_AES, CRYPT_VERIFYCONTEXT | flags))
        return 1;
    putchar('[');
    while (CryptGetProvParam(provider, PP_ENUMCONTAINERS, (BYTE *)name, &length, first)) {
        printf("%s\"%s\"", first == CRYPT_FIRST ? "" : ", ", name);
        first = CRYPT_NEXT;
        length = sizeof name;
    }
    puts("]");
    return 0;
}

static int change(const WCHAR *verb, DWORD machine, const WCHAR *name, const WCHAR *list)
{
    HCRYPTPROV provider = 0;
    PSECURITY_DESCRIPTOR descriptor = NULL;
    DWORD flags = !wcscmp(verb, L"create") ? CRYPT_NEWKEYSET : !wcscmp(verb, L"delete") ? CRYPT_DELETEKEYSET : 0;
    if (!CryptAcquireContextW(&provider, name, MS_ENH_RSA_AES_PROV_W, PROV_RSA_AES, flags | machine)) return 1;
    if (list && (!ConvertStringSecurityDescriptorToSecurityDescriptorW(list, SDDL_REVISION_1, &descriptor, NULL)
                 || !CryptSetProvParam(provider, PP_KEYSET_SEC_DESCR, descriptor, DACL_SECURITY_INFORMATION)))
        return 1;
    if (flags != CRYPT_DELETEKEYSET) CryptReleaseContext(provider, 0);
    puts("[]");
    return 0;
}

int wmain(int count, WCHAR **arguments)
{
    HCERTSTORE store;
    PCCERT_CONTEXT certificate = NULL;
    BOOL is_machine;
    const char *separator = "[";
    if (count > 3)
        return change(arguments[1], wcscmp(arguments[2], L"machine") ? 0 : CRYPT_MACHINE_KEYSET, arguments[3],
                      count > 4 ? arguments[4] : NULL);
    if (count != 3) return 2;
    is_machine = !wcscmp(arguments[wcscmp(arguments[1], L"keys") ? 1 : 2], L"machine");
    if (!wcscmp(arguments[1], L"keys")) return list_keys(is_machine ? CRYPT_MACHINE_KEYSET : 0);
    store = CertOpenStore(CERT_STORE_PROV_SYSTEM_W, 0, 0, CERT_STORE_READONLY_FLAG
        | (is_machine ? CERT_SYSTEM_STORE_LOCAL_MACHINE : CERT_SYSTEM_STORE_CURRENT_USER), arguments[2]);
    if (!store) return 1;
    while ((certificate = CertEnumCertificatesInStore(store, certificate))) {
        static BYTE bytes[8192];
        DWORD length = sizeof bytes;
        printf("%s{\"thumbprint\": ", separator);
        if (CertGetCertificateContextProperty(certificate, CERT_SHA1_HASH_PROP_ID, bytes, &length)) hex(bytes, length);
        blob(certificate, CERT_FRIENDLY_NAME_PROP_ID, "name", TRUE);
        blob(certificate, CERT_DESCRIPTION_PROP_ID, "description", TRUE);
        blob(certificate, CERT_RENEWAL_PROP_ID, "renewal", FALSE);
        length = sizeof bytes;
        if (CertGetCertificateContextProperty(certificate, CERT_KEY_PROV_INFO_PROP_ID, bytes, &length)) {
            const CRYPT_KEY_PROV_INFO *info = (CRYPT_KEY_PROV_INFO *)bytes;
            fputs(", \"key\": {\"container\": ", stdout);
            text(info->pwszContainerName);
            printf(", \"type\": %lu, \"flags\": %lu, \"spec\": %lu", info->dwProvType, info->dwFlags, info->dwKeySpec);
            if (info->dwProvType) capi_key(info);
            putchar('}');
        }
        putchar('}');
        separator = ", ";
    }
    puts(*separator == '[' ? "[]" : "]");
    return 0;
}
