//! Where a suite gets its broker from.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::docker::{self, Docker};
use crate::process::{Process, Watchdog};
use crate::security::{self, Security, User};
use crate::wait::{PATIENCE, poll};
use crate::{cache, maven, topic};

/// Names a Kafka that runs already; the suites use it and start none.
pub const BOOTSTRAP: &str = "KAFKA_BOOTSTRAP_SERVERS";
/// Names another version of Kafka than [`VERSION`] to start.
const OTHER_VERSION: &str = "KAFKA_VERSION";
/// Set to `sasl_ssl`, brokers that are started take SCRAM over TLS only.
const SECURITY: &str = "KAFKA_SECURITY";
/// Settings of any broker under test: one node is enough for every internal topic, and nothing waits for a second one.
pub(crate) const COMMON: &str = include_str!("../kafka/common.properties");
const VERSION: &str = "4.3.1";

/// A real Apache Kafka.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    broker: Broker,
}

#[derive(Debug)]
enum Broker {
    External,
    Docker(Box<Docker>),
    Local(Local),
}

impl Kafka {
    /// The broker that all tests of this process share: the one in `KAFKA_BOOTSTRAP_SERVERS`, else one of its own.
    ///
    /// # Panics
    /// Where there is none and none can be started; the message says what to install.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Result<Kafka>> = LazyLock::new(Kafka::find);
        SHARED.as_ref().unwrap_or_else(|error| panic!("no Kafka to test against: {error:#}"))
    }

    /// The broker in `KAFKA_BOOTSTRAP_SERVERS`, else a new one.
    ///
    /// # Errors
    /// Where there is none and none can be started.
    pub fn find() -> Result<Self> {
        match std::env::var(BOOTSTRAP) {
            Ok(bootstrap) => Ok(Self { bootstrap, broker: Broker::External }),
            Err(_) => Self::start(),
        }
    }

    /// A broker for one test alone, which may stop it.
    ///
    /// # Panics
    /// Where none can be started; the message says what to install.
    pub fn owned() -> Self {
        Self::start().unwrap_or_else(|error| panic!("no Kafka to test against: {error:#}"))
    }

    /// Starts a broker: in Docker, where there is one, else from Kafka's own jars.
    ///
    /// # Errors
    /// Where Java or Maven is missing, or the broker does not come up.
    pub fn start() -> Result<Self> {
        if std::env::var(SECURITY).is_ok_and(|security| security == "sasl_ssl") {
            return Self::start_secured();
        }
        if docker::reachable() {
            match Docker::start() {
                Ok(docker) => {
                    return Ok(Self { bootstrap: docker.bootstrap.clone(), broker: Broker::Docker(Box::new(docker)) });
                }
                Err(error) => eprintln!("no Kafka from Docker, so from its jars: {error:#}"),
            }
        }
        Ok(Self::of(Local::start(None)?))
    }

    /// A broker for one test alone that takes SCRAM over TLS only, and where only who is granted something may do it.
    ///
    /// # Panics
    /// Where none can be started; the message says what to install.
    pub fn secured() -> Self {
        Self::start_secured().unwrap_or_else(|error| panic!("no Kafka to test against: {error:#}"))
    }

    fn start_secured() -> Result<Self> {
        Ok(Self::of(Local::start(Some(Security::prepare()?))?))
    }

    fn of(local: Local) -> Self {
        Self { bootstrap: format!("127.0.0.1:{}", local.port), broker: Broker::Local(local) }
    }

    /// What a process has to find in its environment to reach this broker: its address, and where it is a secured one of
    /// ours the client's options as its superuser.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut environment = vec![(BOOTSTRAP.to_owned(), self.bootstrap.clone())];
        if let Broker::Local(Local { security: Some(security), .. }) = &self.broker {
            environment.extend(security.environment(User::Admin));
        }
        environment
    }

    /// The same for one of a secured broker's users.
    ///
    /// # Panics
    /// On any other broker.
    pub fn environment_of(&self, user: User) -> Vec<(String, String)> {
        self.security().environment(user)
    }

    /// The secured broker's listener for this kit alone: without TLS, and everything is allowed.
    ///
    /// # Panics
    /// On any other broker.
    pub fn back_door(&self) -> String {
        format!("127.0.0.1:{}", self.security().back_door)
    }

    /// Grants [`User::Worker`] an operation on all topics, groups or transactional ids that begin with `prefix`, by the
    /// names that Kafka has for them: `("TOPIC", "READ")`. Kafka grants Describe along with Read and Write.
    ///
    /// # Panics
    /// On any other broker, or when Kafka refuses.
    pub fn grant(&self, grants: &[(&str, &str, &str)]) {
        let Broker::Local(local) = &self.broker else { panic!("only a broker of ours has users") };
        let mut java = local.java("128m", &SMALL);
        java.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/Grant.java"))
            .arg(self.back_door())
            .arg(User::Worker.name());
        java.args(grants.iter().map(|(kind, prefix, operation)| format!("{kind}:{prefix}:{operation}")));
        let output = java.output().expect(NO_JAVA);
        assert!(output.status.success(), "grants refused: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn security(&self) -> &Security {
        match &self.broker {
            Broker::Local(Local { security: Some(security), .. }) => security,
            _ => panic!("{} is not secured; use Kafka::secured()", self.bootstrap),
        }
    }

    /// `host:port` for clients.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A prefix for the topics and groups of one test that no other run uses: `test.NAME.RANDOM.`
    pub fn prefix(&self, test: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        format!("test.{test}.{:x}{:x}{:x}.", std::process::id(), now, NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Stops the broker in good order; what it holds stays.
    ///
    /// # Panics
    /// On a broker that is not ours to stop, or that does not stop.
    pub fn stop(&mut self) {
        match &mut self.broker {
            Broker::External => panic!("{} is not ours to stop; use Kafka::owned()", self.bootstrap),
            Broker::Docker(docker) => docker.stop().unwrap_or_else(|error| panic!("{error:#}")),
            Broker::Local(local) => local.stop(),
        }
    }

    /// `kill -9` for the broker; what it has written stays.
    ///
    /// # Panics
    /// On a broker that is not a process of ours.
    pub fn kill(&mut self) {
        match &mut self.broker {
            Broker::Local(local) => drop(local.process.take().map(|mut process| process.kill())),
            Broker::External | Broker::Docker(_) => {
                panic!("{} is no process of ours; use Kafka::owned()", self.bootstrap)
            }
        }
    }

    /// Sends the broker a signal: after `STOP` its connections stay open with nobody behind them, until `CONT`.
    ///
    /// # Panics
    /// On a broker that is not a process of ours, or does not run.
    pub fn signal(&self, name: &str) {
        match &self.broker {
            Broker::Local(Local { process: Some(process), .. }) => process.signal(name),
            _ => panic!("{} is no process of ours that runs; use Kafka::owned()", self.bootstrap),
        }
    }

    /// Starts the stopped broker again, on the same port and with what it holds.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn restart(&mut self) {
        match &mut self.broker {
            Broker::External => panic!("{} is not ours to start; use Kafka::owned()", self.bootstrap),
            Broker::Docker(docker) => docker.restart().unwrap_or_else(|error| panic!("{error:#}")),
            Broker::Local(local) => local.launch().unwrap_or_else(|error| panic!("{error:#}")),
        }
    }
}

/// A broker as a child process, from the jars that Apache Kafka publishes.
#[derive(Debug)]
struct Local {
    process: Option<Process>,
    port: u16,
    classpath: String,
    security: Option<Security>,
    folder: TempDir,
    /// A static is never dropped: removes the folder when this process ends.
    _cleaner: Watchdog,
}

impl Local {
    fn start(security: Option<Security>) -> Result<Self> {
        let jars = jars()?;
        let folder = tempfile::Builder::new().prefix("cybervault-kafka-").tempdir()?;
        let cleaner = Watchdog::start(&format!("sleep 1; rm -rf '{}'", folder.path().display()))?;
        let [port, controller] = free_ports()?;
        let listeners = match &security {
            None => format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            Some(security) => security.listeners(port, controller),
        };
        let settings = include_str!("../kafka/server.properties")
            .replace("@listeners@", &listeners)
            .replace("@controller@", &controller.to_string())
            .replace("@data@", &folder.path().join("data").display().to_string())
            .replace("@common@", COMMON);
        fs::write(folder.path().join("server.properties"), settings)?;
        let classpath = format!("{}/*", jars.display());
        let mut local = Self { process: None, port, classpath, security, folder, _cleaner: cleaner };
        local.format()?;
        local.launch()?;
        Ok(local)
    }

    /// A data folder has to be formatted once before a KRaft node takes it.
    fn format(&self) -> Result<()> {
        let settings = self.settings();
        let mut format = self.java("128m", &SMALL);
        format.args(["kafka.tools.StorageTool", "format", "--cluster-id", "Y3liZXJ2YXVsdC10ZXN0cw", "--config"]);
        format.arg(settings);
        if self.security.is_some() {
            for (name, password) in security::USERS {
                format.args(["--add-scram", &format!("SCRAM-SHA-512=[name={name},password={password}]")]);
            }
        }
        let output = format.output().context(NO_JAVA)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("cannot format Kafka's data folder ({}): {}", output.status, said.trim_end());
        }
        Ok(())
    }

    fn launch(&mut self) -> Result<()> {
        let mut java = self.java("1g", &AS_SHIPPED);
        java.arg("kafka.Kafka").arg(self.settings());
        let mut process = Process::start(&mut java, &self.folder.path().join("broker.log")).context(NO_JAVA)?;
        // Whether it answers is asked where no password is needed.
        let port = self.security.as_ref().map_or(self.port, |security| security.back_door);
        let bootstrap = format!("127.0.0.1:{port}");
        let up = poll(PATIENCE, || match process.exited() {
            Some(status) => Some(Err(status)),
            None => topic::answers(&bootstrap).then_some(Ok(())),
        });
        match up {
            Some(Ok(())) => self.process = Some(process),
            Some(Err(status)) => bail!("Kafka ended ({status}) instead of starting:\n{}", process.tail()),
            None => bail!("Kafka on {bootstrap} does not answer after {PATIENCE:?}:\n{}", process.tail()),
        }
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate();
            process.wait(PATIENCE);
        }
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    fn java(&self, heap: &str, flags: &[&str]) -> Command {
        let mut java = Command::new("java");
        java.arg(format!("-Xmx{heap}"))
            .args(flags)
            .args(["-XX:+ExitOnOutOfMemoryError", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"])
            .args(["-cp", &self.classpath]);
        java
    }
}

/// How Kafka's own start scripts run the broker. Another garbage collector may stop it for 80 ms, and all that waits for a
/// transaction with it.
const AS_SHIPPED: [&str; 5] = [
    "-Xms1g",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// For what ends soon.
const SMALL: [&str; 1] = ["-XX:+UseSerialGC"];

/// The version of Kafka to start.
pub(crate) fn version() -> String {
    std::env::var(OTHER_VERSION).unwrap_or_else(|_| VERSION.to_owned())
}

pub(crate) const NO_JAVA: &str = "cannot run java; install it with: apt-get install -y default-jdk-headless";

/// The folder with the broker's jars, fetched by the first who asks.
fn jars() -> Result<PathBuf> {
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/pom.xml");
    let version = version();
    cache::once(&format!("kafka-{version}"), |folder| {
        maven::copy_dependencies(&pom, folder, &[format!("-Dkafka.version={version}")])
    })
}

/// Ports that were free a moment ago. The listeners live until all are found, so that they differ.
pub(crate) fn free_ports() -> Result<[u16; 2]> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}
