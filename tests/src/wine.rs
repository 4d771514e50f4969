//! Windows, as far as Wine is it: a prefix of its own for each story, with the production executables. It is made once, and
//! then copied, because that takes a second and not twenty.
//!
//! Wine looks names up and trusts roots as the world around it does, so that the emulated Azure is the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::handler_story::{target, temporary_folder};
use crate::story::{Finished, Service, Story, Synced, binary, finish};

/// Where Debian has it.
const SERVER: &str = "/usr/lib/wine/wineserver";
const COMPILER: &str = "x86_64-w64-mingw32-gcc";
/// What the executables are built for.
const TARGET: &str = "x86_64-pc-windows-gnu";
/// Where Windows has its libraries.
const SYSTEM: &str = "drive_c/windows/system32";
/// Wine's own provider of keys would forget them.
const LIBRARIES: &str = "ncrypt=n;powershell.exe=n";
/// Wine's own does nothing.
const POWERSHELL: &str = "drive_c/windows/system32/WindowsPowerShell/v1.0/powershell.exe";

/// A Windows of its own.
pub struct Wine<'a> {
    story: &'a Story,
    folder: TempDir,
}

/// Whose stores.
#[derive(Debug, Clone, Copy)]
pub enum Whose {
    /// `LocalMachine`.
    Machine,
    /// `CurrentUser`.
    User,
}

impl<'a> Wine<'a> {
    /// Installs a Windows for the story, and starts it.
    pub fn install(story: &'a Story) -> Result<Self> {
        let wine = Self { story, folder: temporary_folder("wine-")? };
        let template = template(story)?;
        // The programs of Windows stay as they are; Wine writes the registry.
        let copied = finish(Command::new("cp").arg("-al").arg(&template).arg(wine.prefix()))?;
        if copied.code != Some(0) {
            bail!("{copied:?}");
        }
        for name in ["system.reg", "user.reg", "userdef.reg"] {
            fs::remove_file(wine.prefix().join(name))?;
            fs::copy(template.join(name), wine.prefix().join(name))?;
        }
        let (include, library) = openssl()?;
        let options = ["-shared", &include, &library, "-lws2_32", "-lgdi32", "-luser32"];
        compile("ncrypt.c", &wine.prefix().join(SYSTEM).join("ncrypt.dll"), &options)?;
        compile("powershell.c", &wine.prefix().join(POWERSHELL), &[])?;
        wine.boot()?;
        Ok(wine)
    }

    /// Starts Windows, and with it the services that start by themselves.
    pub fn boot(&self) -> Result<()> {
        // Access control lists are forgotten with the server, which would end with its last client.
        self.start(self.native(SERVER, &["-p"]))?;
        // Any program does. One that asks for it, `wineboot`, makes Wine do it twice, with two service control managers.
        self.start(self.command("cmd", &["/c", "exit"]))
    }

    /// Ends Windows, and all that runs in it.
    pub fn shut_down(&self) -> Result<()> {
        finish(&mut self.native(SERVER, &["-k", "-w"])).map(drop)
    }

    /// Runs a command that leaves something running, which must not hold what is read to its end.
    fn start(&self, mut command: Command) -> Result<()> {
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if !status.success() {
            bail!("{command:?}: {status}");
        }
        Ok(())
    }

    /// Where Windows is.
    #[must_use]
    pub fn prefix(&self) -> PathBuf {
        self.folder.path().join("prefix")
    }

