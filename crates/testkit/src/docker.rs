//! Kafka in a container.

use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};

use crate::kafka::{COMMON, free_ports, version};
use crate::process::Watchdog;
use crate::topic;
use crate::wait::{PATIENCE, poll};

/// Names another image than Apache's own; it has to take `KAFKA_…` variables as that one does.
const OVERRIDE: &str = "CYBERVAULT_TEST_KAFKA_IMAGE";

/// A broker in a container, which goes with this value or, at the latest, with this process.
#[derive(Debug)]
pub(crate) struct Docker {
    container: Container<GenericImage>,
    pub(crate) bootstrap: String,
    _watchdog: Watchdog,
}

/// Whether there is a Docker to talk to.
pub(crate) fn reachable() -> bool {
    std::env::var_os("DOCKER_HOST").is_some() || UnixStream::connect("/var/run/docker.sock").is_ok()
}

impl Docker {
    pub(crate) fn start() -> Result<Self> {
        let image = std::env::var(OVERRIDE).unwrap_or_else(|_| format!("apache/kafka:{}", version()));
        let (name, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
        // Clients are told the broker's address by the broker, so the port has to be known before it starts.
        let [port, _] = free_ports()?;
        let bootstrap = format!("127.0.0.1:{port}");
        let listeners = [
            ("KAFKA_NODE_ID", "1".to_owned()),
            ("KAFKA_PROCESS_ROLES", "broker,controller".to_owned()),
            ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093".to_owned()),
            ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER".to_owned()),
            ("KAFKA_INTER_BROKER_LISTENER_NAME", "BROKER".to_owned()),
            (
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            ),
            ("KAFKA_LISTENERS", "PLAINTEXT://:9092,BROKER://localhost:19092,CONTROLLER://localhost:9093".to_owned()),
            // The broker can't reach itself by the port that Docker maps: it has a listener for that.
            ("KAFKA_ADVERTISED_LISTENERS", format!("PLAINTEXT://{bootstrap},BROKER://localhost:19092")),
        ];
        let mut request = GenericImage::new(name, tag).with_mapped_port(port, 9092.tcp());
        for (key, value) in listeners {
            request = request.with_env_var(key, value);
        }
        for (key, value) in COMMON.lines().filter_map(|line| line.split_once('=')) {
            request = request.with_env_var(format!("KAFKA_{}", key.replace('.', "_").to_uppercase()), value);
        }
        let container = request.start().with_context(|| format!("cannot run {image} in Docker"))?;
        let watchdog = Watchdog::start(&format!("docker rm --force {}", container.id()))?;
        let docker = Self { container, bootstrap, _watchdog: watchdog };
        docker.await_answer()?;
        Ok(docker)
    }

    pub(crate) fn stop(&self) -> Result<()> {
        self.container.stop_with_timeout(Some(30)).context("cannot stop the container")
    }

    pub(crate) fn restart(&self) -> Result<()> {
        self.container.start().context("cannot start the container again")?;
        self.await_answer()
    }

    fn await_answer(&self) -> Result<()> {
        if poll(PATIENCE, || topic::answers(&self.bootstrap).then_some(())).is_none() {
            let log = self.container.stderr_to_vec().unwrap_or_default();
            bail!("Kafka on {} does not answer after {PATIENCE:?}:\n{}", self.bootstrap, String::from_utf8_lossy(&log));
        }
        Ok(())
    }
}
