/* A key storage provider of CNG for a Wine whose own one forgets its keys: the calls of ncrypt.dll that programs make for
   a certificate's private key, written from their documentation. A key is a file with its export policy and its security
   descriptor, of the machine (C:\ProgramData\Microsoft\Crypto\Keys) or of the user. What the real one refuses is refused
   with the same numbers: a name that is taken, flags that are not known, a key that was not finalized, a policy that
   comes too late, an export that the policy does not allow, and KeyGuard, which needs a machine of its own: one on which
   there is a file C:\vbs. A key in KeyGuard says so ("Virtual Iso"), and is exported by nobody.
   Who may open a key is not enforced: whoever runs the tests is an administrator. */
#include <windows.h>
#include <bcrypt.h>
#include <ncrypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#define EXPORT __declspec(dllexport) SECURITY_STATUS WINAPI
#define PROVIDER 0x50524f56
#define KEY 0x4b455931
#define LONGEST 8192
/* The headers of this compiler may be older than these. */
#define VBS_FLAGS 0x30000u
#define REQUIRE_VBS 0x20000u
#define VIRTUAL_ISO_PROPERTY L"Virtual Iso"
#define BUFFER_PKCS_KEY_NAME 45
#ifndef NTE_VBS_UNAVAILABLE
#define NTE_VBS_UNAVAILABLE ((SECURITY_STATUS)0x80090045)
#endif

/* What a file holds, followed by the descriptor and the key. */
struct stored { DWORD magic, policy, is_guarded, descriptor_length, key_length; };

struct key {
    DWORD magic, is_machine, is_final;
    WCHAR name[128];
    struct stored stored;
    BYTE *descriptor;
    BYTE blob[LONGEST];
};

struct provider { DWORD magic; };
struct search { HANDLE handle; };

static struct key *as_key(NCRYPT_HANDLE handle)
{
    struct key *key = (struct key *)handle;
    return key && key->magic == KEY ? key : NULL;
}

/* Where the keys are; the folders are made. */
static void folder(DWORD is_machine, WCHAR *path)
{
    static const WCHAR *const parts[] = {L"\\Microsoft", L"\\Crypto", L"\\Keys"};
    size_t at;
    if (!GetEnvironmentVariableW(is_machine ? L"ProgramData" : L"APPDATA", path, MAX_PATH)) wcscpy(path, L"C:");
    for (at = 0; at < 3; at++) CreateDirectoryW(wcscat(path, parts[at]), NULL);
}

static void file(const struct key *key, WCHAR *path)
{
    folder(key->is_machine, path);
    wcscat(wcscat(path, L"\\"), key->name);
}

static BOOL is_name(const WCHAR *name)
{
    return name && *name && wcslen(name) < 128 && !wcspbrk(name, L"\\/:*?");
}

/* The key itself, as OpenSSL reads PrivateKeyInfo (RFC 5208). What this provider does not keep is none. */
static EVP_PKEY *read_key(const BYTE *der, DWORD length)
{
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &der, (long)length);
    char curve[16] = "";
    if (!key || EVP_PKEY_is_a(key, "RSA")) return key;
    if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, curve, sizeof curve, NULL)
        && (!strcmp(curve, "prime256v1") || !strcmp(curve, "secp384r1") || !strcmp(curve, "secp521r1"))) return key;
    EVP_PKEY_free(key);
    return NULL;
}

/* Whether these bytes are a key; keeps them then. */
static BOOL take(struct key *key, const BYTE *der, DWORD length)
{
    EVP_PKEY *read = length <= LONGEST ? read_key(der, length) : NULL;
    if (!read) return FALSE;
    EVP_PKEY_free(read);
    memcpy(key->blob, der, length);
    key->stored.key_length = length;
    return TRUE;
}

