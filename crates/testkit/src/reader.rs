//! Programs in other languages that read our topics, with what they need from their registries.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};

use crate::command::run;
use crate::kafka::{NO_JAVA, version};
use crate::{cache, maven};

const PYTHON_PACKAGES: [&str; 2] = ["confluent-kafka==2.11.1", "fastavro==1.12.0"];

/// Runs a Java program of one source file to its end, with Kafka's client and Avro beside it.
///
/// # Panics
/// Where Java or Maven is missing; the message says what to install.
pub fn java(program: &Path, args: &[&str]) -> Output {
    let jars = jars().unwrap_or_else(|error| panic!("no jars for {}: {error:#}", program.display()));
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-cp", &format!("{}/*", jars.display())]).arg(program).args(args);
    java.output().expect(NO_JAVA)
}

/// The same for a Python script, with the packages for Kafka and Avro.
///
/// # Panics
/// Where Python is missing; the message says what to install.
pub fn python(script: &Path, args: &[&str]) -> Output {
    let folder = environment().unwrap_or_else(|error| panic!("no packages for {}: {error:#}", script.display()));
    Command::new(folder.join("bin/python")).arg(script).args(args).output().expect("a prepared Python runs")
}

fn jars() -> Result<std::path::PathBuf> {
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/readers.xml");
    let version = version();
    cache::once(&format!("readers-{version}"), |folder| {
        maven::copy_dependencies(&pom, folder, &[format!("-Dkafka.version={version}")])
    })
}

fn environment() -> Result<std::path::PathBuf> {
    cache::once("python", |folder| {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(folder);
        run(&mut venv).context("install Python with: apt-get install -y python3-venv")?;
        let mut pip = Command::new(folder.join("bin/python"));
        run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PYTHON_PACKAGES))
    })
}
