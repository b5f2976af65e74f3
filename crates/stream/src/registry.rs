//! A schema registry that speaks Confluent's API: which schema an id in an Avro record stands for.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use cybervault_model::{
    SchemaIds,
    avro::{Lookup, Subject, WriterSchema, WriterSchemas},
};
use serde_json::{Value, json};
use ureq::{
    Agent, Body,
    http::Response,
    tls::{RootCerts, TlsConfig, TlsProvider},
};

/// Where the registry is, and as whom it is asked.
#[derive(Clone)]
pub struct RegistrySettings {
    /// `https://registry:8081`, with a path where the API has one (Apicurio: `/apis/ccompat/v7`).
    pub url: String,
    /// User and password for basic authentication.
    pub credentials: Option<(String, String)>,
    /// How long one request may take.
    pub timeout: Duration,
}

impl RegistrySettings {
    /// The registry at `url`, asked without credentials, with 5 seconds for a request.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), credentials: None, timeout: Duration::from_secs(5) }
    }
}

impl fmt::Debug for RegistrySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        f.debug_struct("RegistrySettings").field("url", &self.url).field("user", &user).finish_non_exhaustive()
    }
}

/// Why the registry is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The address is none.
    #[error(
        "`{0}` is no address of a schema registry: use http(s)://host:port, and the configuration for user and password"
    )]
    Url(String),
    /// No answer.
    #[error("no answer from the schema registry at {url}: {reason}; check address, TLS and that it runs")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The answer is no.
    #[error("the schema registry refuses {url} with {status}: {reason}")]
    Refused {
        /// What was asked.
        url: String,
        /// HTTP's status.
        status: u16,
        /// The answer's beginning.
        reason: String,
    },
    /// The answer is not what the API promises.
    #[error("the schema registry's answer to {url} has no `{field}`; is it a Confluent-compatible API?")]
    Unexpected {
        /// What was asked.
        url: String,
        /// What was looked for.
        field: &'static str,
    },
}

/// A registry, and what it has answered so far. One is shared by all stages of a process.
///
/// A schema is fetched once. Ids that are not there are asked for again after [`SchemaRegistry::REMEMBER_UNKNOWN`], and a
/// registry that does not answer after [`SchemaRegistry::PAUSE`].
pub struct SchemaRegistry {
    agent: Agent,
    url: String,
    authorization: Option<String>,
    answers: Mutex<Answers>,
}

impl SchemaRegistry {
    /// How many ids are remembered.
    pub const MAX_REMEMBERED: usize = 1000;
    /// How long an id stays unknown, should it be registered later.
    pub const REMEMBER_UNKNOWN: Duration = Duration::from_secs(30);
    /// How long the registry is left alone after it did not answer.
    pub const PAUSE: Duration = Duration::from_secs(1);
    /// How many ids that turn out to be unknown are asked for in a minute. An id is the sender's to choose: without a bound,
    /// one who invents them would make the worker wait for the registry at every record.
    pub const MAX_UNKNOWN_A_MINUTE: u32 = 100;

    const MAX_ANSWER_BYTES: u64 = 1024 * 1024;

