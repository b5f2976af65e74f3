//! Processes that end with the test that started them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait::poll;

/// A child process with its output in a file.
///
/// It is killed when this value is dropped and, through a watchdog, when the process that started it dies in any other
/// way: a panic that aborts, ctrl-c, `kill -9`. A process group of its own keeps ctrl-c from reaching it first.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    watchdog: Option<Watchdog>,
}

impl Process {
    /// Starts `command` with stderr and stdout appended to `log`; stdout stays where it is if `command` was given one.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let program = command.get_program().to_owned();
        let output = File::options().create(true).append(true).open(log)?;
        let child = std::os::unix::process::CommandExt::process_group(command, 0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let watchdog = Some(Watchdog::start(&format!("kill -KILL {} 2>/dev/null", child.id()))?);
        Ok(Self { child, log: log.to_owned(), watchdog })
    }

    /// The operating system's number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours can be waited for")
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The most memory that it has had, in bytes (Linux).
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }

    /// Sends it a signal by its name: `STOP` or `CONT`, for one.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "process {} can't be sent SIG{name}", self.id());
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) -> ExitStatus {
        // Before the process is reaped and its number free for somebody else.
        self.watchdog.take();
        let _ = self.child.kill(); // fails only where it has ended already
        self.child.wait().expect("a child of ours can be waited for")
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&mut self) {
        if self.exited().is_none() {
            let _ = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        }
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When `timeout` passes first, with the end of its output.
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        match poll(timeout, || self.exited()) {
            Some(status) => status,
            None => panic!("process {} still runs after {timeout:?}; its output ends with\n{}", self.id(), self.tail()),
        }
    }

    /// The last lines it has written, for messages.
    pub(crate) fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A shell that runs a command once its standard input ends: when the process that holds the other end is gone.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    pub(crate) fn start(command: &str) -> Result<Self> {
        let mut shell = Command::new("sh");
        std::os::unix::process::CommandExt::process_group(&mut shell, 0)
            .args(["-c", &format!("cat >/dev/null; {command}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
            .context("cannot start sh")
    }
}

impl Drop for Watchdog {
    /// Calls it off.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The product's binary, running.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    _folder: tempfile::TempDir,
}

impl Worker {
    /// Starts `binary` (in a suite: `env!("CARGO_BIN_EXE_cybervault")`).
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start<A: AsRef<OsStr>>(binary: &str, args: impl IntoIterator<Item = A>, env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let log = folder.path().join("output.log");
        let mut command = Command::new(binary);
        command.args(args).envs(env.iter().copied());
        let process = Process::start(&mut command, &log).unwrap_or_else(|error| panic!("{error:#}"));
        Self { process, _folder: folder }
    }

    /// Polls `fact` until it holds, as long as the process runs.
    ///
    /// # Panics
    /// When `timeout` passes or the process ends first, with the end of its output.
    pub fn wait_until(&mut self, what: &str, timeout: Duration, mut fact: impl FnMut() -> bool) {
        let held = poll(timeout, || match fact() {
            true => Some(Ok(())),
            false => self.process.exited().map(Err),
        });
        match held {
            Some(Ok(())) => {}
            Some(Err(status)) => panic!("ended ({status}) before: {what}; its output ends with\n{}", self.tail()),
            None => panic!("after {timeout:?} still not: {what}; the output ends with\n{}", self.tail()),
        }
    }
}

impl std::ops::Deref for Worker {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl std::ops::DerefMut for Worker {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
