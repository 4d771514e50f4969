/* Says in JSON what a certificate store holds, and what the system says of the private keys: by the documentation of
   these calls, and with nothing of the product in it. Also does to keys and stores what others may do to them.
   Usage, with W = machine or user and S = capi or cng:
     inspect store W STORE                    the certificates of a store
     inspect keys W S                         the names of all keys
     inspect create W NAME                    an empty key container of CAPI
     inspect delete W S NAME                  destroys a key
     inspect access W S NAME LIST             gives a key this access control list
     inspect install W STORE CERT KEY NAME    a certificate (DER) with its key (PKCS #1) in a container of CAPI
     inspect remove W STORE THUMBPRINT        takes a certificate out of a store
     inspect run PROGRAM ARGUMENT...          runs a program with the privilege that Wine asks for to change access
                                              control lists of keys a second time, which Windows does not */
#include <windows.h>
#include <wincrypt.h>
#include <ncrypt.h>
#include <sddl.h>
#include <stdio.h>
#include <string.h>

#define ENCODING (X509_ASN_ENCODING | PKCS_7_ASN_ENCODING)

static BYTE bytes[65536];

static void text(const WCHAR *wide)
{
    char narrow[4096] = "";
    const char *at;
    if (wide) WideCharToMultiByte(CP_UTF8, 0, wide, -1, narrow, sizeof narrow, NULL, NULL);
    putchar('"');
    for (at = narrow; *at; at++) {
        if (*at == '"' || *at == '\\') putchar('\\');
        if (*at == '\n') fputs("\\n", stdout); else putchar(*at);
    }
    putchar('"');
}

static void hex(const BYTE *from, DWORD length)
{
    putchar('"');
    while (length--) printf("%02X", *from++);
    putchar('"');
}

static void blob(PCCERT_CONTEXT certificate, DWORD property, const char *name, BOOL is_text)
{
    DWORD length = sizeof bytes;
    printf(", \"%s\": ", name);
    if (!CertGetCertificateContextProperty(certificate, property, bytes, &length)) fputs("null", stdout);
    else if (is_text) text((WCHAR *)bytes);
    else hex(bytes, length);
}

static void access(const BYTE *descriptor)
{
    char *list = NULL;
    if (ConvertSecurityDescriptorToStringSecurityDescriptorA((void *)descriptor, SDDL_REVISION_1,
                                                            DACL_SECURITY_INFORMATION, &list, NULL))
        printf(", \"access\": \"%s\"", list);
}

