//! Fair shares and authority: what one takes is never all, and what someone may do ends everywhere at once.
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use cybervault_testkit::{Worker, eventually};
use serde_json::json;

use crate::support::{
    self, BINARY, Fleet, PATIENCE, attack,
    gateway::{Api, Gateway, key},
};

const TENANTS: &str = "tenants:\n- {tenant_id: acme, plan: enterprise}\n- {tenant_id: globex, plan: enterprise}\n\
                       - {tenant_id: small, plan: starter}\n";

/// A console's session, spoken by hand.
struct Session {
    address: String,
    cookie: String,
}

impl Session {
    fn begin(gateway: &Gateway, secret: &str) -> Self {
        let address = gateway.base.strip_prefix("http://").unwrap().to_owned();
        let mut session = Self { address, cookie: String::new() };
        let answer = session.post("/sign-in", &format!("key={secret}"));
        let cookie = answer.split_once("set-cookie: ").unwrap_or_else(|| panic!("no session: {answer}")).1;
        session.cookie = cookie.split(';').next().unwrap().to_owned();
        session
    }

    fn send(&self, head: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let cookie = &self.cookie;
        write!(stream, "{head} HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\nsec-fetch-site: same-origin\r\n").unwrap();
        write!(stream, "content-length: {}\r\nconnection: close\r\n", body.len()).unwrap();
        write!(stream, "content-type: application/x-www-form-urlencoded\r\n\r\n{body}").unwrap();
        stream
    }

    fn get(&self, path: &str) -> String {
        read(self.send(&format!("GET {path}"), ""))
    }

    fn post(&self, path: &str, form: &str) -> String {
        read(self.send(&format!("POST {path}"), form))
    }

    fn csrf(&self) -> String {
        let page = self.get("/quota");
        let token = page.split_once("name=\"csrf\" value=\"").unwrap_or_else(|| panic!("no token: {page}")).1;
        token.split('"').next().unwrap().to_owned()
    }

    /// The live feed, once it is open.
    fn live(&self) -> BufReader<TcpStream> {
        open(self.send("GET /console/live", ""))
    }
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A stream of events, once it has said something.
fn open(stream: TcpStream) -> BufReader<TcpStream> {
    let mut reader = BufReader::new(stream);
    let mut heard = String::new();
    while !heard.contains(": listening") {
        assert!(reader.read_line(&mut heard).unwrap() > 0, "it is not open: {heard}");
    }
    assert!(heard.to_lowercase().contains("x-accel-buffering: no"), "{heard}");
    reader
}

fn listen(gateway: &Gateway, secret: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(gateway.base.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /v3/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n\r\n").unwrap();
    open(stream)
}

/// Waits until a stream has ended; whoever waits in vain finds its read timed out.
fn ended(mut stream: BufReader<TcpStream>) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap_or_else(|error| panic!("it goes on: {error}"));
}

#[test]
fn whatever_ends_authority_ends_its_streams() {
    let fleet = Fleet::new("authority", TENANTS);
    let gateway = Gateway::start(&fleet, "g1", &[]);
    let admin = gateway.api(&key(&fleet, "acme", &["--scopes", "admin"]).1);
    let (key_id, secret) = key(&fleet, "acme", &[]);

    // Signing out, in another tab: the other session of the key goes on.
    let (session, other) = (Session::begin(&gateway, &secret), Session::begin(&gateway, &secret));
    let (stays, ends) = (other.live(), session.live());
    let answer = session.post("/sign-out", &format!("csrf={}", session.csrf()));
    assert!(answer.contains("location: /sign-in"), "{answer}");
    ended(ends);
    let over = session.get("/console/live");
    assert!(over.starts_with("HTTP/1.1 401"), "{over}");
    // A page of another session does not hear what this one may.
    let foreign = other.get("/console/live?session=0123456789abcdef");
    assert!(foreign.starts_with("HTTP/1.1 401"), "{foreign}");

    // Other scopes end what was begun with the old ones.
    let listening = listen(&gateway, &secret);
    let change = format!("UPDATE api_keys SET scopes = 'threat:read' WHERE key_id = '{key_id}'");
    let script =
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=60); db.execute(sys.argv[2]); db.commit()";
    let done = Command::new("python3").args(["-c", script]).arg(fleet.path("gateway.db")).arg(&change).status();
    assert!(done.unwrap().success());
    ended(listening);
    ended(stays);

    // Revocation.
    let (console, api) = (other.live(), listen(&gateway, &secret));
    assert_eq!(admin.call("DELETE", &format!("/v3/keys/{key_id}"), &[], None).status, 204);
    ended(console);
    ended(api);

