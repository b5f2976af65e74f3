//! A schema registry.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::kafka::{NO_JAVA, free_ports};
use crate::process::Process;
use crate::wait::poll;
use crate::{cache, maven};

const ARTIFACT: &str = "io.apicurio:apicurio-registry-app";
/// The last line of releases that runs on Java 17.
const VERSION: &str = "3.0.9";
const START: Duration = Duration::from_secs(120);

/// A schema registry that speaks Confluent's API: Apicurio, empty at start, all in memory.
#[derive(Debug)]
pub struct Registry {
    url: String,
    _process: Process,
    _folder: TempDir,
}

impl Registry {
    /// Starts one.
    ///
    /// # Panics
    /// Where none can be started; the message says what to install.
    pub fn start() -> Self {
        Self::launch().unwrap_or_else(|error| panic!("no schema registry to test against: {error:#}"))
    }

    /// The base of Confluent's API, to be followed by `/subjects/…` or `/schemas/ids/…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn launch() -> Result<Self> {
        let home = unpacked()?;
        let folder = tempfile::tempdir()?;
        let [port, _] = free_ports()?;
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-XX:+UseSerialGC", "-jar", &format!("apicurio-registry-app-{VERSION}-runner.jar")])
            .current_dir(home)
            .env("QUARKUS_HTTP_HOST", "127.0.0.1")
            .env("QUARKUS_HTTP_PORT", port.to_string());
        let mut process = Process::start(&mut java, &folder.path().join("registry.log")).context(NO_JAVA)?;
        // It opens its port last, once the storage behind it is there.
        let up = poll(START, || match process.exited() {
            Some(status) => Some(Err(status)),
            None => std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(Ok(())),
        });
        match up {
            Some(Ok(())) => {}
            Some(Err(status)) => bail!("the registry ended ({status}) instead of starting:\n{}", process.tail()),
            None => bail!("the registry does not answer after {START:?}:\n{}", process.tail()),
        }
        let url = format!("http://127.0.0.1:{port}/apis/ccompat/v7");
        Ok(Self { url, _process: process, _folder: folder })
    }
}

/// The folder with the unpacked registry, fetched by the first who asks.
fn unpacked() -> Result<PathBuf> {
    cache::once(&format!("registry-{VERSION}"), |folder| {
        maven::unpack(&format!("{ARTIFACT}:{VERSION}:tar.gz:all"), folder)
    })
}
