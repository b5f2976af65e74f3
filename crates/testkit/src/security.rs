//! A broker that wants passwords over TLS and grants.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache;
use crate::command::run;
use crate::kafka::free_ports;

/// What the product's environment variables for client options begin with.
const OPTION: &str = "CYBERVAULT_KAFKA__CLIENT__";
const PASSWORD: &str = "for-tests-only";

/// Users that a secured broker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// May do everything.
    Admin,
    /// May do what it is granted.
    Worker,
}

/// Their names and passwords, as the broker is told.
pub(crate) const USERS: [(&str, &str); 2] = [("admin", PASSWORD), ("worker", PASSWORD)];

impl User {
    pub(crate) const fn name(self) -> &'static str {
        USERS[self as usize].0
    }
}

/// How a broker is secured.
#[derive(Debug)]
pub(crate) struct Security {
    /// With the key store and the certificate, which all brokers of a checkout share: what a client was told about one
    /// holds for the next.
    folder: PathBuf,
    /// The port on which the broker speaks to itself, and this kit to it.
    pub(crate) back_door: u16,
}

impl Security {
    pub(crate) fn prepare() -> Result<Self> {
        let folder = cache::once("tls", |folder| {
            let store = folder.join("broker.p12");
            let subject = ["-dname", "CN=localhost", "-ext", "san=dns:localhost,ip:127.0.0.1", "-keyalg", "EC"];
            keytool(&store, &[&["-genkeypair", "-validity", "3650"], &subject[..]].concat())?;
            keytool(&store, &["-exportcert", "-rfc", "-file", &folder.join("ca.pem").display().to_string()])
        })?;
        let [back_door, _] = free_ports()?;
        Ok(Self { folder, back_door })
    }

    /// The broker's settings.
    pub(crate) fn listeners(&self, port: u16, controller: u16) -> String {
        include_str!("../kafka/secured.properties")
            .replace("@port@", &port.to_string())
            .replace("@controller@", &controller.to_string())
            .replace("@back_door@", &self.back_door.to_string())
            .replace("@keystore@", &self.folder.join("broker.p12").display().to_string())
            .replace("@password@", PASSWORD)
    }

    /// The client's options, as the product takes them from its environment.
    pub(crate) fn environment(&self, user: User) -> Vec<(String, String)> {
        let ca = self.folder.join("ca.pem").display().to_string();
        [
            ("SECURITY_PROTOCOL", "SASL_SSL"),
            ("SASL_MECHANISM", "SCRAM-SHA-512"),
            ("SASL_USERNAME", user.name()),
            ("SASL_PASSWORD", PASSWORD),
            ("SSL_CA_LOCATION", &ca),
        ]
        .map(|(name, value)| (format!("{OPTION}{name}"), value.to_owned()))
        .to_vec()
    }
}

/// The client's options in this process's own environment, where `test-kafka` has put them.
pub(crate) fn options() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter_map(|(name, value)| {
        let name = name.strip_prefix(OPTION)?;
        Some((name.to_lowercase().replace('_', "."), value))
    })
}

fn keytool(store: &Path, args: &[&str]) -> Result<()> {
    let mut keytool = Command::new("keytool");
    keytool
        .args(args)
        .args(["-alias", "broker", "-storetype", "PKCS12", "-storepass", PASSWORD, "-keystore"])
        .arg(store);
    run(&mut keytool).context("install it with: apt-get install -y default-jdk-headless")
}