    // Expiry.
    let end = jiff_after(20).to_string();
    let short = admin_key(&fleet, &gateway, &end);
    let expiring = listen(&gateway, &short);
    ended(expiring);

    // Suspension, of a tenant that did nothing wrong but to others.
    let globex = key(&fleet, "globex", &[]).1;
    let stays = listen(&gateway, &key(&fleet, "acme", &[]).1);
    let (console, api) = (Session::begin(&gateway, &globex).live(), listen(&gateway, &globex));
    let suspended = TENANTS.replace("globex, plan: enterprise", "globex, plan: enterprise, status: suspended");
    fs::write(fleet.path("tenants.yaml"), suspended).unwrap();
    ended(console);
    ended(api);
    assert_eq!(gateway.api(&globex).get("/v3/quota").status, 403);
    drop(stays);
}

/// A time so many seconds from now.
fn jiff_after(seconds: u64) -> String {
    let at = std::time::SystemTime::now() + Duration::from_secs(seconds);
    let seconds = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let output =
        Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn admin_key(fleet: &Fleet, gateway: &Gateway, end: &str) -> String {
    let all = gateway.api(&key(fleet, "acme", &[]).1);
    let issued = all.post("/v3/keys", &json!({"kind": "live", "name": "short", "expires_at": end}));
    assert_eq!(issued.status, 201, "{}", issued.text);
    issued.json()["secret"].as_str().unwrap().to_owned()
}

#[test]
fn a_key_issues_none_that_outlives_it() {
    let fleet = Fleet::new("outlive", TENANTS);
    let gateway = Gateway::start(&fleet, "g1", &[]);
    let (end, later) = (jiff_after(3_000), jiff_after(4_000));
    let short = gateway.api(&admin_key(&fleet, &gateway, &end));
    let wish = |expires_at: Option<&str>| {
        short.post("/v3/keys", &json!({"kind": "read", "name": "child", "expires_at": expires_at}))
    };
    let refused = wish(Some(&later));
    assert_eq!((refused.status, refused.code()), (400, "invalid_request".to_owned()));
    assert!(refused.text.contains("outlives"), "{}", refused.text);
    let (same, none) = (wish(Some(&end)), wish(None));
    assert_eq!((same.status, none.status), (201, 201), "{}", none.text);
    let own_end = same.json()["expires_at"].clone();
    assert_eq!(none.json()["expires_at"], own_end, "without a wish it ends with the one that issues it");
    // Nor by rotating one that never ends, or itself.
    let (forever, _) = key(&fleet, "acme", &[]);
    let mine = short.get("/v3/keys").json()["data"].as_array().unwrap().clone();
    let own = mine.iter().find(|key| key["name"] == "short").unwrap()["key_id"].as_str().unwrap().to_owned();
    for key_id in [forever, own] {
        let rotated = short.call("POST", &format!("/v3/keys/{key_id}/rotate"), &[], None);
        assert_eq!(rotated.status, 201, "{}", rotated.text);
        assert_eq!(rotated.json()["expires_at"], own_end);
    }
}

#[test]
fn streams_are_shared_and_the_console_counts() {
    let fleet = Fleet::new("shares", TENANTS);
    let gateway = Gateway::start(&fleet, "g1", &[]);
    let keys: Vec<String> = (0..3).map(|_| key(&fleet, "small", &[]).1).collect();
    let session = Session::begin(&gateway, &keys[0]);
    let token = session.csrf();

    // Ten of a key, the console's among them; twenty of the tenant.
    let mut open = vec![session.live()];
    open.extend((0..9).map(|_| listen(&gateway, &keys[0])));
    let refused = gateway.api(&keys[0]).get("/v3/stream");
    assert_eq!((refused.status, refused.code()), (429, "too_many_streams".to_owned()));
    assert_eq!(refused.headers["retry-after"], "5");
    let in_console = session.get("/console/live");
    assert!(in_console.starts_with("HTTP/1.1 429") && in_console.contains("retry-after: 5"), "{in_console}");
    open.extend((0..10).map(|_| listen(&gateway, &keys[1])));
    let refused = gateway.api(&keys[2]).get("/v3/stream");
    assert_eq!((refused.status, refused.code()), (429, "too_many_streams".to_owned()));
    assert!(refused.text.contains("the tenant"), "{}", refused.text);
    // Others have theirs, and a place that is left is there again.
    drop(listen(&gateway, &key(&fleet, "acme", &[]).1));
    open.pop();
    eventually("a place", PATIENCE, || {
        let mut stream = TcpStream::connect(gateway.base.strip_prefix("http://").unwrap()).unwrap();
        let secret = &keys[2];
        write!(stream, "GET /v3/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        // The tenant's reads may be used up by now; they come back.
        (&head == b"HTTP/1.1 200").then_some(())
    });

    // Pages count: together with what the API was asked, they use the plan up.
    let refused = eventually("the plan is used up", PATIENCE, || {
        let page = session.get("/quota");
        page.starts_with("HTTP/1.1 429").then_some(page)
    });
    assert!(refused.contains("retry-after: ") && refused.contains("more requests than its plan has"), "{refused}");
    let writes: Vec<String> = (0..30).map(|_| session.post("/approvals/decide", &format!("csrf={token}"))).collect();
    assert!(writes.iter().any(|answer| answer.starts_with("HTTP/1.1 429")), "{}", writes[29]);
    // Whoever wants to go may go.
    let gone = session.post("/sign-out", &format!("csrf={token}"));
    assert!(gone.contains("location: /sign-in"), "{gone}");
}

#[test]
fn half_open_connections_stop_nothing() {
    let fleet = Fleet::new("half-open", TENANTS);
    let store = format!("gateway.store.file={}", fleet.path("gateway.db").display());
    let args = fleet.args(&["gateway"], &["worker.instance=g1", "gateway.listen=127.0.0.1:0", &store]);
    let few = ["-c", "ulimit -n 256; exec \"$0\" \"$@\"", BINARY].map(str::to_owned);
    let mut process = Worker::start("sh", few.into_iter().chain(args), &[]);
    let base = support::gateway::address(&mut process);
    let api = Api::new(&base, &key(&fleet, "acme", &[]).1);
    eventually("it is ready", PATIENCE, || (api.get("/readyz").status == 200).then_some(()));
    let log = process.log();
    let metrics = log.split_once("metrics=\"http://").unwrap().1.split('/').next().unwrap().to_owned();

    // More than there are descriptors, to the port of the metrics: nobody speaks, nobody goes.
    let held: Vec<TcpStream> = (0..308).filter_map(|_| TcpStream::connect(&metrics).ok()).collect();
    assert!(held.len() > 256, "{}", held.len());
    for n in 0..5 {
        let found = api.post("/v3/threats/analyze", &attack(&format!("e{n}"), "ws-7"));
        assert_eq!(found.status, 201, "{}", found.text);
    }
    // The port itself comes back while they are still held, and so does the API's.
    let page = || {
        let mut stream = TcpStream::connect(&metrics).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        Some(read(stream)).filter(|page| page.contains("process_open_fds"))
    };
    eventually("metrics", PATIENCE, page);
    let address = base.strip_prefix("http://").unwrap();
    let more: Vec<TcpStream> = (0..308).filter_map(|_| TcpStream::connect(address).ok()).collect();
    eventually("the API", PATIENCE, || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        write!(stream, "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        read(stream).starts_with("HTTP/1.1 200").then_some(())
    });
    let page = eventually("metrics", PATIENCE, page);
    let line = page.lines().find(|line| line.starts_with("process_open_fds ")).unwrap();
    let open: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(open < 256, "{line}");
    drop((held, more));
}

/// The connection is gone before there is an answer; who asks again gets it, and nothing is done twice.
#[test]
fn a_dropped_connection_is_no_second_event() {
    let fleet = Fleet::new("dropped", TENANTS);
    let gateway = Gateway::start(&fleet, "g1", &[]);
    let (_, secret) = key(&fleet, "acme", &[]);
    let api = gateway.api(&secret);
    let address = gateway.base.strip_prefix("http://").unwrap();
    let body = |n: usize| attack(&format!("dropped-{n}"), "ws-7").to_string();
    for n in 0..12 {
        let (body, mut stream) = (body(n), TcpStream::connect(address).unwrap());
        let head = format!(
            "POST /v3/threats/analyze HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\nidempotency-key: k{n}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        // Each is dropped a little later than the one before, some before it is read, some while it is done.
        thread::sleep(Duration::from_millis(n as u64));
    }
    let begun = Instant::now();
    for n in 0..12 {
        let (body, name) = (body(n), format!("k{n}"));
        let sent = [("content-type", "application/json"), ("idempotency-key", &*name)];
        let answer = eventually("the answer", PATIENCE, || {
            let answer = api.call("POST", "/v3/threats/analyze", &sent, Some(body.as_bytes()));
            if answer.status == 409 {
                assert_eq!((answer.code().as_str(), &*answer.headers["retry-after"]), ("idempotency_in_progress", "1"));
                return None;
            }
            Some(answer)
        });
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert!(answer.json()["event_id"] == format!("dropped-{n}"), "{}", answer.text);
    }
    // Nobody waited until a claim that was never answered is given up.
    eprintln!("answered in {:?}", begun.elapsed());
    assert_eq!(fleet.read("telemetry.api").len(), 12);
}
