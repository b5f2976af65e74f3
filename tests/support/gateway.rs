//! A gateway under test, and a client that holds every answer against schemas/openapi.yaml.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::Command,
    sync::LazyLock,
};

use cybervault_testkit::{Worker, eventually};
use serde_json::{Value, json};

use crate::support::{BINARY, Fleet, PATIENCE};

/// schemas/openapi.yaml
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas/openapi.yaml");
    yaml_serde::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
});

pub(crate) struct Gateway {
    #[allow(dead_code, reason = "it ends with this value; what it logged is for tests that ask")]
    pub(crate) process: Worker,
    pub(crate) base: String,
}

impl Gateway {
    /// Starts one on the fleet's store; several are replicas.
    pub(crate) fn start(fleet: &Fleet, name: &str, settings: &[&str]) -> Self {
        let own = [
            format!("worker.instance={name}"),
            "gateway.listen=127.0.0.1:0".to_owned(),
            format!("gateway.store.file={}", fleet.path("gateway.db").display()),
        ];
        let all: Vec<&str> = own.iter().map(String::as_str).chain(settings.iter().copied()).collect();
        Self::of(Worker::start(BINARY, fleet.args(&["gateway"], &all), &[]))
    }

    /// Starts one whose files may not grow beyond `kib` KiB each until [`Gateway::may_grow`]: as on a disk that is full.
    pub(crate) fn start_cramped(fleet: &Fleet, name: &str, kib: u32, settings: &[&str]) -> Self {
        let own = [
            format!("worker.instance={name}"),
            "gateway.listen=127.0.0.1:0".to_owned(),
            format!("gateway.store.file={}", fleet.path("gateway.db").display()),
        ];
        let all: Vec<&str> = own.iter().map(String::as_str).chain(settings.iter().copied()).collect();
        // Who is not deaf to XFSZ is killed by it. `ulimit` counts in blocks of 512 bytes in some shells, of 1 KiB in others.
        let script = format!("trap '' XFSZ; ulimit -S -f {kib}; exec \"$@\"");
        let args = ["-c".to_owned(), script, "bash".to_owned(), BINARY.to_owned()];
        Self::of(Worker::start("bash", args.into_iter().chain(fleet.args(&["gateway"], &all)), &[]))
    }

    /// Makes room.
    pub(crate) fn may_grow(&self) {
        let pid = self.process.id().to_string();
        let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:unlimited"]).status();
        assert!(raised.unwrap().success());
    }

    fn of(mut process: Worker) -> Self {
        let base = address(&mut process);
        let gateway = Self { process, base };
        eventually("the gateway is ready", PATIENCE, || {
            (gateway.api("").call("GET", "/readyz", &[], None).status == 200).then_some(())
        });
        gateway
    }

    pub(crate) fn api(&self, key: &str) -> Api {
        Api::new(&self.base, key)
    }
}

/// Waits until a process has said where its console is.
pub(crate) fn address(process: &mut Worker) -> String {
    let find = |log: &str| {
        let (_, after) = log.split_once("console=\"")?;
        Some(after.split_once("/\"")?.0.to_owned())
    };
    eventually("the console's address", PATIENCE, || {
        assert!(process.exited().is_none(), "it has ended: {}", process.log());
        find(&process.log())
    })
}

/// Issues a key by the command line.
pub(crate) fn key(fleet: &Fleet, tenant: &str, args: &[&str]) -> (String, String) {
    let store = format!("gateway.store.file={}", fleet.path("gateway.db").display());
    let command: Vec<&str> = ["keys", "issue", "--json", "--tenant", tenant].iter().chain(args).copied().collect();
    let output = fleet.command(&command, &[&store]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let issued: Value = serde_json::from_slice(&output.stdout).unwrap();
    (issued["key_id"].as_str().unwrap().to_owned(), issued["secret"].as_str().unwrap().to_owned())
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The code of an error.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {}", self.text)).to_owned()
    }
}

pub(crate) struct Api {
    base: String,
    key: String,
    agent: ureq::Agent,
}

impl Api {
    pub(crate) fn new(base: &str, key: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .allow_non_standard_methods(true);
        Self { base: base.to_owned(), key: key.to_owned(), agent: config.build().into() }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.call("POST", path, &[("content-type", "application/json")], Some(body.to_string().as_bytes()))
    }

    /// Makes a request, and holds the answer against the document.
    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Reply {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !self.key.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.key));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = match body {
            Some(body) => self.agent.run(request.body(body).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut response = sent.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let headers = response.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").to_owned())).collect();
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().unwrap();
        let reply = Reply { status, headers, text };
        if path.starts_with("/v3/") {
            check(method, path, &reply);
        }
        reply
    }

    /// The events of a stream, as (id, kind, data).
    pub(crate) fn stream(&self, last: Option<&str>) -> impl Iterator<Item = (String, String, Value)> {
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_recv_body(Some(PATIENCE)).build().into();
        let mut request = agent.get(format!("{}/v3/stream", self.base));
        request = request.header("authorization", format!("Bearer {}", self.key));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.call().unwrap();
        assert_eq!(response.status(), 200);
        let lines = BufReader::new(response.into_body().into_reader()).lines().map_while(Result::ok);
        let mut fields = HashMap::new();
        lines.filter_map(move |line| match line.split_once(": ").or(line.split_once(':')) {
            Some((name, value)) => {
                fields.insert(name.to_owned(), value.to_owned());
                None
            }
            None => {
                let (id, kind, data) = (fields.remove("id")?, fields.remove("event")?, fields.remove("data")?);
                Some((id, kind, serde_json::from_str(&data).unwrap()))
            }
        })
    }
}

/// Holds an answer against the document: its status, and its body's form.
fn check(method: &str, path: &str, reply: &Reply) {
    let about = || format!("{method} {path}: {} {}", reply.status, reply.text);
    assert!(reply.headers.contains_key("x-request-id"), "no request id: {}", about());
    if reply.status >= 400 {
        // Also of paths and methods that the document does not have.
        validate(&json!({"$ref": "#/components/schemas/Error"}), reply);
        return;
    }
    let path = path.split('?').next().unwrap();
    let Some(operation) = operation(method, path) else { return };
    let responses = &operation["responses"];
    let described = &responses[reply.status.to_string()];
    assert!(described.is_object(), "not in the document: {}", about());
    let kind = reply.headers.get("content-type").map_or("", |kind| kind.split(';').next().unwrap());
    match described.get("content") {
        None => assert_eq!(reply.text, "", "{}", about()),
        Some(content) => {
            let media = content.get(kind).unwrap_or_else(|| panic!("{kind} is not in the document: {}", about()));
            if kind == "application/json" {
                validate(&media["schema"], reply);
            }
        }
    }
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let template: Vec<&str> = template.split('/').collect();
        template.len() == parts.len()
            && template.iter().zip(&parts).all(|(name, part)| name.starts_with('{') || name == part)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    // A path without parameters goes before one with.
    let found = paths.get(path).or_else(|| paths.iter().find(|(template, _)| fits(template)).map(|(_, found)| found));
    found?.get(method.to_lowercase())
}

fn validate(schema: &Value, reply: &Reply) {
    let mut schema = schema.clone();
    schema["components"] = DOCUMENT["components"].clone();
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&reply.json()).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "not as the document says: {errors:?}: {}", reply.text);
}