    /// The story that it is a part of.
    #[must_use]
    pub fn story(&self) -> &'a Story {
        self.story
    }

    /// A program of Windows with these arguments.
    #[must_use]
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.native("wine", &[program]);
        command.args(arguments);
        command
    }

    /// A program of Wine's own.
    fn native(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.story.world().command(program);
        command.args(arguments).env("WINEPREFIX", self.prefix());
        command.env("WINEDEBUG", "-all").env("WINEDLLOVERRIDES", LIBRARIES);
        command
    }

    /// `akvvm_service.exe` with these arguments and its state in the story's folder.
    ///
    /// Wine wants a privilege of who changes the access control list of a key for the second time, which it has here.
    pub fn service(&self, arguments: &[&str]) -> Result<Command> {
        let program = windows_path(&executable("akvvm_service")?);
        Ok(self.with_state(self.tool("inspect", &["run", &program])?, arguments))
    }

    /// The same, but by itself and without that privilege.
    pub fn unprivileged_service(&self, arguments: &[&str]) -> Result<Command> {
        let program = executable("akvvm_service")?;
        Ok(self.with_state(self.command(&program.to_string_lossy(), &[]), arguments))
    }

    fn with_state(&self, mut command: Command, arguments: &[&str]) -> Command {
        let (verb, others) = arguments.split_first().unwrap_or((&"", &[]));
        command.arg(verb);
        if matches!(*verb, "run" | "sync") {
            command.arg("--state-folder").arg(windows_path(&self.story.folder().join("state")));
        }
        command.args(others);
        command
    }

    /// `sync --json` with these settings.
    pub fn sync(&self, document: &Value) -> Result<Synced> {
        let settings = windows_path(&self.story.write_settings(document)?);
        let finished = finish(&mut self.service(&["sync", &settings, "--json"])?)?;
        let result = serde_json::from_str(&finished.output);
        Ok(Synced { result: result.with_context(|| format!("{finished:?}"))?, finished })
    }

    /// Starts `run --status-folder` with these settings.
    pub fn start_service(&self, document: &Value) -> Result<Service> {
        let settings = windows_path(&self.story.write_settings(document)?);
        let mut command = self.service(&["run", &settings, "--status-folder"])?;
        command.arg(windows_path(&self.story.status_folder()));
        self.story.spawn(&mut command)
    }

    /// What a store holds, and what Windows says of its keys.
    pub fn store(&self, whose: Whose, name: &str) -> Result<Vec<Value>> {
        self.inspect(&["store", whose.word(), name])
    }

    /// The names of all keys, in CAPI and in CNG.
    pub fn keys(&self, whose: Whose) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        for service in ["capi", "cng"] {
            let names = self.inspect(&["keys", whose.word(), service])?;
            keys.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        keys.sort();
        Ok(keys)
    }

    /// What PowerShell was asked to do so far, by `tests/windows/powershell.c`.
    #[must_use]
    pub fn powershell(&self) -> String {
        fs::read_to_string(self.prefix().join("drive_c/powershell.log")).unwrap_or_default()
    }

    /// Does to a store or a key what others may do: `tests/windows/inspect.c` says what.
    pub fn inspect(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let finished = self.succeed(&mut self.tool("inspect", arguments)?)?;
        serde_json::from_str(&finished.output).with_context(|| format!("{finished:?}"))
    }

    /// The program of Windows that is built from `tests/windows/NAME.c`.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> Result<Command> {
        let program = self.folder.path().join(name).with_extension("exe");
        if !program.exists() {
            compile(&format!("{name}.c"), &program, &["-municode", "-lncrypt"])?;
        }
        Ok(self.command(&program.to_string_lossy(), arguments))
    }

    /// Runs a command, which must succeed.
    pub fn succeed(&self, command: &mut Command) -> Result<Finished> {
        let finished = finish(command)?;
        if finished.code != Some(0) {
            bail!("{command:?}: {finished:?}");
        }
        Ok(finished)
    }
}

impl Whose {
    /// As the command line of `inspect` calls it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::User => "user",
        }
    }
}

impl Drop for Wine<'_> {
    fn drop(&mut self) {
        let _ = self.shut_down();
    }
}

/// Where cargo puts what it builds for Windows.
fn release() -> Result<PathBuf> {
    let service = binary("akvvm_service")?;
    Ok(service.ancestors().nth(2).context("the target folder")?.join(TARGET).join("release"))
}

/// The headers and the library of the OpenSSL that was built for the executables, as the compiler takes them.
fn openssl() -> Result<(String, String)> {
    let builds = fs::read_dir(release()?.join("build"))?.flatten();
    let folders = builds.map(|build| build.path().join("out/openssl-build/install"));
    let found =
        folders.filter_map(|folder| Some((folder.join("lib/libcrypto.a").metadata().ok()?.modified().ok()?, folder)));
    let (_, newest) = found.max().context("OpenSSL for Windows is missing; run scripts/package --os windows")?;
    Ok((format!("-I{}", newest.join("include").display()), newest.join("lib/libcrypto.a").display().to_string()))
}

/// A production executable for Windows.
fn executable(name: &str) -> Result<PathBuf> {
    let program = release()?.join(name).with_extension("exe");
    if !program.is_file() {
        bail!("{}: is missing; build the production binaries with scripts/package --os windows", program.display());
    }
    Ok(program)
}

/// A file of this machine, as Wine calls it.
#[must_use]
pub fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.display()).replace('/', "\\")
}

/// A Windows that was started once.
fn template(story: &Story) -> Result<PathBuf> {
    let place = target()?.join("tmp/windows");
    fs::create_dir_all(target()?.join("tmp"))?;
    // Who comes first makes it for all.
    let lock = fs::File::create(place.with_extension("lock"))?;
    lock.lock()?;
    if !place.exists() {
        let wine = Wine { story, folder: temporary_folder("wine-")? };
        fs::create_dir(wine.prefix())?;
        wine.boot()?;
        // What Rust programs ask for random numbers; Wine 8 does not have it yet.
        let system = wine.prefix().join(SYSTEM);
        compile("bcryptprimitives.c", &system.join("bcryptprimitives.dll"), &["-shared", "-nostdlib", "-Wl,-e,0"])?;
        wine.succeed(&mut wine.command("winecfg", &["-v", "win10"]))?;
        wine.shut_down()?;
        fs::rename(wine.prefix(), &place)?;
    }
    Ok(place)
}

fn compile(source: &str, program: &Path, options: &[&str]) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("windows").join(source);
    if program.exists() {
        fs::remove_file(program)?;
    }
    let mut command = Command::new(COMPILER);
    command.args(["-O1", "-s", "-o"]).arg(program).arg(source).args(options).args(["-lcrypt32", "-ladvapi32"]);
    let finished = finish(&mut command).context("install gcc-mingw-w64-x86-64 with scripts/setup test")?;
    if finished.code != Some(0) {
        bail!("{command:?}: {}", finished.errors);
    }
    Ok(())
}
