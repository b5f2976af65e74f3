//! A schema registry.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::kafka::{NO_JAVA, free_ports};
use crate::process::Process;
use crate::wait::{PATIENCE, poll};
use crate::{cache, maven};

/// Where it serves Confluent's API.
const API: &str = "/apis/ccompat/v7";
const ARTIFACT: &str = "io.apicurio:apicurio-registry-app";
/// The last line of releases that runs on Java 17.
const VERSION: &str = "3.0.9";

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
        // Its port opens before the storage behind it has answered for the first time, which may take longer than a client waits.
        let up = poll(PATIENCE, || match process.exited() {
            Some(status) => Some(Err(status)),
            None => answers(port).then_some(Ok(())),
        });
        match up {
            Some(Ok(())) => {}
            Some(Err(status)) => bail!("the registry ended ({status}) instead of starting:\n{}", process.tail()),
            None => bail!("the registry does not answer after {PATIENCE:?}:\n{}", process.tail()),
        }
        let url = format!("http://127.0.0.1:{port}{API}");
        Ok(Self { url, _process: process, _folder: folder })
    }
}

/// Whether it lists its subjects.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(PATIENCE))?;
        write!(connection, "GET {API}/subjects HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}

/// The folder with the unpacked registry, fetched by the first who asks.
fn unpacked() -> Result<PathBuf> {
    cache::once(&format!("registry-{VERSION}"), |folder| {
        maven::unpack(&format!("{ARTIFACT}:{VERSION}:tar.gz:all"), folder)
    })
}
