//! What deploy/ hands to the binary is what the binary takes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

fn cybervault(args: &[&str], environment: &BTreeMap<String, String>) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_cybervault")).args(args).env_clear().envs(environment).output().unwrap();
    assert!(output.status.success(), "{args:?} {environment:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let read = text.split("\n---\n").map(|document| yaml_serde::from_str(document).unwrap());
    read.filter(|value: &Value| !value.is_null()).collect()
}

#[test]
fn every_configuration_and_command_that_the_chart_renders_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    for secret in ["sasl/password", "registry/password", "store/url"] {
        let path = folder.path().join(secret);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "secret").unwrap();
    }
    let mut seen = 0;
    for snapshot in fs::read_dir(deploy("helm/snapshots")).unwrap() {
        let documents = documents(&snapshot.unwrap().path());
        for document in &documents {
            if let Some(text) = document["data"]["cybervault.yaml"].as_str() {
                let config = folder.path().join("cybervault.yaml");
                fs::write(&config, text.replace("/etc/cybervault", &place)).unwrap();
                cybervault(&["--config", config.to_str().unwrap(), "config", "show"], &BTreeMap::new());
                seen += 1;
            }
            for container in document["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten() {
                let args: Vec<&str> =
                    container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
                cybervault(&[&args[..], &["--help"]].concat(), &BTreeMap::new());
            }
        }
    }
    assert!(seen >= 5, "{seen} configurations");
}

#[test]
fn what_compose_sets_is_taken() {
    let compose = documents(&deploy("docker/compose.yaml")).remove(0);
    let worker = &compose["x-worker"]["environment"];
    let environment =
        worker.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    cybervault(&["config", "show"], &environment.collect());
    for (_, service) in compose["services"].as_object().unwrap() {
        let is_ours = service.get("<<").is_some();
        let args: Vec<&str> =
            service["command"].as_array().into_iter().flatten().map(|arg| arg.as_str().unwrap()).collect();
        if is_ours {
            cybervault(&[&args[..], &["--help"]].concat(), &BTreeMap::new());
        }
    }
}

/// What stands between two marks in a file of the repository.
fn between(path: &str, before: &str, after: &str) -> String {
    let text = fs::read_to_string(deploy("..").join(path)).unwrap();
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {path}"));
    rest.split_once(after).unwrap_or_else(|| panic!("nothing ends {before:?} in {path}")).0.to_owned()
}

#[test]
fn everything_is_built_with_one_and_the_same_rust() {
    let rust = between("rust-toolchain.toml", "channel = \"", "\"");
    assert_eq!(between("deploy/docker/Dockerfile", "ARG RUST=", "\n"), rust);
    assert_eq!(between(".github/workflows/ci.yml", "container: rust:", "-"), rust);
    let least = between("Cargo.toml", "rust-version = \"", "\"");
    assert!(rust == least || rust.starts_with(&format!("{least}.")), "Cargo.toml asks for {least}");
    assert!(between(".ci/prerequisites", "install Rust ", " ").starts_with(&least));
}