/* Opens the key by what the certificate says of it, as any program would. */
static void capi_key(const CRYPT_KEY_PROV_INFO *info)
{
    HCRYPTPROV provider;
    HCRYPTKEY key = 0;
    HCRYPTHASH hash = 0;
    DWORD length = sizeof bytes;
    if (!CryptAcquireContextW(&provider, info->pwszContainerName, info->pwszProvName, info->dwProvType,
                              (info->dwFlags & CRYPT_MACHINE_KEYSET) | CRYPT_SILENT)) {
        printf(", \"open\": %lu", GetLastError());
        return;
    }
    fputs(", \"open\": 0", stdout);
    if (CryptGetProvParam(provider, PP_KEYSET_SEC_DESCR, bytes, &length, DACL_SECURITY_INFORMATION)) access(bytes);
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

static SECURITY_STATUS open_cng(const WCHAR *name, DWORD machine, NCRYPT_KEY_HANDLE *key)
{
    NCRYPT_PROV_HANDLE provider;
    SECURITY_STATUS status = NCryptOpenStorageProvider(&provider, MS_KEY_STORAGE_PROVIDER, 0);
    return status ? status : NCryptOpenKey(provider, key, name, 0, machine ? NCRYPT_MACHINE_KEY_FLAG : 0);
}

static void cng_key(const CRYPT_KEY_PROV_INFO *info)
{
    BCRYPT_PKCS1_PADDING_INFO padding = {BCRYPT_SHA256_ALGORITHM};
    NCRYPT_KEY_HANDLE key;
    BYTE digest[32] = {1};
    DWORD length = 0, policy = 0;
    SECURITY_STATUS status = open_cng(info->pwszContainerName, info->dwFlags & CRYPT_MACHINE_KEYSET, &key);
    printf(", \"open\": %lu", (unsigned long)status);
    if (status) return;
    if (!NCryptGetProperty(key, NCRYPT_SECURITY_DESCR_PROPERTY, bytes, sizeof bytes, &length,
                           DACL_SECURITY_INFORMATION)) access(bytes);
    NCryptGetProperty(key, NCRYPT_EXPORT_POLICY_PROPERTY, (BYTE *)&policy, sizeof policy, &length, 0);
    printf(", \"policy\": %lu", policy);
    printf(", \"guarded\": %s", NCryptGetProperty(key, L"Virtual Iso", NULL, 0, &length, 0) ? "false" : "true");
    printf(", \"exports\": %s", NCryptExportKey(key, 0, NCRYPT_PKCS8_PRIVATE_KEY_BLOB, NULL, bytes, sizeof bytes,
                                                &length, 0) ? "false" : "true");
    status = NCryptSignHash(key, NULL, digest, sizeof digest, bytes, sizeof bytes, &length, 0);
    if (status) status = NCryptSignHash(key, &padding, digest, sizeof digest, bytes, sizeof bytes, &length,
                                        BCRYPT_PAD_PKCS1);
    printf(", \"signs\": %s", status ? "false" : "true");
}

static int list_keys(DWORD machine, BOOL is_cng)
{
    HCRYPTPROV capi;
    NCRYPT_PROV_HANDLE cng;
    NCryptKeyName *found;
    void *state = NULL;
    char name[4096];
    DWORD length = sizeof name, first = CRYPT_FIRST;
    putchar('[');
    if (is_cng) {
        if (NCryptOpenStorageProvider(&cng, MS_KEY_STORAGE_PROVIDER, 0)) return 1;
        while (!NCryptEnumKeys(cng, NULL, &found, &state, machine ? NCRYPT_MACHINE_KEY_FLAG : 0)) {
            if (first != CRYPT_FIRST) fputs(", ", stdout);
            text(found->pszName);
            first = CRYPT_NEXT;
        }
    } else {
        if (!CryptAcquireContextW(&capi, NULL, MS_ENH_RSA_AES_PROV_W, PROV_RSA_AES, CRYPT_VERIFYCONTEXT | machine))
            return 1;
        /* Wine takes whose they are from this call, Windows from the one before. */
        while (CryptGetProvParam(capi, PP_ENUMCONTAINERS, (BYTE *)name, &length, first | machine)) {
            printf("%s\"%s\"", first == CRYPT_FIRST ? "" : ", ", name);
            first = CRYPT_NEXT;
            length = sizeof name;
        }
    }
    puts("]");
    return 0;
}

static int change_capi(const WCHAR *name, DWORD flags, PSECURITY_DESCRIPTOR descriptor)
{
    HCRYPTPROV provider = 0;
    if (!CryptAcquireContextW(&provider, name, MS_ENH_RSA_AES_PROV_W, PROV_RSA_AES, flags)) return 1;
    if (descriptor && !CryptSetProvParam(provider, PP_KEYSET_SEC_DESCR, descriptor, DACL_SECURITY_INFORMATION)) return 1;
    if (!(flags & CRYPT_DELETEKEYSET)) CryptReleaseContext(provider, 0);
    return 0;
}

static int change_cng(const WCHAR *name, DWORD machine, PSECURITY_DESCRIPTOR descriptor)
{
    NCRYPT_KEY_HANDLE key;
    if (open_cng(name, machine, &key)) return 1;
    if (!descriptor) return !!NCryptDeleteKey(key, 0);
    return !!NCryptSetProperty(key, NCRYPT_SECURITY_DESCR_PROPERTY, descriptor, GetSecurityDescriptorLength(descriptor),
                               DACL_SECURITY_INFORMATION);
}

static HCERTSTORE open_store(DWORD machine, const WCHAR *name, DWORD flags)
{
    flags |= machine ? CERT_SYSTEM_STORE_LOCAL_MACHINE : CERT_SYSTEM_STORE_CURRENT_USER;
    return CertOpenStore(CERT_STORE_PROV_SYSTEM_W, 0, 0, flags, name);
}

static BOOL commit(HCERTSTORE store)
{
    return CertControlStore(store, CERT_STORE_CTRL_COMMIT_FORCE_FLAG, CERT_STORE_CTRL_COMMIT, NULL);
}

static DWORD read_file(const WCHAR *path)
{
    FILE *file = _wfopen(path, L"rb");
    DWORD length = file ? (DWORD)fread(bytes, 1, sizeof bytes, file) : 0;
    if (file) fclose(file);
    return length;
}

static int install(DWORD machine, WCHAR **arguments)
{
    WCHAR *container = arguments[3], provider_name[] = MS_ENH_RSA_AES_PROV_W;
    CRYPT_KEY_PROV_INFO info = {container, provider_name, PROV_RSA_AES, machine, 0, NULL, AT_KEYEXCHANGE};
    HCERTSTORE store = open_store(machine, arguments[0], 0);
    DWORD length = read_file(arguments[1]), key_length = 0;
    PCCERT_CONTEXT certificate = CertCreateCertificateContext(ENCODING, bytes, length);
    HCRYPTPROV provider;
    HCRYPTKEY key;
    BYTE *key_blob = NULL;
    length = read_file(arguments[2]);
    return !(store && certificate
             && CryptDecodeObjectEx(ENCODING, PKCS_RSA_PRIVATE_KEY, bytes, length, CRYPT_DECODE_ALLOC_FLAG, NULL,
                                    &key_blob, &key_length)
             && CryptAcquireContextW(&provider, container, MS_ENH_RSA_AES_PROV_W, PROV_RSA_AES, CRYPT_NEWKEYSET | machine)
             && CryptImportKey(provider, key_blob, key_length, 0, 0, &key) && CryptDestroyKey(key)
             && CryptReleaseContext(provider, 0)
             && CertSetCertificateContextProperty(certificate, CERT_KEY_PROV_INFO_PROP_ID, 0, &info)
             && CertAddCertificateContextToStore(store, certificate, CERT_STORE_ADD_NEW, NULL) && commit(store));
}

static int take_out(DWORD machine, const WCHAR *name, const WCHAR *thumbprint)
{
    HCERTSTORE store = open_store(machine, name, 0);
    BYTE digest[20];
    DWORD length = sizeof digest;
    CRYPT_HASH_BLOB wanted = {sizeof digest, digest};
    PCCERT_CONTEXT found;
    if (!CryptStringToBinaryW(thumbprint, 0, CRYPT_STRING_HEX, digest, &length, NULL, NULL)) return 1;
    found = CertFindCertificateInStore(store, ENCODING, 0, CERT_FIND_SHA1_HASH, &wanted, NULL);
    return !(found && CertDeleteCertificateFromStore(found) && commit(store));
}

static int list_store(DWORD machine, const WCHAR *name)
{
    HCERTSTORE store = open_store(machine, name, CERT_STORE_READONLY_FLAG);
    PCCERT_CONTEXT certificate = NULL;
    const char *separator = "[";
    if (!store) return 1;
    while ((certificate = CertEnumCertificatesInStore(store, certificate))) {
        static BYTE about[8192];
        DWORD length = sizeof bytes;
        printf("%s{\"thumbprint\": ", separator);
        if (CertGetCertificateContextProperty(certificate, CERT_SHA1_HASH_PROP_ID, bytes, &length)) hex(bytes, length);
        blob(certificate, CERT_FRIENDLY_NAME_PROP_ID, "name", TRUE);
        blob(certificate, CERT_DESCRIPTION_PROP_ID, "description", TRUE);
        blob(certificate, CERT_RENEWAL_PROP_ID, "renewal", FALSE);
        length = sizeof about;
        if (CertGetCertificateContextProperty(certificate, CERT_KEY_PROV_INFO_PROP_ID, about, &length)) {
            const CRYPT_KEY_PROV_INFO *info = (CRYPT_KEY_PROV_INFO *)about;
            fputs(", \"key\": {\"container\": ", stdout);
            text(info->pwszContainerName);
            printf(", \"type\": %lu, \"flags\": %lu, \"spec\": %lu", info->dwProvType, info->dwFlags, info->dwKeySpec);
            if (info->dwProvType) capi_key(info);
            else cng_key(info);
            putchar('}');
        }
        putchar('}');
        separator = ", ";
    }
    puts(*separator == '[' ? "[]" : "]");
    return 0;
}

static BOOL take_privilege(void)
{
    TOKEN_PRIVILEGES wanted = {1, {{{0, 0}, SE_PRIVILEGE_ENABLED}}};
    HANDLE token;
    return OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, &token)
        && LookupPrivilegeValueW(NULL, SE_SECURITY_NAME, &wanted.Privileges[0].Luid)
        && AdjustTokenPrivileges(token, FALSE, &wanted, 0, NULL, NULL);
}

