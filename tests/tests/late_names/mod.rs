//! A directory of accounts that stops answering: a module of the C library's name service.

use std::path::Path;

use tests::handler_story::Extension;

/// While this is there, the directory hangs.
pub(crate) const DOWN: &str = "/srv/down";
/// An account `remote` of a directory that hangs while [`DOWN`] exists (nss(5): the functions of a module).
const MODULE: &str = r#"
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>
static void answer(void) { while (access("/srv/down", F_OK) == 0) usleep(10000); }
enum nss_status _nss_late_getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size, int *error) {
    answer();
    if (strcmp(name, "remote") != 0) return NSS_STATUS_NOTFOUND;
    strcpy(buffer, "remote");
    *entry = (struct passwd){buffer, buffer, 62001, 62001, buffer, buffer, buffer};
    return NSS_STATUS_SUCCESS;
}
enum nss_status _nss_late_initgroups_dyn(const char *name, gid_t group, long *start, long *size, gid_t **groups,
                                         long limit, int *error) {
    answer();
    return NSS_STATUS_NOTFOUND;
}
"#;

/// Compiles the module, which is called `late`, into a folder.
pub(crate) fn compile(extension: &Extension, folder: &Path) {
    let source = extension.story.write_file("late.c", MODULE.as_bytes()).unwrap();
    let (source, module) = (source.to_string_lossy(), folder.join("libnss_late.so.2"));
    extension.run("gcc", &["-shared", "-fPIC", "-o", &module.to_string_lossy(), &source]).unwrap();
}

/// Whether `remote` and `app` may read a file.
pub(crate) fn readers(extension: &Extension, file: &Path) -> [bool; 2] {
    let list = extension.run("getfacl", &["--numeric", "--absolute-names", &file.to_string_lossy()]).unwrap();
    ["user:62001:r--", "user:61001:r--"].map(|entry| list.lines().any(|line| line == entry))
}