/* Keeps the key: the whole file under its name, or none. */
static SECURITY_STATUS keep(const struct key *key, BOOL is_new)
{
    WCHAR path[2 * MAX_PATH], temporary[2 * MAX_PATH];
    HANDLE handle;
    DWORD written, done;
    file(key, path);
    wcscat(wcscpy(temporary, path), L"~");
    handle = CreateFileW(temporary, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    if (handle == INVALID_HANDLE_VALUE) return NTE_PERM;
    done = WriteFile(handle, &key->stored, sizeof key->stored, &written, NULL)
        && WriteFile(handle, key->descriptor, key->stored.descriptor_length, &written, NULL)
        && WriteFile(handle, key->blob, key->stored.key_length, &written, NULL);
    CloseHandle(handle);
    if (done && MoveFileExW(temporary, path, is_new ? 0 : MOVEFILE_REPLACE_EXISTING)) return ERROR_SUCCESS;
    DeleteFileW(temporary);
    return is_new ? NTE_EXISTS : NTE_PERM;
}

static SECURITY_STATUS load(struct key *key)
{
    WCHAR path[2 * MAX_PATH];
    HANDLE handle;
    DWORD got = 0;
    BOOL done;
    file(key, path);
    handle = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
    if (handle == INVALID_HANDLE_VALUE) return NTE_BAD_KEYSET;
    done = ReadFile(handle, &key->stored, sizeof key->stored, &got, NULL) && got == sizeof key->stored
        && key->stored.magic == KEY && key->stored.key_length <= LONGEST
        && (key->descriptor = malloc(key->stored.descriptor_length + 1))
        && ReadFile(handle, key->descriptor, key->stored.descriptor_length, &got, NULL)
        && ReadFile(handle, key->blob, key->stored.key_length, &got, NULL) && got == key->stored.key_length;
    CloseHandle(handle);
    return done ? ERROR_SUCCESS : NTE_BAD_KEYSET;
}

static void release(struct key *key)
{
    key->magic = 0;
    free(key->descriptor);
    SecureZeroMemory(key->blob, sizeof key->blob);
    free(key);
}

EXPORT NCryptOpenStorageProvider(NCRYPT_PROV_HANDLE *handle, LPCWSTR name, DWORD flags)
{
    struct provider *provider;
    if (!handle) return NTE_INVALID_PARAMETER;
    if (flags & ~NCRYPT_SILENT_FLAG) return NTE_BAD_FLAGS;
    if (name && wcscmp(name, MS_KEY_STORAGE_PROVIDER)) return NTE_BAD_KEYSET;
    if (!(provider = malloc(sizeof *provider))) return NTE_NO_MEMORY;
    provider->magic = PROVIDER;
    *handle = (NCRYPT_PROV_HANDLE)provider;
    return ERROR_SUCCESS;
}

EXPORT NCryptImportKey(NCRYPT_PROV_HANDLE provider, NCRYPT_KEY_HANDLE wrapping, LPCWSTR type, NCryptBufferDesc *parameters,
                       NCRYPT_KEY_HANDLE *handle, PBYTE data, DWORD length, DWORD flags)
{
    const DWORD known = NCRYPT_MACHINE_KEY_FLAG | NCRYPT_DO_NOT_FINALIZE_FLAG | NCRYPT_SILENT_FLAG | VBS_FLAGS;
    WCHAR path[2 * MAX_PATH];
    struct key *key;
    const WCHAR *name = NULL;
    DWORD at;
    SECURITY_STATUS status = ERROR_SUCCESS;
    if (!provider || ((struct provider *)provider)->magic != PROVIDER || wrapping) return NTE_INVALID_HANDLE;
    if (!handle || !data || !type) return NTE_INVALID_PARAMETER;
    if (flags & ~known) return NTE_BAD_FLAGS;
    if (flags & REQUIRE_VBS && GetFileAttributesW(L"C:\\vbs") == INVALID_FILE_ATTRIBUTES) return NTE_VBS_UNAVAILABLE;
    if (wcscmp(type, NCRYPT_PKCS8_PRIVATE_KEY_BLOB)) return NTE_NOT_SUPPORTED;
    for (at = 0; parameters && at < parameters->cBuffers; at++)
        if (parameters->pBuffers[at].BufferType == BUFFER_PKCS_KEY_NAME) name = parameters->pBuffers[at].pvBuffer;
    /* Without a name nothing would be kept. */
    if (!is_name(name)) return NTE_INVALID_PARAMETER;
    if (!(key = calloc(1, sizeof *key))) return NTE_NO_MEMORY;
    key->magic = key->stored.magic = KEY;
    key->is_machine = !!(flags & NCRYPT_MACHINE_KEY_FLAG);
    key->stored.is_guarded = !!(flags & REQUIRE_VBS);
    wcscpy(key->name, name);
    file(key, path);
    if (GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES) status = NTE_EXISTS;
    else if (!take(key, data, length)) status = NTE_BAD_DATA;
    else if (!(flags & NCRYPT_DO_NOT_FINALIZE_FLAG)) {
        status = keep(key, TRUE);
        key->is_final = TRUE;
    }
    if (status) {
        release(key);
        return status;
    }
    *handle = (NCRYPT_KEY_HANDLE)key;
    return ERROR_SUCCESS;
}

EXPORT NCryptOpenKey(NCRYPT_PROV_HANDLE provider, NCRYPT_KEY_HANDLE *handle, LPCWSTR name, DWORD spec, DWORD flags)
{
    struct key *key;
    SECURITY_STATUS status;
    if (!provider || ((struct provider *)provider)->magic != PROVIDER) return NTE_INVALID_HANDLE;
    if (!handle || !name) return NTE_INVALID_PARAMETER;
    if (flags & ~(NCRYPT_MACHINE_KEY_FLAG | NCRYPT_SILENT_FLAG)) return NTE_BAD_FLAGS;
    if (spec || !is_name(name)) return NTE_BAD_KEYSET;
    if (!(key = calloc(1, sizeof *key))) return NTE_NO_MEMORY;
    key->magic = KEY;
    key->is_machine = !!(flags & NCRYPT_MACHINE_KEY_FLAG);
    key->is_final = TRUE;
    wcscpy(key->name, name);
    if ((status = load(key))) release(key);
    else *handle = (NCRYPT_KEY_HANDLE)key;
    return status;
}

EXPORT NCryptFinalizeKey(NCRYPT_KEY_HANDLE handle, DWORD flags)
{
    struct key *key = as_key(handle);
    SECURITY_STATUS status;
    if (!key) return NTE_INVALID_HANDLE;
    if (flags & ~NCRYPT_SILENT_FLAG) return NTE_BAD_FLAGS;
    if (key->is_final) return NTE_INVALID_HANDLE;
    if (!(status = keep(key, TRUE))) key->is_final = TRUE;
    return status;
}

/* A file has no generic rights: they become those of files. */
static void map_rights(PSECURITY_DESCRIPTOR descriptor)
{
    GENERIC_MAPPING files = {FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_GENERIC_EXECUTE, FILE_ALL_ACCESS};
    BOOL present = FALSE, defaulted;
    PACL list = NULL;
    DWORD at;
    ACCESS_ALLOWED_ACE *entry;
    if (!GetSecurityDescriptorDacl(descriptor, &present, &list, &defaulted) || !present || !list) return;
    for (at = 0; at < list->AceCount; at++)
        if (GetAce(list, at, (void **)&entry)) MapGenericMask(&entry->Mask, &files);
}

EXPORT NCryptSetProperty(NCRYPT_HANDLE handle, LPCWSTR name, PBYTE value, DWORD length, DWORD flags)
{
    struct key *key = as_key(handle);
    BYTE *copy;
    if (!key) return NTE_INVALID_HANDLE;
    if (!name || !value) return NTE_INVALID_PARAMETER;
    if (!wcscmp(name, NCRYPT_EXPORT_POLICY_PROPERTY)) {
        if (flags & ~(NCRYPT_SILENT_FLAG | NCRYPT_PERSIST_FLAG)) return NTE_BAD_FLAGS;
        if (length != sizeof(DWORD)) return NTE_BAD_LEN;
        if (key->is_final) return NTE_PERM;
        memcpy(&key->stored.policy, value, length);
        return ERROR_SUCCESS;
    }
    if (wcscmp(name, NCRYPT_SECURITY_DESCR_PROPERTY)) return NTE_NOT_SUPPORTED;
    if ((flags & ~NCRYPT_SILENT_FLAG) != DACL_SECURITY_INFORMATION) return NTE_BAD_FLAGS;
    if (!IsValidSecurityDescriptor(value) || GetSecurityDescriptorLength(value) > length) return NTE_BAD_DATA;
    if (!(copy = malloc(length))) return NTE_NO_MEMORY;
    memcpy(copy, value, length);
    map_rights(copy);
    free(key->descriptor);
    key->descriptor = copy;
    key->stored.descriptor_length = length;
    return key->is_final ? keep(key, FALSE) : ERROR_SUCCESS;
}

static SECURITY_STATUS give(const void *value, DWORD length, PBYTE buffer, DWORD room, DWORD *written)
{
    *written = length;
    if (!buffer) return ERROR_SUCCESS;
    if (room < length) return NTE_BUFFER_TOO_SMALL;
    memcpy(buffer, value, length);
    return ERROR_SUCCESS;
}

EXPORT NCryptGetProperty(NCRYPT_HANDLE handle, LPCWSTR name, PBYTE buffer, DWORD room, DWORD *written, DWORD flags)
{
    struct key *key = as_key(handle);
    if (!key) return NTE_INVALID_HANDLE;
    if (!name || !written) return NTE_INVALID_PARAMETER;
    if (!wcscmp(name, NCRYPT_EXPORT_POLICY_PROPERTY))
        return give(&key->stored.policy, sizeof key->stored.policy, buffer, room, written);
    if (!wcscmp(name, VIRTUAL_ISO_PROPERTY) && key->stored.is_guarded)
        return give(&key->stored.is_guarded, sizeof key->stored.is_guarded, buffer, room, written);
    if (wcscmp(name, NCRYPT_SECURITY_DESCR_PROPERTY)) return NTE_NOT_SUPPORTED;
    if ((flags & ~NCRYPT_SILENT_FLAG) != DACL_SECURITY_INFORMATION) return NTE_BAD_FLAGS;
    return give(key->descriptor, key->stored.descriptor_length, buffer, room, written);
}

/* A signature of ECDSA is two numbers in DER for OpenSSL, and one after the other for Windows. */
static BOOL split(BYTE *signature, size_t length, DWORD needed)
{
    const BYTE *at = signature;
    ECDSA_SIG *numbers = d2i_ECDSA_SIG(NULL, &at, (long)length);
    BOOL done = numbers && BN_bn2binpad(ECDSA_SIG_get0_r(numbers), signature, (int)needed / 2) > 0
        && BN_bn2binpad(ECDSA_SIG_get0_s(numbers), signature + needed / 2, (int)needed / 2) > 0;
    ECDSA_SIG_free(numbers);
    return done;
}

static BOOL sign(EVP_PKEY *key, BOOL is_rsa, const BYTE *hash, DWORD length, BYTE *signature, DWORD needed)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    BYTE made[1024];
    size_t size = sizeof made;
    BOOL done = needed <= sizeof made && context && EVP_PKEY_sign_init(context) > 0
        && (!is_rsa || (EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) > 0
                        && EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()) > 0))
        && EVP_PKEY_sign(context, made, &size, hash, length) > 0 && (is_rsa || split(made, size, needed));
    if (done) memcpy(signature, made, needed);
    EVP_PKEY_CTX_free(context);
    return done;
}

