//! Where a suite gets a PostgreSQL from.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::{
    command::run,
    kafka::free_ports,
    process::{Process, Watchdog},
    wait::{PATIENCE, poll},
};

/// Names a PostgreSQL that runs already, as `postgres://user:password@host/database`; its user may create databases.
const URL: &str = "CYBERVAULT_TEST_POSTGRES";

/// A real PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    _server: Option<Server>,
}

#[derive(Debug)]
struct Server {
    _process: Process,
    _folder: TempDir,
    /// A static is never dropped: removes the folder when this process ends.
    _cleaner: Watchdog,
}

impl Postgres {
    /// The one that all tests of this process share: the one in `CYBERVAULT_TEST_POSTGRES`, else one of its own, where
    /// there are the binaries for it. `None`, and a line on stderr that says so, where there are not.
    ///
    /// # Panics
    /// Where there are binaries, but no server comes up.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: LazyLock<Option<Postgres>> = LazyLock::new(|| {
            let found = Postgres::find().unwrap_or_else(|error| panic!("no PostgreSQL to test against: {error:#}"));
            if found.is_none() {
                eprintln!("SKIPPED on PostgreSQL: there is none; apt-get install postgresql, or set {URL}");
            }
            found
        });
        SHARED.as_ref()
    }

    fn find() -> Result<Option<Self>> {
        if let Ok(url) = std::env::var(URL) {
            return Ok(Some(Self { url, _server: None }));
        }
        let Some(binaries) = binaries() else { return Ok(None) };
        Self::start(&binaries).map(Some)
    }

    fn start(binaries: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("cybervault-postgres-").tempdir()?;
        let data = folder.path().join("data");
        let cleaner = Watchdog::start(&format!("sleep 1; rm -rf '{}'", folder.path().display()))?;
        fs::create_dir(&data)?;
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if is_root {
            // It refuses to run as root; Debian's package brings a user for it.
            run(Command::new("chown").arg("-R").arg("postgres:").arg(folder.path()))?;
        }
        let command = |name: &str| {
            let program = binaries.join(name);
            if !is_root {
                return Command::new(program);
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        };
        run(command("initdb")
            .args(["--auth=trust", "--username=test", "--no-sync", "--encoding=UTF8", "-D"])
            .arg(&data))?;
        let [port, _] = free_ports()?;
        let mut server = command("postgres");
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-F", "-N", "200"]);
        let log = tempfile::NamedTempFile::new()?.into_temp_path();
        let mut process = Process::start(&mut server, &log)?;
        let up = poll(PATIENCE, || match process.exited() {
            Some(status) => Some(Err(status)),
            None => process.log().contains("ready to accept connections").then_some(Ok(())),
        });
        if !matches!(up, Some(Ok(()))) {
            bail!("PostgreSQL does not start: {}", process.tail());
        }
        let url = format!("postgres://test@127.0.0.1:{port}/postgres");
        Ok(Self { url, _server: Some(Server { _process: process, _folder: folder, _cleaner: cleaner }) })
    }

    /// A database in it, whose user may create others.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Where Debian puts them, which is not on the PATH; the newest.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    versions.filter(|folder| folder.join("initdb").exists()).max()
}