/* Everything behind the word "run" is the command line of the program. */
static int run(void)
{
    STARTUPINFOW start = {sizeof start};
    PROCESS_INFORMATION process;
    WCHAR *line = wcsstr(GetCommandLineW(), L" run ");
    DWORD code = 127;
    if (!line || !CreateProcessW(NULL, line + 5, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process)) {
        fprintf(stderr, "%ls: error %#lx\n", GetCommandLineW(), GetLastError());
        return 127;
    }
    WaitForSingleObject(process.hProcess, INFINITE);
    GetExitCodeProcess(process.hProcess, &code);
    return (int)code;
}

static BOOL is(const WCHAR *word, const WCHAR *other)
{
    return !wcscmp(word, other);
}

static int change(int count, WCHAR **words)
{
    DWORD machine = is(words[2], L"machine") ? CRYPT_MACHINE_KEYSET : 0;
    PSECURITY_DESCRIPTOR descriptor = NULL;
    if (count == 4 && is(words[1], L"create")) return change_capi(words[3], machine | CRYPT_NEWKEYSET, NULL);
    if (count == 7 && is(words[1], L"install")) return install(machine, words + 3);
    if (count == 5 && is(words[1], L"remove")) return take_out(machine, words[3], words[4]);
    if (count == 5 && is(words[1], L"delete"))
        return is(words[3], L"cng") ? change_cng(words[4], machine, NULL)
                                    : change_capi(words[4], machine | CRYPT_DELETEKEYSET, NULL);
    if (count != 6 || !is(words[1], L"access")) return 2;
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(words[5], SDDL_REVISION_1, &descriptor, NULL)) return 1;
    return is(words[3], L"cng") ? change_cng(words[4], machine, descriptor) : change_capi(words[4], machine, descriptor);
}

int wmain(int count, WCHAR **words)
{
    DWORD machine = count > 2 && is(words[2], L"machine") ? CRYPT_MACHINE_KEYSET : 0;
    int failed;
    take_privilege();
    if (count > 2 && is(words[1], L"run")) return run();
    if (count == 4 && is(words[1], L"store")) return list_store(machine, words[3]);
    if (count == 4 && is(words[1], L"keys")) return list_keys(machine, is(words[3], L"cng"));
    failed = count > 3 ? change(count, words) : 2;
    if (failed) fprintf(stderr, "error %#lx\n", GetLastError());
    else puts("[]");
    return failed;
}