EXPORT NCryptSignHash(NCRYPT_KEY_HANDLE handle, VOID *padding, PBYTE hash, DWORD length, PBYTE signature, DWORD room,
                      DWORD *written, DWORD flags)
{
    const BCRYPT_PKCS1_PADDING_INFO *info = padding;
    struct key *key = as_key(handle);
    EVP_PKEY *read;
    SECURITY_STATUS status = ERROR_SUCCESS;
    DWORD needed;
    BOOL is_rsa;
    if (!key) return NTE_INVALID_HANDLE;
    if (!key->is_final) return NTE_BAD_KEY_STATE;
    if (!(read = read_key(key->blob, key->stored.key_length))) return NTE_BAD_KEYSET;
    is_rsa = EVP_PKEY_is_a(read, "RSA");
    needed = is_rsa ? EVP_PKEY_get_size(read) : (EVP_PKEY_get_bits(read) + 7) / 8 * 2;
    flags &= ~NCRYPT_SILENT_FLAG;
    if (is_rsa ? flags != BCRYPT_PAD_PKCS1 : flags != 0) status = NTE_BAD_FLAGS;
    else if (!hash || !written || is_rsa != !!padding) status = NTE_INVALID_PARAMETER;
    /* Other digests are not asked for. */
    else if (is_rsa && (wcscmp(info->pszAlgId, BCRYPT_SHA256_ALGORITHM) || length != 32)) status = NTE_NOT_SUPPORTED;
    else {
        *written = needed;
        if (signature && room < needed) status = NTE_BUFFER_TOO_SMALL;
        else if (signature && !sign(read, is_rsa, hash, length, signature, needed)) status = NTE_FAIL;
    }
    EVP_PKEY_free(read);
    return status;
}