    /// The registry at `settings.url`; nothing is asked yet.
    ///
    /// # Errors
    /// When the address is none, or has credentials in it, where they would come into logs.
    pub fn new(settings: &RegistrySettings) -> Result<Self, RegistryError> {
        let url = settings.url.trim_end_matches('/').to_owned();
        let address = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if address.is_none_or(|address| address.is_empty() || address.contains(['@', '?', '#', ' '])) {
            // What stands before an `@` may be a password.
            let shown = url.rsplit('@').next().unwrap_or_default().to_owned();
            return Err(RegistryError::Url(shown));
        }
        // TLS is what Kafka's client uses too, with the system's certificates, or those that `SSL_CERT_FILE` names.
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(settings.timeout))
            .http_status_as_error(false)
            .user_agent(concat!("cybervault/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let authorization = settings
            .credentials
            .as_ref()
            .map(|(user, password)| format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
        Ok(Self { agent, url, authorization, answers: Mutex::default() })
    }

    /// Registers a schema of the contract under `name`, by convention the topic's name and `-value`, and says its id. One
    /// that is already there keeps its id.
    ///
    /// # Errors
    /// When the registry does not answer or refuses, for incompatibility for one.
    pub fn register(&self, name: &str, subject: Subject) -> Result<u32, RegistryError> {
        let url = format!("{}/subjects/{name}/versions", self.url);
        let body = json!({ "schemaType": "AVRO", "schema": subject.schema_json() }).to_string();
        let mut request = self.agent.post(&url).header("content-type", "application/vnd.schemaregistry.v1+json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let answer = read(&url, request.send(body))?;
        let id = answer.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        id.ok_or(RegistryError::Unexpected { url, field: "id" })
    }

    /// Registers several, for [`cybervault_model::Encoding::AvroConfluent`].
    ///
    /// # Errors
    /// As [`SchemaRegistry::register`].
    pub fn register_all(&self, names: impl IntoIterator<Item = (Subject, String)>) -> Result<SchemaIds, RegistryError> {
        names.into_iter().map(|(subject, name)| Ok((subject, self.register(&name, subject)?))).collect()
    }

    fn fetch(&self, id: u32) -> Lookup {
        let url = format!("{}/schemas/ids/{id}", self.url);
        let mut request = self.agent.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        match read(&url, request.call()) {
            Ok(answer) => match schema_in(&answer) {
                Ok(schema) => Lookup::Found(Arc::new(schema)),
                Err(reason) => Lookup::Unknown(reason),
            },
            Err(RegistryError::Refused { status: 404, .. }) => {
                Lookup::Unknown("the registry does not have it".to_owned())
            }
            Err(error) => Lookup::Unavailable(error.to_string()),
        }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriterSchemas for SchemaRegistry {
    fn by_id(&self, id: u32) -> Lookup {
        if let Some(answer) = self.answers().find(id, Instant::now()) {
            return answer;
        }
        // Not under the lock: who asks for an id that is known must not wait for the network.
        let answer = self.fetch(id);
        self.answers().keep(id, &answer, Instant::now());
        answer
    }
}

impl fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemaRegistry").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What the registry has answered.
#[derive(Default)]
struct Answers {
    found: HashMap<u32, Arc<WriterSchema>>,
    unknown: HashMap<u32, (Instant, String)>,
    /// When the registry may be asked again, and why not before.
    pause: Option<(Instant, String)>,
    /// Since when unknown ids are counted, and how many there were.
    misses: Option<(Instant, u32)>,
}

impl Answers {
    fn find(&self, id: u32, now: Instant) -> Option<Lookup> {
        if let Some(schema) = self.found.get(&id) {
            return Some(Lookup::Found(schema.clone()));
        }
        if let Some((_, reason)) = self.unknown.get(&id).filter(|(until, _)| now < *until) {
            return Some(Lookup::Unknown(reason.clone()));
        }
        if let Some((_, reason)) = self.pause.as_ref().filter(|(until, _)| now < *until) {
            return Some(Lookup::Unavailable(reason.clone()));
        }
        let (since, misses) = self.misses?;
        let spent = misses >= SchemaRegistry::MAX_UNKNOWN_A_MINUTE && now < since + Duration::from_secs(60);
        spent.then(|| Lookup::Unknown("not asked for: there were too many unknown ids in the last minute".to_owned()))
    }

    fn keep(&mut self, id: u32, answer: &Lookup, now: Instant) {
        match answer {
            Lookup::Found(schema) => {
                make_room(&mut self.found);
                self.found.insert(id, schema.clone());
            }
            Lookup::Unknown(reason) => {
                make_room(&mut self.unknown);
                self.unknown.insert(id, (now + SchemaRegistry::REMEMBER_UNKNOWN, reason.clone()));
                match &mut self.misses {
                    Some((since, misses)) if now < *since + Duration::from_secs(60) => *misses += 1,
                    misses => *misses = Some((now, 1)),
                }
            }
            Lookup::Unavailable(reason) => self.pause = Some((now + SchemaRegistry::PAUSE, reason.clone())),
        }
    }
}

/// Forgets one, whichever, where the most are remembered: it is fetched again when it is needed.
fn make_room<V>(remembered: &mut HashMap<u32, V>) {
    if remembered.len() >= SchemaRegistry::MAX_REMEMBERED
        && let Some(&id) = remembered.keys().next()
    {
        remembered.remove(&id);
    }
}

/// The JSON in an answer.
fn read(url: &str, answer: Result<Response<Body>, ureq::Error>) -> Result<Value, RegistryError> {
    let unreachable =
        |error: ureq::Error| RegistryError::Unreachable { url: url.to_owned(), reason: error.to_string() };
    let mut answer = answer.map_err(unreachable)?;
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(SchemaRegistry::MAX_ANSWER_BYTES).read_to_string();
    let body = body.map_err(unreachable)?;
    let json = serde_json::from_str::<Value>(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(json);
    }
    let message = json.get("message").and_then(Value::as_str).unwrap_or(&body);
    let reason = message.chars().take(300).collect();
    Err(RegistryError::Refused { url: url.to_owned(), status: status.as_u16(), reason })
}

/// The schema in the answer to a lookup, or why it is of no use.
fn schema_in(answer: &Value) -> Result<WriterSchema, String> {
    let kind = answer.get("schemaType").and_then(Value::as_str).unwrap_or("AVRO");
    if kind != "AVRO" {
        return Err(format!("its schema is {kind}, not AVRO"));
    }
    if answer.get("references").and_then(Value::as_array).is_some_and(|references| !references.is_empty()) {
        return Err("its schema refers to other subjects; register it with all its types written out".to_owned());
    }
    let schema = answer.get("schema").and_then(Value::as_str).ok_or("the registry's answer has no `schema`")?;
    WriterSchema::parse(schema).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    fn unknown(answers: &Answers, id: u32, now: Instant) -> bool {
        matches!(answers.find(id, now), Some(Lookup::Unknown(_)))
    }

    #[test]
    fn a_schema_is_fetched_once_with_the_credentials_and_remembered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let head = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let head: Vec<String> = head.collect();
            let body = json!({ "schema": Subject::Decision.schema_json() }).to_string();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
                .unwrap();
            head
        });
        let mut settings = RegistrySettings::new(format!("http://{address}/api/"));
        settings.credentials = Some(("user".to_owned(), "secret".to_owned()));
        assert!(!format!("{settings:?}").contains("secret"));
        let registry = SchemaRegistry::new(&settings).unwrap();
        assert!(matches!(registry.by_id(7), Lookup::Found(_)));
        let head = server.join().unwrap();
        assert_eq!(head[0], "GET /api/schemas/ids/7 HTTP/1.1");
        assert!(head.iter().any(|line| line.eq_ignore_ascii_case("authorization: Basic dXNlcjpzZWNyZXQ=")), "{head:?}");
        // Nobody listens any more.
        assert!(matches!(registry.by_id(7), Lookup::Found(_)));
        assert!(matches!(registry.by_id(8), Lookup::Unavailable(_)));
    }

    #[test]
    fn an_unknown_id_is_asked_for_again_later_and_invented_ones_not_without_end() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        let miss = Lookup::Unknown("no".to_owned());
        answers.keep(0, &miss, start);
        assert!(unknown(&answers, 0, start));
        assert!(answers.find(0, start + SchemaRegistry::REMEMBER_UNKNOWN).is_none());
        for id in 1..SchemaRegistry::MAX_UNKNOWN_A_MINUTE {
            assert!(answers.find(id, start).is_none());
            answers.keep(id, &miss, start);
        }
        assert!(unknown(&answers, 1_000_000, start));
        assert!(answers.find(1_000_000, start + Duration::from_secs(60)).is_none());
    }

    #[test]
    fn a_registry_that_does_not_answer_is_left_alone_for_a_moment() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        answers.keep(1, &Lookup::Unavailable("down".to_owned()), start);
        assert!(matches!(answers.find(2, start), Some(Lookup::Unavailable(_))));
        assert!(answers.find(2, start + SchemaRegistry::PAUSE).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        for id in 0..5000 {
            answers.keep(id, &Lookup::Unknown("no".to_owned()), start);
        }
        assert_eq!(answers.unknown.len(), SchemaRegistry::MAX_REMEMBERED);
        assert!(unknown(&answers, 4999, start));
    }

    #[test]
    fn an_address_is_checked_and_its_password_not_repeated() {
        for url in ["registry:8081", "http://", "ftp://x", "https://u:secret@host", "http://h?x"] {
            let error = SchemaRegistry::new(&RegistrySettings::new(url)).unwrap_err().to_string();
            assert!(error.contains("no address") && !error.contains("secret"), "{error}");
        }
    }
}