EXPORT NCryptExportKey(NCRYPT_KEY_HANDLE handle, NCRYPT_KEY_HANDLE wrapping, LPCWSTR type, NCryptBufferDesc *parameters,
                       PBYTE buffer, DWORD room, DWORD *written, DWORD flags)
{
    struct key *key = as_key(handle);
    (void)parameters;
    (void)flags;
    if (!key) return NTE_INVALID_HANDLE;
    if (!type || !written) return NTE_INVALID_PARAMETER;
    /* What is not wrapped by another key is plain text. */
    if (wrapping || key->stored.is_guarded || !(key->stored.policy & NCRYPT_ALLOW_PLAINTEXT_EXPORT_FLAG)) return NTE_NOT_SUPPORTED;
    return give(key->blob, key->stored.key_length, buffer, room, written);
}

EXPORT NCryptDeleteKey(NCRYPT_KEY_HANDLE handle, DWORD flags)
{
    struct key *key = as_key(handle);
    WCHAR path[2 * MAX_PATH];
    if (!key) return NTE_INVALID_HANDLE;
    if (flags & ~NCRYPT_SILENT_FLAG) return NTE_BAD_FLAGS;
    file(key, path);
    if (key->is_final && !DeleteFileW(path)) return NTE_PERM;
    release(key);
    return ERROR_SUCCESS;
}

EXPORT NCryptEnumKeys(NCRYPT_PROV_HANDLE provider, LPCWSTR scope, NCryptKeyName **found, PVOID *state, DWORD flags)
{
    WIN32_FIND_DATAW entry;
    WCHAR pattern[2 * MAX_PATH];
    struct search *search;
    NCryptKeyName *name;
    if (!provider || ((struct provider *)provider)->magic != PROVIDER) return NTE_INVALID_HANDLE;
    if (!found || !state) return NTE_INVALID_PARAMETER;
    if (scope || flags & ~(NCRYPT_MACHINE_KEY_FLAG | NCRYPT_SILENT_FLAG)) return NTE_BAD_FLAGS;
    if ((search = *state)) {
        if (!FindNextFileW(search->handle, &entry)) return NTE_NO_MORE_ITEMS;
    } else {
        if (!(search = malloc(sizeof *search))) return NTE_NO_MEMORY;
        folder(flags & NCRYPT_MACHINE_KEY_FLAG, pattern);
        search->handle = FindFirstFileW(wcscat(pattern, L"\\*"), &entry);
        if (search->handle == INVALID_HANDLE_VALUE) {
            free(search);
            return NTE_NO_MORE_ITEMS;
        }
        *state = search;
    }
    while (entry.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY || entry.cFileName[wcslen(entry.cFileName) - 1] == L'~')
        if (!FindNextFileW(search->handle, &entry)) return NTE_NO_MORE_ITEMS;
    if (!(name = calloc(1, sizeof *name + sizeof(WCHAR) * MAX_PATH))) return NTE_NO_MEMORY;
    name->pszName = wcscpy((WCHAR *)(name + 1), entry.cFileName);
    name->pszAlgid = BCRYPT_RSA_ALGORITHM;
    name->dwFlags = flags & NCRYPT_MACHINE_KEY_FLAG;
    *found = name;
    return ERROR_SUCCESS;
}

EXPORT NCryptFreeBuffer(PVOID buffer)
{
    free(buffer);
    return ERROR_SUCCESS;
}

EXPORT NCryptFreeObject(NCRYPT_HANDLE handle)
{
    struct key *key = as_key(handle);
    if (key) release(key);
    else if (handle && ((struct provider *)handle)->magic == PROVIDER) {
        ((struct provider *)handle)->magic = 0;
        free((struct provider *)handle);
    } else return NTE_INVALID_HANDLE;
    return ERROR_SUCCESS;
}
